import asyncio
import errno
from datetime import datetime, timedelta

import pytest

from edgellm.chat.events import Finished, TextDelta
from edgellm.errors import QuotaExceeded
from edgellm.keys import ANYBODY, Key
from edgellm.meter.usage.counts import Use
from edgellm.meter.usage.diary import Diary
from edgellm.server.watch.books import Books, Clocks, used
from edgellm.server.watch.histograms import Buckets
from edgellm.server.watch.joules import Tariff
from edgellm.server.watch.metrics import Watch

NOON = datetime(2026, 11, 28, 12)
ANNA = Key("anna", tokens_per_day=100, admin=False)
BOSS = Key("boss")
DONE = Finished("stop", 30, 10, 20, step_share_s=2.0, energy_j=7.0)


class Time:
    """A wall clock that can be set, and one that only goes on."""

    def __init__(self):
        self.at, self.seconds = NOON, 0.0
        self.clocks = Clocks(lambda: self.seconds, lambda: self.at)

    def passes(self, seconds):
        self.at += timedelta(seconds=seconds)
        self.seconds += seconds


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def diary(tmp_path):
    return Diary(tmp_path / "usage", 3)


def watch():
    return Watch(Buckets((1.0,)), None, began_s=0.0)


def ask(books, key=ANNA, *events, prompt_bytes=0):
    seen = watch()
    with books.visit(key, "tiny", seen, prompt_bytes):
        for event in events or (DONE,):
            seen.saw(0, event)


def rows(books, key=BOSS, since="0001-01-01", until="9999-12-31"):
    told = asyncio.run(books.report(since, until, key))
    return {(row.day, row.key): row for row in told.rows}


def test_a_days_quota_outlives_the_server(diary, time):
    books = Books([ANNA], diary, clocks=time.clocks)
    ask(books)
    ask(books)
    with pytest.raises(QuotaExceeded, match="100 tokens today"):
        ask(books)
    asyncio.run(books.close())
    again = Books([ANNA], diary, clocks=time.clocks)
    with pytest.raises(QuotaExceeded, match="100 tokens today") as raised:
        ask(again)
    assert raised.value.retry_after_s == 12 * 3600
    row = rows(again)["2026-11-28", "anna"]
    assert (row.n_requests, row.n_refused, row.n_tokens, row.n_cached) == (2, 2, 100, 20)
    assert (row.work_s, row.energy_j) == (4.0, 14.0)


def test_what_is_only_read_has_its_seconds_and_its_joules(time):
    books, seen = Books([ANNA], clocks=time.clocks), watch()
    with books.visit(ANNA, "tiny", seen, 0):
        seen.read(Finished("stop", 30, 0, 0, step_share_s=2.0, energy_j=7.0))
    row = rows(books)["2026-11-28", "anna"]
    assert (row.n_requests, row.n_prompt, row.n_output) == (1, 30, 0)
    assert (row.work_s, row.energy_j) == (2.0, 7.0)


def test_the_clock_is_read_once_for_a_request():
    looks = []

    def now():
        looks.append("")
        return NOON

    books = Books([BOSS, ANNA], clocks=Clocks(lambda: 0.0, now))
    for key in (BOSS, ANNA):
        looks.clear()
        ask(books, key)
        assert len(looks) == 1


def test_what_is_on_the_disk_is_counted_once_while_another_day_is_written(tmp_path, time):
    seen = {}

    class Watched(Diary):
        def add(self, day, new):
            seen[day] = books.allowances()[0].used_today
            return super().add(day, new)

    books = Books([ANNA], Watched(tmp_path, 3), clocks=time.clocks)
    ask(books)
    time.at += timedelta(days=1)
    ask(books)
    time.at -= timedelta(days=1)
    asyncio.run(books.close())
    assert seen == {"2026-11-28": 50, "2026-11-29": 50}


def test_midnight_frees_a_key_and_a_clock_set_back_finds_its_day_again(diary, time):
    books = Books([ANNA], diary, clocks=time.clocks)
    ask(books)
    ask(books)
    asyncio.run(books.close())
    time.passes(12 * 3600)
    ask(books)
    time.at = NOON
    with pytest.raises(QuotaExceeded):
        ask(books)
    asyncio.run(books.close())
    assert {day for day, _ in rows(books)} == {"2026-11-28", "2026-11-29"}


def test_a_full_disk_is_said_once_and_costs_nothing_once_there_is_room(diary, time, monkeypatch):
    said = []
    books = Books([ANNA], diary, tell=said.append, clocks=time.clocks)
    real = Diary.add

    def full(self, day, new):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Diary, "add", full)
    ask(books)
    ask(books)
    for _ in range(3):
        asyncio.run(books.close())
    assert len(said) == 1
    assert "No space left on device" in said[0]
    with pytest.raises(QuotaExceeded):
        ask(books)
    assert rows(books)["2026-11-28", "anna"].n_requests == 2
    monkeypatch.setattr(Diary, "add", real)
    asyncio.run(books.close())
    assert diary.read("2026-11-28").keys["anna"]["tiny"].n_requests == 2


def test_a_folder_that_can_not_be_read_is_no_reason_not_to_serve(diary, time, monkeypatch):
    def denied(self, day):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Diary, "read", denied)
    books = Books([ANNA], diary, clocks=time.clocks)
    ask(books)


