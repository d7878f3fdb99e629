"""Whose turn it is in memory that can't hold all models at once. Pure.

A model is in memory for a *stay*; whoever asks for one that isn't waits for its next stay. The next
to come is the model that somebody has been waiting for the longest:

    if it fits   beside those in memory, it is loaded
    otherwise    others make room: those first whose last request is the longest ago, and no more of
                 them than it takes. Each leaves when its last answer has ended; none is broken off

    LINGER_S     an idle model stays for so long after its last answer, even if another is waited
                 for: the next request of a conversation or an agent comes soon
    PATIENCE_S   a busy model takes new requests for so long after it was loaded, and after somebody
                 began to wait for another. From then on they wait for its next stay: nobody starves

Even if nobody needs its room, a model is unloaded after it has been idle for its `keep_s`, or for
as long as the last request of this stay wished.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

PATIENCE_S = 10.0
LINGER_S = 0.25

Bytes: TypeAlias = Mapping[str, int]  # by pool


@dataclass(eq=False, slots=True)
class Stay:
    """One time that a model is in memory, or the next one that it will be."""

    n_users: int = 0  # requests that have come for it and not ended
    awaited_s: float | None = None  # when somebody began to wait for it
    loaded_s: float = float("inf")  # when it was ready
    is_over: bool = False  # it is being unloaded
    keep_s: float | None = None  # how long it may idle, as a request said last; None: none did


@dataclass(eq=False, slots=True)
class Tenant:
    """A model that takes turns in memory with others."""

    name: str
    needs: Bytes  # at most, as planned
    here: Stay | None = None  # None: it isn't in memory
    coming: Stay = field(default_factory=Stay)
    keep_s: float = float("inf")  # how long it may idle if no request says so
    used_s: float = 0.0  # when a request came or ended last
    is_dismissed: bool = False  # to be unloaded as soon as it is idle


@dataclass(frozen=True, slots=True)
class Move:
    """What is to be done next: unload these, or load this one."""

    leaving: tuple[Tenant, ...] = ()
    waking: Tenant | None = None


class Room:
    """`budgets` is what all models in memory may take together."""

    def __init__(self, budgets: Bytes) -> None:
        self.budgets = budgets
        self._tenants: list[Tenant] = []

    def add(self, tenant: Tenant) -> None:
        self._tenants.append(tenant)

    def remove(self, tenant: Tenant) -> None:
        self._tenants.remove(tenant)

    # ── what happens ─────────────────────────────────────────────────────────

    def enter(self, tenant: Tenant, now_s: float, keep_s: float | None = None) -> Stay:
        """A request has come. Returns the stay that will serve it: the present one, or the next.
        `keep_s`: how long that may idle, if the request says so."""
        tenant.used_s = now_s
        stay = tenant.here
        if stay is None or stay.is_over or self._is_closed(tenant, now_s):
            stay = tenant.coming
            if stay.awaited_s is None:
                stay.awaited_s = now_s
        else:
            tenant.is_dismissed = False
        stay.n_users += 1
        if keep_s is not None:
            stay.keep_s = keep_s
        return stay

    def leave(self, tenant: Tenant, stay: Stay, now_s: float) -> None:
        """The request has ended, or its client has stopped waiting."""
        stay.n_users -= 1
        tenant.used_s = now_s
        if stay is tenant.coming and not stay.n_users:
            stay.awaited_s = None

    def keep(self, tenant: Tenant, keep_s: float, now_s: float) -> None:
        """Set how long the present stay may idle, as a request would that comes and ends now."""
        if tenant.here is not None:
            self.leave(tenant, self.enter(tenant, now_s, keep_s), now_s)

    def begin(self, tenant: Tenant) -> Stay:
        """Its next stay begins: its memory counts as taken. The caller sets `loaded_s` later."""
        assert tenant.here is None, f"{tenant.name} is there already"
        tenant.here, tenant.coming = tenant.coming, Stay()
        return tenant.here

    def close(self, tenant: Tenant) -> None:
        """Its stay is about to end: new requests wait for the next one."""
        assert tenant.here is not None, f"{tenant.name} is not there"
        tenant.here.is_over = True

    def end(self, tenant: Tenant) -> None:
        tenant.here, tenant.is_dismissed = None, False

    # ── what is to be done ───────────────────────────────────────────────────

    def next_move(self, now_s: float) -> Move | None:
        """None: there is nothing to do until somebody comes or leaves, or until `due_s`."""
        first = self._first()
        if first is not None:
            victims = self._victims(first)
            if not victims:
                return Move(waking=first)
            if all(self._goes_at(one, first) <= now_s for one in victims):
                return Move(leaving=victims)
        idle = tuple(one for one in self._here() if self._retires_at(one) <= now_s)
        return Move(leaving=idle) if idle else None

    def due_s(self, now_s: float) -> float | None:
        """When there will be something to do even if nothing happens. None: never."""
        first = self._first()
        times = [self._retires_at(one) for one in self._here()]
        if first is not None:
            times.append(max(self._goes_at(one, first) for one in self._victims(first)))
        return min((one for one in times if now_s < one < float("inf")), default=None)

    def left_s(self, tenant: Tenant, now_s: float) -> float | None:
        """Seconds until it is unloaded if nobody asks and nobody needs its room. None: it isn't
        loaded, or there is no limit."""
        if tenant.here is None:
            return None
        at_s = now_s + _keep_s(tenant) if self._is_busy(tenant) else self._retires_at(tenant)
        return None if at_s == float("inf") else max(0.0, at_s - now_s)

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for a model that isn't there."""
        return self._first() is not None

    @property
    def taken(self) -> Bytes:
        """By all models in memory, at most."""
        taken = Counter[str]()
        for one in self._here():
            taken.update(one.needs)
        return taken

    def _here(self) -> Iterator[Tenant]:
        return (one for one in self._tenants if one.here is not None)

    def _first(self) -> Tenant | None:
        """The one that somebody has been waiting for the longest."""
        awaited = [one for one in self._tenants if one.coming.awaited_s is not None]
        return min(awaited, key=lambda one: one.coming.awaited_s or 0.0, default=None)

    def _victims(self, first: Tenant) -> tuple[Tenant, ...]:
        """Which models have to make room for it. It may be itself: its stay was closed for somebody
        who has left since."""
        if first.here is not None:
            return (first,)
        there = sorted(self._here(), key=lambda one: (self._is_busy(one), one.used_s))
        for n in range(len(there) + 1):
            if self._fits(first, there[n:]):
                break
        gone, stay = there[:n], there[n:]
        spared: list[Tenant] = []
        for one in reversed(gone):  # those chosen later may have made earlier ones needless
            if self._fits(first, [*stay, *spared, one]):
                spared.append(one)
        return tuple(one for one in gone if one not in spared)

    def _fits(self, tenant: Tenant, others: Iterable[Tenant]) -> bool:
        """Whether all fit together. A model alone always does: it was planned to."""
        beside = list(others)
        return not beside or all(
            sum(one.needs.get(pool, 0) for one in (tenant, *beside)) <= self.budgets.get(pool, 0)
            for pool in tenant.needs
        )

    def _is_closed(self, tenant: Tenant, now_s: float) -> bool:
        """Whether new requests wait for its next stay."""
        if tenant.coming.n_users:
            return True
        first = self._first()
        if first is None or tenant not in self._victims(first):
            return False
        return self._patience_ends_at(tenant, first) <= now_s

    def _patience_ends_at(self, tenant: Tenant, first: Tenant) -> float:
        assert tenant.here is not None
        return max(first.coming.awaited_s or 0.0, tenant.here.loaded_s) + PATIENCE_S

    def _goes_at(self, tenant: Tenant, first: Tenant) -> float:
        """When it may be unloaded for `first`. Infinite while it has answers to finish."""
        if self._is_busy(tenant):
            return float("inf")
        if tenant is first:
            return 0.0
        return min(tenant.used_s + LINGER_S, self._patience_ends_at(tenant, first))

    def _retires_at(self, tenant: Tenant) -> float:
        """When it is unloaded even if nobody needs its room."""
        if self._is_busy(tenant):
            return float("inf")
        if tenant.is_dismissed:
            return 0.0
        return tenant.used_s + _keep_s(tenant)

    @staticmethod
    def _is_busy(tenant: Tenant) -> bool:
        return tenant.here is not None and tenant.here.n_users > 0


def _keep_s(tenant: Tenant) -> float:
    assert tenant.here is not None
    return tenant.keep_s if tenant.here.keep_s is None else tenant.here.keep_s
