"""When a worker that died is started again, and when the model is given up. Pure.

If the worker has answered anything since it started, another one is started at once. If workers die
again and again without an answer, each comes back later than the last. If they can't even load, the
model is given up.
"""

_FIRST_WAIT_S, _MAX_WAIT_S = 0.5, 30.0
_MAX_FAILED_LOADS = 5  # in a row


class Restarts:
    def __init__(self) -> None:
        self._n_fruitless = 0  # workers in a row that died without an answer
        self._n_failed_loads = 0

    def wait_s(self, *, was_ready: bool, has_answered: bool) -> float | None:
        """Seconds until the next start, after a worker like that has died. None: give up."""
        self._n_failed_loads = 0 if was_ready else self._n_failed_loads + 1
        if self._n_failed_loads >= _MAX_FAILED_LOADS:
            return None
        if has_answered:
            self._n_fruitless = 0
            return 0.0
        self._n_fruitless += 1
        if self._n_fruitless == 1 and was_ready:
            return 0.0
        return min(_FIRST_WAIT_S * 2.0 ** (self._n_fruitless - 1), _MAX_WAIT_S)


def again(wait_s: float | None) -> str:
    """What becomes of the worker, in words."""
    if wait_s is None:
        return "it is not started again"
    return f"it is started again in {wait_s:g} s" if wait_s else "it is started again"
