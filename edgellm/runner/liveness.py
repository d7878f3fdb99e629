"""Whether a worker that owes something is still alive.

Its pipe tells when the process has ended. But a driver's call that never returns ends nothing: all
who wait would wait for ever, and nobody would say why.

Signs of life are what the worker sends, and its CPU time. A step on a slow CPU is silent for
minutes, and so is a load from a slow disk, but both compute. A process may also wait for a device
in a busy loop, so CPU time is believed for a limited time, far beyond what the plan expects of a
step. Long work on a thread beside the loop is no silence: the loop sends gauges meanwhile.

Silence is added up from look to look, not read off a clock: while the machine sleeps, or the
gateway is stopped, nobody listens.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from edgellm.selector.plan import Plan

_LOOK_S = 5.0
# At least so many seconds, or so many of the longest step that the plan expects:
_LEAST_IDLE_S, _IDLE_STEPS = 120.0, 3.0
_LEAST_BUSY_S, _BUSY_STEPS = 900.0, 10.0
_UNKNOWN_STEP_S = 120.0
_LOAD_S = 3600.0  # a load tells its progress, but not in all of its stages


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker may be silent."""

    look_s: float  # between looks
    idle_s: float  # if it takes no CPU time either
    busy_s: float  # if it does


@dataclass(frozen=True, slots=True)
class Heard:
    """What the gateway knows of a worker."""

    n_bytes: int  # that it has ever sent
    owes: bool  # an answer, or to become ready
    is_loading: bool


def patience_for(plan: Plan) -> Patience:
    step_s = _UNKNOWN_STEP_S
    if plan.prefill_tok_s and plan.prefill_tok_s.p10 > 0:
        step_s = plan.n_batch / plan.prefill_tok_s.p10
    idle_s = max(_LEAST_IDLE_S, _IDLE_STEPS * step_s)
    return Patience(_LOOK_S, idle_s, max(_LEAST_BUSY_S, _BUSY_STEPS * step_s))


class Liveness:
    """One process's. Pure: it is told the time."""

    def __init__(self, patience: Patience, now_s: float) -> None:
        self._patience, self._looked_s = patience, now_s
        self._silent_s = self._idle_s = 0.0
        self._n_bytes, self._cpu_s = 0, 0.0

    def look(self, now_s: float, heard: Heard, cpu_s: float | None) -> str | None:
        """What is wrong, in words that follow "the model's process". None: nothing, as far as one
        can see. `cpu_s`: the CPU time that it has taken so far; None: nobody knows."""
        listened_s = min(now_s - self._looked_s, 2 * self._patience.look_s)
        self._looked_s = now_s
        if heard.n_bytes != self._n_bytes or not heard.owes:
            self._silent_s = self._idle_s = 0.0
        else:
            self._silent_s += listened_s
            has_computed = cpu_s is None or cpu_s != self._cpu_s
            self._idle_s = 0.0 if has_computed else self._idle_s + listened_s
        self._n_bytes, self._cpu_s = heard.n_bytes, cpu_s or 0.0
        return self._verdict(heard.is_loading)

    def _verdict(self, is_loading: bool) -> str | None:
        if self._idle_s > self._patience.idle_s:
            return f"hung: for {self._idle_s:.0f} s it has said nothing and computed nothing"
        most_s = max(self._patience.busy_s, _LOAD_S if is_loading else 0.0)
        if self._silent_s > most_s:
            return f"hung: for {self._silent_s:.0f} s it was busy and has said nothing"
        return None


async def until_hung(pid: int, patience: Patience, heard: Callable[[], Heard]) -> str:
    """Returns when it hangs, with the words of `Liveness.look`."""
    liveness = Liveness(patience, time.monotonic())
    while True:
        await asyncio.sleep(patience.look_s)
        known = heard()
        cpu_s = _cpu_s(pid) if known.owes else None
        if words := liveness.look(time.monotonic(), known, cpu_s):
            return words


def _cpu_s(pid: int) -> float | None:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None  # it has just ended
    return float(times.user + times.system)
