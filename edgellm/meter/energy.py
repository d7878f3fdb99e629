"""From counters and watts to joules, and whose joules they are. Pure.

    joules of an interval    a counter's difference; without a counter (or when it was reset)
                             the mean of the two powers × the seconds between
    whose                    each request's share of the interval's tokens; an interval without
                             tokens is idle, and nobody's

What no sensor sees is not counted: a CPU package's counter knows nothing of DIMMs, fans and the
power supply's losses. No sensor, no number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgellm.meter.sample import Sample

_LONGEST_GAP_S = 10.0  # beyond it nobody knows what the power was in between


@dataclass(slots=True)
class Counter:
    """A counter that wraps at `wraps_at`, made one that only grows. Any unit.

    One that falls and has no known end was reset to zero, as a driver does when it is reloaded.
    """

    wraps_at: float | None = None
    total: float = 0.0
    _last: float | None = None

    def add(self, reading: float) -> float:
        if self._last is not None:
            grown = reading - self._last
            if grown < 0:
                grown = reading if self.wraps_at is None else grown + self.wraps_at
            self.total += max(0.0, grown)
        self._last = reading
        return self.total


def interval_j(before: Sample, after: Sample) -> float | None:
    """The energy that a device took between two samples of it."""
    seconds = after.at_s - before.at_s
    if seconds <= 0:
        return None
    if before.energy_j is not None and after.energy_j is not None:
        counted = after.energy_j - before.energy_j
        if counted >= 0:
            return counted
    if before.power_w is None or after.power_w is None or seconds > _LONGEST_GAP_S:
        return None
    return (before.power_w + after.power_w) / 2 * seconds


def split(joules: float, tokens: Sequence[tuple[int, int]]) -> tuple[tuple[int, float], ...]:
    """(request id, its tokens) → (request id, its joules). The parts add up to the whole."""
    total = sum(n for _, n in tokens)
    if total <= 0:
        return ()
    return tuple((request_id, joules * n / total) for request_id, n in tokens)


@dataclass(slots=True)
class Ledger:
    """What each request has cost so far, and what idling has."""

    idle_j: float = 0.0
    total_j: float = 0.0
    _requests: dict[int, float] = field(default_factory=dict)

    def book(self, joules: float, tokens: Sequence[tuple[int, int]]) -> None:
        self.total_j += joules
        parts = split(joules, tokens)
        if not parts:
            self.idle_j += joules
        for request_id, part in parts:
            self._requests[request_id] = self._requests.get(request_id, 0.0) + part

    def close(self, request_id: int) -> float | None:
        """Its joules, once, at its end. None: no interval with a reading saw it run."""
        return self._requests.pop(request_id, None)
