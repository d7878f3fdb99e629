"""Whose joules they are. Pure.

What is left of an interval after the seconds without work, at the power of the last idling
(unknown: at the interval's mean), is its work's. Each request has its share of it, where a step
costs as much as some tokens do: a step reads the weights once for all who are in it, and each token
is computed for one. Idling is nobody's.

A request of whose work a part was not seen has no joules, rather than too few.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

# Tokens that cost as much as a step without any: bytes of weights / bandwidth against operations
# a token / peak. Some tens on a CPU, some hundreds on a card.
STEP_TOKENS = 64.0

_N_IDLE = 3  # idle intervals whose lowest power is idling's: the others may hold a step's end
_PRICE_MEMORY = 0.8  # of what earlier work cost, an interval later
_PRICED_RATIO = 0.1  # of an interval: over less work idling's own swings may be the larger part

Key: TypeAlias = Hashable  # a request's, among all that are written down


@dataclass(frozen=True, slots=True)
class Work:
    """What has been done for one request: its part of the steps that it was in (a step with three
    others is a quarter), and the tokens computed for it alone."""

    request_id: int
    step_share: float
    n_tokens: int
    step_share_s: float | None = None  # its part of those steps' seconds; None: not told

    @property
    def weight(self) -> float:
        """In tokens."""
        return STEP_TOKENS * self.step_share + self.n_tokens


@dataclass(slots=True)
class Price:
    """What a unit of work, or a second of it, costs: over the last intervals with work, of which
    the busier ones count more."""

    _joules: float = 0.0
    _work: float = 0.0

    def note(self, joules: float, work: float) -> None:
        self._joules = self._joules * _PRICE_MEMORY + joules
        self._work = self._work * _PRICE_MEMORY + work

    @property
    def j(self) -> float | None:
        return self._joules / self._work if self._work and self._joules else None


@dataclass(slots=True)
class Ledger:
    """What each request has cost so far, and what idling has.

    `note` work as it is done, `book` energy as it is read, `close` a request when it ends. One that
    ends between two readings is charged by the last known price of a second of work (of its tokens,
    where its seconds aren't told: how long those take changes more); the next reading pays that
    back, so that all requests, idling and `unclaimed_j` together are `total_j`.
    """

    idle_j: float = 0.0
    total_j: float = 0.0
    unclaimed_j: float = 0.0  # of requests that ended before there was any reading
    _booked: dict[Key, float] = field(default_factory=dict)
    _pending: dict[Key, float] = field(default_factory=dict)  # work since the last reading
    _pending_s: dict[Key, float] = field(default_factory=dict)  # its seconds, where they are told
    _orphaned: float = 0.0  # pending work of requests that have ended unpriced
    _charged: float = 0.0  # and of those that have ended and paid in advance
    _busy_s: float | None = 0.0  # that all this work took; None: not all of it was told
    _unseen: set[Key] = field(default_factory=set)
    _price: Price = field(default_factory=Price)
    _price_s: Price = field(default_factory=Price)  # of a second
    _most_w: float = 0.0  # the highest mean of an interval
    _owed_j: float = 0.0  # charged in advance
    _idle_w: deque[float] = field(default_factory=lambda: deque(maxlen=_N_IDLE))

    def note(self, shares: Iterable[tuple[Key, float]], busy_s: float | None = None) -> None:
        """`busy_s`: what they took together."""
        told = [(request_id, weight) for request_id, weight in shares if weight > 0]
        for request_id, weight in told:
            self._pending[request_id] = self._pending.get(request_id, 0.0) + weight
            if busy_s is not None:
                part_s = busy_s * weight / sum(other for _, other in told)
                self._pending_s[request_id] = self._pending_s.get(request_id, 0.0) + part_s
        if busy_s is None or self._busy_s is None:
            self._busy_s = None
        else:
            self._busy_s += busy_s

    def book(self, joules: float | None, seconds: float | None = None) -> None:
        """Of so many seconds. None: nobody saw this interval, and so nobody's number would be
        whole."""
        pending, self._pending, self._pending_s = self._pending, {}, {}
        orphaned, self._orphaned = self._orphaned, 0.0
        charged, self._charged = self._charged, 0.0
        busy_s, self._busy_s = self._busy_s, 0.0
        if joules is None:
            self._unseen.update(pending)
            return
        work = sum(pending.values()) + orphaned
        spent_j = self._spent_j(joules, seconds, busy_s) if work + charged else 0.0
        if seconds:
            self._most_w = max(self._most_w, joules / seconds)
        if work + charged:
            self._price.note(spent_j, work + charged)
            if busy_s and seconds:
                self._price_s.note(self._priced_j(spent_j, seconds, busy_s), busy_s)
        elif seconds:
            self._idle_w.append(joules / seconds)
        self.total_j += joules
        paid = min(joules, self._owed_j)
        self._owed_j -= paid
        left = max(0.0, spent_j - paid) if work else 0.0
        self.idle_j += joules - paid - left
        if work:
            self.unclaimed_j += left * orphaned / work
        for request_id, weight in pending.items():
            self._booked[request_id] = self._booked.get(request_id, 0.0) + left * weight / work

    def _spent_j(self, joules: float, seconds: float | None, busy_s: float | None) -> float:
        """On work, of an interval's joules."""
        if not seconds or busy_s is None or busy_s >= seconds:
            return joules
        mean_w = joules / seconds
        idle_w = min(*self._idle_w, mean_w) if self._idle_w else mean_w
        return joules - idle_w * (seconds - busy_s)

    def _priced_j(self, spent_j: float, seconds: float, busy_s: float) -> float:
        """What a price is made of. Of hardly any work in an interval all that was above idling
        would be its work's, thousands of watts: it costs no more than the machine ever took."""
        if busy_s >= _PRICED_RATIO * seconds:
            return spent_j
        return min(spent_j, self._most_w * busy_s)

    def _in_advance_j(self, work: float, seconds: float | None) -> float | None:
        """None: there is no price yet."""
        if not work:
            return 0.0
        if seconds is not None and self._price_s.j is not None:
            return seconds * self._price_s.j
        return None if self._price.j is None else work * self._price.j

    def close(self, request_id: Key) -> float | None:
        """Its joules, once, at its end. None: no reading saw all of its work."""
        booked, pending = self._booked.pop(request_id, None), self._pending.pop(request_id, 0.0)
        was_seen = request_id not in self._unseen
        self._unseen.discard(request_id)
        charged = self._in_advance_j(pending, self._pending_s.pop(request_id, None))
        if charged is None:
            self._orphaned += pending
            return booked if was_seen else None
        self._charged += pending
        self._owed_j += charged
        if booked is None and not pending:
            return None
        return (booked or 0.0) + charged if was_seen else None
