"""When a worker that died is started again, and when it is given up. Pure.

A worker that has answered since it started is worth another one at once. One that dies again and
again without an answer comes back more and more slowly; one that can't even load is given up.
"""

_FIRST_WAIT_S, _MAX_WAIT_S = 0.5, 30.0
_MAX_FAILED_LOADS = 5  # in a row


class Restarts:
    def __init__(self) -> None:
        self._n_fruitless = 0  # lives in a row without one answer
        self._n_failed_loads = 0

    def wait_s(self, *, was_ready: bool, has_answered: bool) -> float | None:
        """Seconds until the next start, after a life like that. None: give it up."""
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
    """What becomes of it, in words."""
    if wait_s is None:
        return "it is not started again"
    return f"it is started again in {wait_s:g} s" if wait_s else "it is started again"
