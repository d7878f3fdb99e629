"""How busy the CPU is with other programs than one model's worker.

The host's sensor says how busy all of it is; the worker's own CPU time is taken off. What a
hypervisor gives to its other guests counts as busy, and so as others'.
"""

from collections import deque
from collections.abc import Callable

import psutil

from edgellm.selector.plan import Plan

_N_LOOKS = 4  # that are averaged: sensor and worker are not read at the same moment
_OLD_S = 10.0  # what was seen before says nothing of now

CpuTime = Callable[[int | None], float | None]


def cpu_s(pid: int | None) -> float | None:
    """What a process has computed since its start: seconds of one core."""
    try:
        times = psutil.Process(pid).cpu_times() if pid else None
    except psutil.Error:  # it has just ended
        return None
    return times.user + times.system if times else None


def computes_on_cpu(plan: Plan) -> bool:
    """Whole layers, or only experts."""
    return plan.placement.shares[-1].computes


class Others:
    """Of one worker. `look` about once a second."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float, float]] = deque(maxlen=_N_LOOKS + 1)

    def look(
        self, now_s: float, host_busy_ratio: float | None, own_s: float | None, n_cpus: int
    ) -> float | None:
        """The share of all cores that others take, over the last looks. `own_s` is a counter.

        A sensor that is late begins nothing anew: where others take the CPU, it is kept from it."""
        if own_s is None or (self._looks and own_s < self._looks[-1][1]):
            self._looks.clear()  # a new worker counts from zero
        while self._looks and now_s - self._looks[0][0] > _OLD_S:
            self._looks.popleft()
        if host_busy_ratio is None or own_s is None:
            return None
        self._looks.append((now_s, own_s, host_busy_ratio))
        if len(self._looks) <= _N_LOOKS:
            return None
        (first_s, first_own_s, _), *later = self._looks
        busy_ratio = sum(busy for _, _, busy in later) / len(later)
        own_ratio = (own_s - first_own_s) / (now_s - first_s) / n_cpus
        return min(max(busy_ratio - own_ratio, 0.0), 1.0)
