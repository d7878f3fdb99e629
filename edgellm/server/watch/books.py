"""Whose requests run, and what they have used: quotas at the door, counts in the diary.

What ended is written within half a minute, and all of it when the server ends; what the disk
doesn't take is tried again. A power cut costs the last half minute.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as clock_time

from edgellm.chat.events import Finished
from edgellm.errors import QuotaExceeded
from edgellm.keys import ANYBODY, Key
from edgellm.meter.usage.counts import Allowance, Day, Report, Use, added, report, total
from edgellm.meter.usage.diary import Diary
from edgellm.server.door.gate import Tell, nobody_listens
from edgellm.server.door.quotas import Quotas, Rate, Today
from edgellm.server.watch.joules import Tariff
from edgellm.server.watch.metrics import Watch
from edgellm.server.watch.shares import Shares

_WRITE_EVERY_S = 30.0
_WRITE_IDLING_EVERY_S = 3600.0  # a memory card wears out, and only joules are new
_BYTES_A_TOKEN = 4  # of a prompt whose answer broke off: nobody told how many it had


def no_joules() -> float | None:
    return None


@dataclass(frozen=True, slots=True)
class Clocks:
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = datetime.now


_NO_MODEL = ""  # of a refusal: nobody has read yet which was asked
_CLOCKS, _TARIFF = Clocks(), Tariff()
_UNBOUNDED = Today(0, 0.0)  # of a key that no day's end concerns: nothing is counted for it


class Books:
    """`tick` it about once a second, `close` it at the end. Without a diary the counts of today are
    all there is."""

    def __init__(
        self,
        keys: Iterable[Key] = (),
        diary: Diary | None = None,
        *,
        tariff: Tariff = _TARIFF,
        machine_j: Callable[[], float | None] = no_joules,
        tell: Tell = nobody_listens,
        clocks: Clocks = _CLOCKS,
    ) -> None:
        self._keys = tuple(keys)
        self._quotas = Quotas(self._keys)
        self._diary, self._tariff, self._tell, self._clocks = diary, tariff, tell, clocks
        self._since_start = Day()
        self.shares = Shares(self._since_start).registry
        self._machine_j, self._told_j = machine_j, machine_j()
        self._new: dict[str, Day] = {}
        self._handed: dict[str, Day] = {}  # to the diary, this moment
        self._is_full = False  # the last write failed, and that was said
        self._in_turn = asyncio.Lock()  # who writes the diary, or reads it
        self._writing: asyncio.Task[None] | None = None
        self._written_s = clocks.monotonic()
        self._today = _day_of(clocks.now())
        self._kept = self._read(self._today)  # of today, with what other servers here have written

    # ── requests ─────────────────────────────────────────────────────────────

    def check(self, key: Key) -> None:
        """Before it is read which model is asked. Raises QuotaExceeded where `visit` would now."""
        self._asked(self._quotas.check, key, _NO_MODEL)

    @contextmanager
    def visit(self, key: Key, model: str, watch: Watch, prompt_bytes: int) -> Iterator[None]:
        """Around one request. Raises QuotaExceeded before anything is computed for it."""
        self._asked(self._quotas.enter, key, model)
        try:
            yield
        except (GeneratorExit, asyncio.CancelledError):
            watch.heard.clear()  # the worker tells how far it had come: `left`
            raise
        finally:
            self._quotas.leave(key)
            self._charge(key, model, used(watch, prompt_bytes))

    def left(self, key_name: str, model: str, finished: Finished) -> None:
        """Its client has left, and its request was counted then."""
        key = next((one for one in self._keys if one.name == key_name), ANYBODY)
        self._charge(key, model, used_before_leaving(finished))

    def rate(self, key: Key) -> Rate | None:
        return self._quotas.rate(key, self._clocks.monotonic())

    def _asked(self, ask: Callable[[Key, float, Today], None], key: Key, model: str) -> None:
        now = self._turn_page()
        today = self._today_of(key, now) if key.tokens_per_day else _UNBOUNDED
        try:
            ask(key, self._clocks.monotonic(), today)
        except QuotaExceeded:
            self._note(key, model, Use(n_refused=1))
            raise

    def _charge(self, key: Key, model: str, use: Use) -> None:
        self._quotas.take(key, use.n_tokens, self._clocks.monotonic())
        self._note(key, model, use)

    def _note(self, key: Key, model: str, use: Use) -> None:
        self._since_start.use(key.name, model).add(use)
        self._day().use(key.name, model).add(use)

    def _today_of(self, key: Key, now: datetime) -> Today:
        midnight = datetime.combine(now.date() + timedelta(days=1), clock_time())
        return Today(self._used_today(key), max(0.0, midnight.timestamp() - now.timestamp()))

    def _used_today(self, key: Key) -> int:
        """Tokens."""
        pages = self._kept, self._handed.get(self._today, Day()), self._day()
        return sum(page.n_tokens(key.name) for page in pages)

    # ── what is told ─────────────────────────────────────────────────────────

    async def report(self, since: str, until: str, key: Key) -> Report:
        """`key`: who asks. Without `admin` it sees its own. Raises StorageError."""
        async with self._in_turn:
            if self._diary:
                days = await asyncio.to_thread(self._diary.between, since, until)
            else:
                days = {self._today: total([self._kept])}
            for day, new in self._new.items():
                days.setdefault(day, Day()).add(new)
        days = {day: told for day, told in days.items() if since <= day <= until}
        only = None if key.admin else key.name
        told = report(days, key=only, price=self._tariff.per_kwh, currency=self._tariff.currency)
        told.allowances = [one for one in self.allowances() if only in (None, one.key)]
        told.kept_days = self._diary.n_days if self._diary else 1
        return told

    def allowances(self) -> list[Allowance]:
        """Of all keys, in the settings' order."""
        self._turn_page()
        told = []
        for key in self._keys:
            rate, per_day = self.rate(key), key.tokens_per_day
            used = self._used_today(key)
            told.append(
                Allowance(
                    key=key.name,
                    n_running=self._quotas.n_running(key),
                    used_today=used,
                    max_concurrent=key.max_concurrent,
                    tokens_per_minute=key.tokens_per_minute,
                    left_this_minute=rate.left if rate else None,
                    tokens_per_day=per_day,
                    left_today=None if per_day is None else max(0, per_day - used),
                )
            )
        return told

    # ── the diary ────────────────────────────────────────────────────────────

    def tick(self) -> None:
        self._turn_page()
        told_j = self._machine_j()
        if told_j is not None:
            self._day().machine_j = added(self._day().machine_j, told_j - (self._told_j or 0.0))
            self._told_j = told_j
        has_asked = any(day.keys for day in self._new.values())
        every_s = _WRITE_EVERY_S if has_asked else _WRITE_IDLING_EVERY_S
        is_due = self._clocks.monotonic() - self._written_s >= every_s
        if is_due and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        if self._writing:
            await self._writing
        await self._write()

    async def _write(self) -> None:
        async with self._in_turn:
            self._written_s = self._clocks.monotonic()
            self._handed, self._new = self._new, {}
            for day, new in tuple(self._handed.items()):
                if new and self._diary:
                    await self._hand_over(self._diary, day, new)
                elif day == self._today:
                    self._kept.add(new)
                del self._handed[day]  # it is counted elsewhere from now on

    async def _hand_over(self, diary: Diary, day: str, new: Day) -> None:
        try:
            whole = await asyncio.to_thread(diary.add, day, new)
        except OSError as error:
            if not self._is_full:
                self._tell(f"who has used what can't be kept, and is tried again: {error}")
            self._is_full = True
            self._new.setdefault(day, Day()).add(new)
            return
        self._is_full = False
        if day == self._today:
            self._kept = whole
        if diary.complaint:
            self._tell(diary.complaint)
            diary.complaint = None

    def _turn_page(self) -> datetime:
        """At midnight, and when the clock was set: also to a day that has its counts already.
        Returns when it is now."""
        now = self._clocks.now()
        if (today := _day_of(now)) != self._today:
            self._today, self._kept = today, self._read(today)
            if not self._diary:
                self._new.clear()
        return now

    def _read(self, day: str) -> Day:
        """What can't be read now counts again when it is written."""
        try:
            return self._diary.read(day) if self._diary else Day()
        except OSError:
            return Day()

    def _day(self) -> Day:
        return self._new.setdefault(self._today, Day())


def _day_of(now: datetime) -> str:
    return now.date().isoformat()


def used(watch: Watch, prompt_bytes: int) -> Use:
    """What came of a request. Of an answer that its worker broke off the tokens that were heard
    count, and its prompt by its length."""
    use = _used(watch.only_read) if watch.only_read else Use()
    use.n_requests = 1
    for finished in watch.finished:
        use.add(_used(finished))
    for n_heard in watch.heard.values():
        use.n_prompt += prompt_bytes // _BYTES_A_TOKEN
        use.n_output += n_heard
    return use


def used_before_leaving(finished: Finished) -> Use:
    """As far as its prompt was read; one that only waited has taken nothing."""
    use = _used(finished)
    n_read = min(finished.n_prompt, finished.n_cached + finished.n_computed)
    use.n_prompt = n_read if finished.n_computed else 0
    use.n_cached = min(use.n_cached, use.n_prompt)
    return use


def _used(finished: Finished) -> Use:
    return Use(
        n_prompt=finished.n_prompt,
        n_cached=finished.n_cached,
        n_output=finished.n_output,
        work_s=finished.step_share_s,
        energy_j=finished.energy_j,
    )