def test_it_writes_half_a_minute_after_somebody_asked_and_seldom_while_nobody_does(diary, time):
    joules = iter(range(0, 10**6, 10))

    async def scenario():
        books = Books([ANNA], diary, machine_j=lambda: float(next(joules)), clocks=time.clocks)

        async def passes(seconds):
            time.passes(seconds)
            books.tick()
            if books._writing:
                await books._writing
            return diary.days()

        assert await passes(1000) == []  # only joules are new
        ask(books)
        assert await passes(1) == ["2026-11-28"]
        ask(books)
        await passes(29)
        assert diary.read("2026-11-28").n_tokens("anna") == 50
        await passes(1)
        assert diary.read("2026-11-28").n_tokens("anna") == 100
        await passes(3600)
        assert diary.read("2026-11-28").machine_j == 50.0

    asyncio.run(scenario())


def test_what_is_being_written_still_counts(diary, time, monkeypatch):
    async def scenario():
        books = Books([ANNA], diary, clocks=time.clocks)
        ask(books)
        ask(books)
        real = Diary.add
        seen = []

        def slow(self, day, new):
            with pytest.raises(QuotaExceeded):
                ask(books, ANNA)
            seen.append(day)
            return real(self, day, new)

        monkeypatch.setattr(Diary, "add", slow)
        await books.close()
        assert seen == ["2026-11-28"]

    asyncio.run(scenario())


def test_without_a_diary_today_is_all_there_is(time):
    books = Books([ANNA], clocks=time.clocks)
    ask(books)
    ask(books)
    asyncio.run(books.close())
    with pytest.raises(QuotaExceeded):
        ask(books)
    assert rows(books)["2026-11-28", "anna"].n_tokens == 100
    time.passes(24 * 3600)
    ask(books)
    assert [*rows(books)] == [("2026-11-29", "anna")]


def test_who_asks_without_a_key_is_counted_too(time):
    books = Books(clocks=time.clocks)
    ask(books, ANYBODY)
    assert rows(books, ANYBODY)["2026-11-28", ""].n_tokens == 50


def test_an_answer_that_its_worker_broke_off_counts_as_far_as_it_was_heard():
    seen = watch()
    seen.saw(0, TextDelta("a"))
    seen.saw(1, TextDelta("bc", 2))
    seen.saw(1, DONE)
    assert used(seen, 400) == Use(
        n_requests=1, n_prompt=130, n_cached=10, n_output=21, work_s=2.0, energy_j=7.0
    )
    assert used(watch(), 400) == Use(n_requests=1)


@pytest.mark.parametrize(
    ("n_computed", "n_output", "n_prompt", "n_cached"),
    [
        (0, 0, 0, 0),  # it waited
        (5, 0, 15, 10),  # its prompt was being read
        (20, 0, 30, 10),
        (25, 6, 30, 10),
    ],
)
def test_an_answer_that_its_client_left_counts_as_far_as_it_had_come(
    time, n_computed, n_output, n_prompt, n_cached
):
    books = Books([ANNA], clocks=time.clocks)
    (seen := watch()).saw(0, TextDelta("a"))
    with pytest.raises(GeneratorExit), books.visit(ANNA, "tiny", seen, 4000):
        raise GeneratorExit
    assert rows(books)["2026-11-28", "anna"].n_tokens == 0
    books.left("anna", "tiny", Finished("cancelled", 30, 10, n_output, n_computed=n_computed))
    row = rows(books)["2026-11-28", "anna"]
    assert (row.n_requests, row.n_output) == (1, n_output)
    assert (row.n_prompt, row.n_cached) == (n_prompt, n_cached)


def test_to_leave_before_the_first_word_is_no_way_round_a_quota(time):
    key = Key("anna", tokens_per_minute=10)
    books = Books([key], clocks=time.clocks)
    with pytest.raises(GeneratorExit), books.visit(key, "tiny", watch(), 4000):
        raise GeneratorExit
    books.left("anna", "tiny", Finished("cancelled", 1000, 0, 0, n_computed=512))
    with pytest.raises(QuotaExceeded, match="512 tokens of late, of 10"):
        ask(books, key)


def test_whatever_happens_to_a_request_its_place_is_free_again(time):
    one = Key("one", max_concurrent=1)
    books = Books([one], clocks=time.clocks)
    for error in (ValueError, asyncio.CancelledError, GeneratorExit):
        with pytest.raises(error), books.visit(one, "tiny", watch(), 0):
            raise error
    with books.visit(one, "tiny", watch(), 0):
        with pytest.raises(QuotaExceeded):
            ask(books, one)
        assert books.allowances()[0].n_running == 1


def test_a_key_sees_its_own_and_an_admins_sees_all_and_the_machine(diary, time):
    joules = [100.0]
    books = Books(
        [ANNA, BOSS], diary, machine_j=lambda: joules[0], tariff=Tariff(0.36, "EUR"),
        clocks=time.clocks,
    )  # fmt: skip
    ask(books, ANNA)
    ask(books, BOSS)
    joules[0] = 1_000_100.0

    async def told(key):
        books.tick()
        return await books.report("2026-11-28", "2026-11-28", key)

    own, everyones = asyncio.run(told(ANNA)), asyncio.run(told(BOSS))
    assert [row.key for row in own.rows] == ["anna"]
    assert (own.machine, [one.key for one in own.allowances]) == ([], ["anna"])
    assert own.allowances[0].left_today == 50
    assert [row.key for row in everyones.rows] == ["anna", "boss"]
    assert [(one.energy_j, one.cost) for one in everyones.machine] == [(1e6, pytest.approx(0.1))]
    assert (everyones.kept_days, everyones.currency) == (3, "EUR")
    assert rows(books, BOSS, "2026-11-29") == {}
