"""How much each key may: whether its next request is let in. Pure; the clock is passed in.

A minute's tokens are a bucket that refills evenly, a day's end with the calendar's day. All of a
request's tokens count, those of its prompt (cached ones too) and those of its answer, when it ends:
nobody knows before what it will take. So a key is let in while it has anything left, what runs is
never broken off, and what was taken too much is owed: the next request waits until it is paid. The
most that a key can owe is what its `max_concurrent` requests take.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgellm.errors import QuotaExceeded
from edgellm.keys import Key
from edgellm.units import format_seconds

_MINUTE_S = 60.0
_SOON_S = 1.0  # when a place among the running may be free again


@dataclass(slots=True)
class Bucket:
    """Tokens that flow back, `capacity` a minute; below 0 what is owed."""

    capacity: int
    _left: float = field(init=False)
    _at_s: float | None = None

    def __post_init__(self) -> None:
        self._left = float(self.capacity)

    def left(self, now_s: float) -> float:
        if self._at_s is not None:
            flowed = max(0.0, now_s - self._at_s) * self.capacity / _MINUTE_S
            self._left = min(float(self.capacity), self._left + flowed)
        self._at_s = now_s
        return self._left

    def take(self, n_tokens: int, now_s: float) -> None:
        self._left = self.left(now_s) - n_tokens

    def seconds_until(self, n_tokens: float, now_s: float) -> float:
        """0 where as many are there."""
        return max(0.0, n_tokens - self.left(now_s)) * _MINUTE_S / self.capacity


@dataclass(frozen=True, slots=True)
class Today:
    """Of one key: tokens of this calendar day, and the seconds until it ends."""

    n_tokens: int
    left_s: float


@dataclass(slots=True)
class _Tab:
    bucket: Bucket | None
    n_running: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a minute, for a client that paces itself."""

    limit: int
    left: int
    full_in_s: float


class Quotas:
    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._tabs = {key.name: _tab(key) for key in keys}

    def check(self, key: Key, now_s: float, today: Today) -> None:
        """Raises QuotaExceeded where a request of its would not be let in now."""
        tab = self._tab(key)
        if error := _day_is_over(key, today) or _too_fast(key, tab, now_s) or _too_many(key, tab):
            raise error

    def enter(self, key: Key, now_s: float, today: Today) -> None:
        """Its request runs from now on, until `leave`. Raises QuotaExceeded: it does not."""
        self.check(key, now_s, today)
        self._tab(key).n_running += 1

    def leave(self, key: Key) -> None:
        self._tab(key).n_running -= 1

    def take(self, key: Key, n_tokens: int, now_s: float) -> None:
        if bucket := self._tab(key).bucket:
            bucket.take(n_tokens, now_s)

    def n_running(self, key: Key) -> int:
        return self._tab(key).n_running

    def rate(self, key: Key, now_s: float) -> Rate | None:
        """None: no bound."""
        bucket = self._tab(key).bucket
        if bucket is None:
            return None
        left = max(0, math.floor(bucket.left(now_s)))
        return Rate(bucket.capacity, left, bucket.seconds_until(bucket.capacity, now_s))

    def _tab(self, key: Key) -> _Tab:
        return self._tabs.setdefault(key.name, _tab(key))


def _tab(key: Key) -> _Tab:
    return _Tab(Bucket(key.tokens_per_minute) if key.tokens_per_minute else None)


def _day_is_over(key: Key, today: Today) -> QuotaExceeded | None:
    bound = key.tokens_per_day
    if bound is None or today.n_tokens < bound:
        return None
    return QuotaExceeded(
        f"the key {key.name} has used {today.n_tokens} tokens today, of {bound} a day",
        hint=f"the next day begins in {format_seconds(today.left_s)}",
        retry_after_s=today.left_s,
    )


def _too_fast(key: Key, tab: _Tab, now_s: float) -> QuotaExceeded | None:
    bucket = tab.bucket
    if bucket is None or bucket.left(now_s) >= 1:
        return None
    used, wait_s = bucket.capacity - bucket.left(now_s), bucket.seconds_until(1, now_s)
    return QuotaExceeded(
        f"the key {key.name} has used {used:.0f} tokens of late, of {bucket.capacity} a minute",
        hint=f"it may go on in {format_seconds(wait_s)}",
        retry_after_s=wait_s,
    )


def _too_many(key: Key, tab: _Tab) -> QuotaExceeded | None:
    bound = key.max_concurrent
    if bound is None or tab.n_running < bound:
        return None
    return QuotaExceeded(
        f"{tab.n_running} requests of the key {key.name} run or wait, of {bound} at once",
        hint="come back when one of them has ended",
        retry_after_s=_SOON_S,
    )
