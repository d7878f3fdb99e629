"""Whose joules: what the workers did for each request meets what the sensors counted. Pure.

Workers say, ten times a second, what each running request has had so far; sensors tell joules
once a second or more seldom. A request that is no longer listed has ended: it is settled then,
because a client that reads slowly hears its end much later than the worker said it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from edgellm.meter.energy.joules import LONGEST_GAP_S, Meter, seen_twice
from edgellm.meter.energy.ledger import Ledger, Work
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Hardware

_NOTHING = Work(0, 0.0, 0, 0.0)
_MOST_SETTLED = 4096  # ended requests whose client may still ask


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the server began. Requests, idling and what nobody claimed add up to `total_j`."""

    total_j: float
    idle_j: float
    power_w: float | None  # of all devices together, over the last interval

    @property
    def requests_j(self) -> float:
        return self.total_j - self.idle_j


_Key: TypeAlias = tuple[object, int]  # the engine, and its number for the request


@dataclass(slots=True)
class Account:
    hardware: Hardware
    _meter: Meter = field(default_factory=Meter)
    _ledger: Ledger = field(default_factory=Ledger)
    _noted: dict[_Key, Work] = field(default_factory=dict)  # the work that was written down
    _settled: dict[_Key, float | None] = field(default_factory=dict)
    _ended: set[_Key] = field(default_factory=set)  # told, and perhaps listed once more
    _told_s: float | None = None  # when there was the last number, or since when we wait for one
    _power_w: float | None = None

    @property
    def totals(self) -> Totals | None:
        """None: no sensor has told of any energy."""
        told = self._ledger.total_j
        return Totals(told, self._ledger.idle_j, self._power_w) if told else None

    def note(self, engine: object, running: Iterable[Work]) -> None:
        """All requests that run in this engine, and what each has had since it began."""
        listed = {(engine, work.request_id): work for work in running}
        self._ended = {key for key in self._ended if key[0] != engine or key in listed}
        for key, work in listed.items():
            if key not in self._ended:
                self._add(key, work)
        for key in self._noted:
            if key[0] == engine and key not in listed and key not in self._settled:
                self._settled[key] = self._ledger.close(key)
        for key in list(self._settled)[:-_MOST_SETTLED]:
            del self._settled[key], self._noted[key]

    def read(self, now_s: float, samples: Iterable[Sample]) -> None:
        """The newest of each device; the same ones again change nothing."""
        newest = tuple(samples)
        self._meter.leave_out = seen_twice(self.hardware, newest)
        joules = self._meter.add(newest)
        if self._told_s is None:
            self._told_s = now_s
        elapsed_s = now_s - self._told_s
        if joules is None and elapsed_s <= LONGEST_GAP_S:
            return  # the slowest sensor hasn't told yet
        self._ledger.book(joules, elapsed_s)
        self._power_w = joules / elapsed_s if joules is not None and elapsed_s > 0 else None
        self._told_s = now_s

    def end(self, engine: object, work: Work) -> float | None:
        """A request's joules, once, at its end. None: no sensor saw all of it."""
        key = (engine, work.request_id)
        was_settled = key in self._settled
        before = self._settled.pop(key, 0.0)
        has_more = self._add(key, work)
        del self._noted[key]
        self._ended.add(key)
        if was_settled and not has_more:
            return before
        rest = self._ledger.close(key)
        return None if before is None or rest is None else before + rest

    def _add(self, key: _Key, work: Work) -> bool:
        """Whether there was more than had been noted."""
        before = self._noted.get(key, _NOTHING)
        more = work.weight - before.weight
        self._noted[key] = work
        if more > 0:
            self._ledger.note([(key, more)], _difference(work.step_share_s, before.step_share_s))
        return more > 0


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else max(0.0, after - before)
