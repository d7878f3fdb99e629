"""How long a prompt's chunk may be while other streams run. Pure: it is told what steps took.

A step that carries a prompt's chunk makes every running stream wait for it. The workload profile
says how long that wait may be (`itl_target_s`), costs.py what so many rows take: the chunk is the
largest that keeps the target. It shrinks as the prompt gets deeper and its rows dearer, so the
last gaps are no longer than the first.
"""

from edgellm.runner.pacing.costs import StepCosts

# Where the streams alone use up the target, prompts still get as much time as they: whoever waits
# for a first token must not starve.
_LEAST_SHARE = 1.0  # of what the decoding rows of a step take
_AIM = 0.93  # of the target: the slow steps should keep it, too


class Pace:
    def __init__(self, itl_target_s: float | None, costs: StepCosts | None = None) -> None:
        self.itl_target_s = itl_target_s
        self.costs = costs or StepCosts()

    def observe(
        self, n_prompt_rows: int, n_decode_rows: int, elapsed_s: float, unsure_s: float = 0.0
    ) -> None:
        self.costs.observe(n_decode_rows, n_prompt_rows, elapsed_s, unsure_s)

    def chunk(
        self, n_decoding: int, n_prefilling: int, n_free_rows: int, masks_s: float = 0.0
    ) -> int:
        """How many prompt rows may go into the next step beside `n_decoding` running streams, whose
        structures take `masks_s` of it.

        Who waits for a first token counts as much as who waits for the next one: seven newcomers
        beside one stream may hold it up eight times as long as the target says, while one long
        prompt beside eight streams has to go in small pieces.
        """
        alone_s = self.costs.step_s(n_decoding) if n_decoding else None
        if alone_s is None or self.itl_target_s is None or n_free_rows < 1:
            return n_free_rows
        if self.costs.doubtful:
            return 0  # one step of the streams alone, to know what they take by now
        target_s = _AIM * self.itl_target_s * (1 + n_prefilling / n_decoding)
        allowed_s = max(target_s - masks_s, alone_s * (1 + _LEAST_SHARE))
        return self._largest(n_decoding, n_free_rows, allowed_s)

    def _largest(self, n_decoding: int, n_free_rows: int, allowed_s: float) -> int:
        low, high = 1, n_free_rows  # a chunk of `low` is taken, one above `high` is not
        while low < high:
            middle = (low + high + 1) // 2
            cost_s = self.costs.mixed_s(n_decoding, middle)
            if cost_s is None or cost_s <= allowed_s:
                low = middle
            else:
                high = middle - 1
        return low
