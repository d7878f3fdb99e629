"""Whose turn it is in memory that can't hold all models at once. Pure.

A model is in memory for a *stay*; who asks one that isn't there waits for its next stay. The model
whose request has waited for the longest is the next one:

    it fits    beside those that are there: it is loaded
    else       those whose last request is the longest ago go for it, no more than it takes, and
               each when its last answer has ended: nobody's answer is broken off

    LINGER_S    after its last answer an idle model stays even though another is waited for: a
                conversation's or an agent's next request comes soon
    PATIENCE_S  after it was loaded, and after somebody began to wait for another, a busy one
                takes newcomers; then they wait for its next stay, so nobody starves

Where its place is needed by nobody one goes all the same when it has been idle for so long as its
own `keep_s`, or as the last request that said so of this stay wishes.
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
    """One time in memory, or one that is to come."""

    n_users: int = 0  # requests that it has, and that will end
    awaited_s: float | None = None  # since when somebody waits for it to begin
    loaded_s: float = float("inf")  # since when it answers
    is_over: bool = False  # it is being unloaded
    keep_s: float | None = None  # of idling: what a request has said last; None: none has


@dataclass(eq=False, slots=True)
class Tenant:
    """A model that takes its turns."""

    name: str
    needs: Bytes  # as planned, at most
    here: Stay | None = None
    coming: Stay = field(default_factory=Stay)
    keep_s: float = float("inf")  # of idling, where no request says it
    used_s: float = 0.0  # when a request came or ended last
    is_dismissed: bool = False  # it goes when it is idle, though nobody needs its place


@dataclass(frozen=True, slots=True)
class Move:
    """What is to be done next: these go, or this one is loaded."""

    leaving: tuple[Tenant, ...] = ()
    waking: Tenant | None = None


class Room:
    """`budgets` is what all of them together may take."""

    def __init__(self, budgets: Bytes) -> None:
        self.budgets = budgets
        self._tenants: list[Tenant] = []

    def add(self, tenant: Tenant) -> None:
        self._tenants.append(tenant)

    def remove(self, tenant: Tenant) -> None:
        self._tenants.remove(tenant)

    # ── what happens ─────────────────────────────────────────────────────────

    def enter(self, tenant: Tenant, now_s: float, keep_s: float | None = None) -> Stay:
        """A request has come. The stay that it is for: this one, or the next. `keep_s`: what it
        says of how long that one idles."""
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
        """It has ended; or whoever waited has left."""
        stay.n_users -= 1
        tenant.used_s = now_s
        if stay is tenant.coming and not stay.n_users:
            stay.awaited_s = None

    def keep(self, tenant: Tenant, keep_s: float, now_s: float) -> None:
        """Said of the stay that there is, as by a request that comes and ends now."""
        if tenant.here is not None:
            self.leave(tenant, self.enter(tenant, now_s, keep_s), now_s)

    def begin(self, tenant: Tenant) -> Stay:
        """From here on its memory is taken, and `loaded_s` is the caller's to set."""
        assert tenant.here is None, f"{tenant.name} is there already"
        tenant.here, tenant.coming = tenant.coming, Stay()
        return tenant.here

    def close(self, tenant: Tenant) -> None:
        """It is about to end: whoever comes now waits for the next one."""
        assert tenant.here is not None, f"{tenant.name} is not there"
        tenant.here.is_over = True

    def end(self, tenant: Tenant) -> None:
        tenant.here, tenant.is_dismissed = None, False

    # ── what is to be done ───────────────────────────────────────────────────

    def next_move(self, now_s: float) -> Move | None:
        """None: nothing, before somebody comes or leaves, or before `due_s`."""
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
        """When there will be something to do though nothing happens."""
        first = self._first()
        times = [self._retires_at(one) for one in self._here()]
        if first is not None:
            times.append(max(self._goes_at(one, first) for one in self._victims(first)))
        return min((one for one in times if now_s < one < float("inf")), default=None)

    def left_s(self, tenant: Tenant, now_s: float) -> float | None:
        """Until it goes if nobody asks, and nobody needs its place. None: it isn't there, or no
        time says it."""
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
        """By those that are there, at most."""
        taken = Counter[str]()
        for one in self._here():
            taken.update(one.needs)
        return taken

    def _here(self) -> Iterator[Tenant]:
        return (one for one in self._tenants if one.here is not None)

    def _first(self) -> Tenant | None:
        """The one that has been waited for the longest."""
        awaited = [one for one in self._tenants if one.coming.awaited_s is not None]
        return min(awaited, key=lambda one: one.coming.awaited_s or 0.0, default=None)

    def _victims(self, first: Tenant) -> tuple[Tenant, ...]:
        """Who has to go for it: itself, where its stay was closed for somebody who has left."""
        if first.here is not None:
            return (first,)
        there = sorted(self._here(), key=lambda one: (self._is_busy(one), one.used_s))
        for n in range(len(there) + 1):
            if self._fits(first, there[n:]):
                break
        gone, stay = there[:n], there[n:]
        spared: list[Tenant] = []
        for one in reversed(gone):  # what a later one gives may make an earlier one's needless
            if self._fits(first, [*stay, *spared, one]):
                spared.append(one)
        return tuple(one for one in gone if one not in spared)

    def _fits(self, tenant: Tenant, others: Iterable[Tenant]) -> bool:
        """Alone it was planned to fit."""
        beside = list(others)
        return not beside or all(
            sum(one.needs.get(pool, 0) for one in (tenant, *beside)) <= self.budgets.get(pool, 0)
            for pool in tenant.needs
        )

    def _is_closed(self, tenant: Tenant, now_s: float) -> bool:
        """Newcomers wait for its next stay."""
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
        """Infinite as long as it has answers to end."""
        if self._is_busy(tenant):
            return float("inf")
        if tenant is first:
            return 0.0
        return min(tenant.used_s + LINGER_S, self._patience_ends_at(tenant, first))

    def _retires_at(self, tenant: Tenant) -> float:
        """Though nobody needs its place."""
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
