"""How long a prompt's chunk may be while other streams run. Pure: it is told what steps took.

A step that carries a prompt's chunk makes every running stream wait for it. The workload profile
says how long that wait may be (`itl_target_s`); what a row costs is learnt from the steps
themselves, since it depends on the model, the machine and what else the machine does.
"""

_MIN_CHUNK = 32  # tokens; below that a chunk costs nearly what a bigger one does
_SMOOTHING = 0.3  # weight of the newest step


class Pace:
    def __init__(self, itl_target_s: float | None) -> None:
        self.itl_target_s = itl_target_s
        self.decode_step_s: float | None = None  # a step without prompt rows
        self.prompt_row_s: float | None = None  # what one prompt row adds to a step

    def observe(self, n_prompt_rows: int, n_decode_rows: int, elapsed_s: float) -> None:
        if not n_prompt_rows:
            self.decode_step_s = _mix(self.decode_step_s, elapsed_s)
        elif n_prompt_rows >= _MIN_CHUNK:
            base_s = (self.decode_step_s or 0.0) if n_decode_rows else 0.0
            row_s = max(elapsed_s - base_s, elapsed_s / 4) / n_prompt_rows
            self.prompt_row_s = _mix(self.prompt_row_s, row_s)

    def chunk(self, n_decoding: int, n_prefilling: int, n_free_rows: int) -> int:
        """How many prompt rows may go into the next step beside `n_decoding` running streams.

        Who waits for a first token counts as much as who waits for the next one: seven newcomers
        beside one stream may hold it up eight times as long as the target says, while one long
        prompt beside eight streams has to go in small pieces.
        """
        if not n_decoding or self.itl_target_s is None or self.prompt_row_s is None:
            return n_free_rows
        allowed_s = self.itl_target_s * (1 + n_prefilling / n_decoding)
        left_s = allowed_s - (self.decode_step_s or 0.0)
        return min(n_free_rows, max(_MIN_CHUNK, int(left_s / self.prompt_row_s)))


def _mix(old: float | None, new: float) -> float:
    return new if old is None else old + _SMOOTHING * (new - old)
