import asyncio
import time
import tracemalloc

import pytest

from edgellm.chat.events import (
    Failed,
    Finished,
    PromptRead,
    SoFar,
    TextDelta,
    Timings,
    TokenLogprob,
)
from edgellm.chat.messages import Claim
from edgellm.errors import WorkerDied
from edgellm.runner.inflight import Inflight
from edgellm.runner.messages import Delta, Done, Noted
from edgellm.units import KIB

MOST_BYTES = 16 * KIB
SLOW, QUICK = 1, 2


class Worker:
    """Whom it was told to abandon."""

    def __init__(self):
        self.abandoned = []

    def __call__(self, request_id):
        self.abandoned.append(request_id)


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def inflight():
    return Inflight(MOST_BYTES)


def word(request_id):
    return Delta(request_id, "a word ", 1)


def done(request_id):
    return Done(request_id, "stop", 1, 0, 1, Timings(0.0, 0.0, 0.0))


def pile_up(inflight, request_id=SLOW):
    """More than may lie here."""
    for _ in range(200):
        inflight.deliver(word(request_id))


def rest_of(stream):
    async def read():
        return [event async for event in stream]

    return asyncio.run(read())


def test_what_is_not_read_yet_is_kept_whole_up_to_the_bound(inflight, worker):
    stream = inflight.open(SLOW, worker)
    for i in range(50):
        inflight.deliver(Delta(SLOW, f"{i} ", 1))
    inflight.deliver(done(SLOW))

    *deltas, ending = rest_of(stream)
    assert "".join(delta.text for delta in deltas) == "".join(f"{i} " for i in range(50))
    assert isinstance(ending, Finished)
    assert worker.abandoned == []


def test_beyond_the_bound_it_ends_once_with_an_error_that_says_so(inflight, worker):
    stream = inflight.open(SLOW, worker)
    pile_up(inflight)
    inflight.deliver(done(SLOW))

    (ending,) = rest_of(stream)
    assert isinstance(ending, Failed)
    assert "are not read yet" in ending.message
    assert "16.0 KiB" in ending.message
    assert worker.abandoned == [SLOW]
    assert len(inflight) == 0


def test_an_answer_that_is_whole_and_unread_is_given_up_like_others(inflight, worker):
    stream, other = inflight.open(SLOW, worker), inflight.open(QUICK, worker)
    for _ in range(60):
        inflight.deliver(word(SLOW))
    inflight.deliver(done(SLOW))
    for _ in range(59):
        inflight.deliver(word(QUICK))

    (ending,) = rest_of(stream)
    assert isinstance(ending, Failed)
    assert worker.abandoned == []  # the worker had ended it
    inflight.deliver(done(QUICK))
    assert len(rest_of(other)) == 60


def test_the_one_that_reads_slowest_is_given_up_and_no_other(inflight, worker):
    slow, quick = inflight.open(SLOW, worker), inflight.open(QUICK, worker)

    async def both():
        read = []
        for _ in range(400):
            inflight.deliver(word(SLOW))
            inflight.deliver(word(QUICK))
            read.append(await anext(quick))
        inflight.deliver(done(QUICK))
        return [*read, *[event async for event in quick]]

    *deltas, ending = asyncio.run(both())
    assert (len(deltas), type(ending)) == (400, Finished)
    assert [type(event) for event in rest_of(slow)] == [Failed]
    assert worker.abandoned == [SLOW]


def test_what_was_read_or_left_makes_room_again(inflight, worker):
    for request_id in range(10):
        stream = inflight.open(request_id, worker)
        for _ in range(100):
            inflight.deliver(word(request_id))
        if request_id % 2:
            asyncio.run(stream.aclose())
        else:
            inflight.deliver(done(request_id))
            assert isinstance(rest_of(stream)[-1], Finished)
    assert worker.abandoned == [1, 3, 5, 7, 9]


def test_the_workers_end_adds_no_second_ending(inflight, worker):
    stream = inflight.open(SLOW, worker)
    pile_up(inflight)
    inflight.fail({SLOW}, WorkerDied("it died"))

    (ending,) = rest_of(stream)
    assert "are not read yet" in ending.message


@pytest.mark.parametrize("n_rivals", [None, 0, 20])
def test_what_is_counted_is_about_what_it_takes(worker, n_rivals):
    inflight = Inflight()
    stream = inflight.open(SLOW, worker)

    def delta(i):
        top = tuple((i + 1000 * r, b"%d word" % r, -0.5 * r) for r in range(n_rivals or 0))
        told = TokenLogprob(i + 1000, b"%d word" % i, -0.1 * i, top)
        return Delta(SLOW, f"word {i} ", 1, () if n_rivals is None else (told,))

    tracemalloc.start()
    try:
        for i in range(1000):
            inflight.deliver(delta(i))
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stream.unread_bytes == pytest.approx(taken_bytes, rel=0.35)


def test_notes_are_counted_as_about_what_they_take(worker):
    inflight = Inflight()
    stream = inflight.open(SLOW, worker)
    tracemalloc.start()
    try:
        for i in range(1000):
            times = Timings(0.1 * i, 0.2 * i, 0.3 * i)
            inflight.deliver(Noted(SLOW, SoFar(1000 + i, 0, 1000 + i, times)))
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stream.unread_bytes == pytest.approx(taken_bytes, rel=0.35)


def test_a_prompt_that_is_read_is_no_answer_that_has_begun(worker):
    """Its deadline ends it where the worker doesn't."""
    inflight = Inflight()

    async def run():
        claim = Claim(deadline_s=time.monotonic())
        stream = inflight.open(SLOW, worker, claim, {SLOW})
        inflight.deliver(Noted(SLOW, PromptRead(100, 0, 50, 0.5)))
        return [event async for event in stream]

    note, ending = asyncio.run(run())
    assert note == PromptRead(100, 0, 50, 0.5)
    assert ending.kind == "DeadlinePassed"


def test_who_no_worker_has_yet_is_told_when_the_deadline_passes_and_others_by_their_worker(worker):
    inflight = Inflight()

    async def run():
        claim, abandoned = Claim(deadline_s=time.monotonic()), []
        other = inflight.open(QUICK, worker, claim)
        held = inflight.open(SLOW, abandoned.append, claim, {SLOW})
        (ending,) = [event async for event in held]
        inflight.deliver(done(QUICK))
        return ending, abandoned, [event async for event in other]

    ending, abandoned, told = asyncio.run(run())
    assert (ending.kind, abandoned) == ("DeadlinePassed", [SLOW])
    assert isinstance(told[-1], Finished)


def test_text_deltas_come_out_as_they_were_told(inflight, worker):
    stream = inflight.open(SLOW, worker)
    inflight.deliver(Delta(SLOW, "ä", 2))
    inflight.deliver(done(SLOW))

    assert rest_of(stream)[0] == TextDelta("ä", 2)


def told_of():
    told = []
    return told, Inflight(on_left=lambda key, finished: told.append((key, finished.n_output)))


def test_what_the_worker_says_of_an_answer_whose_reader_left_is_told_with_its_key(worker):
    told, inflight = told_of()
    stream = inflight.open(1, worker, Claim(key="anna"))
    inflight.deliver(word(1))
    asyncio.run(stream.aclose())
    inflight.deliver(done(1))
    inflight.deliver(done(1))
    assert (told, worker.abandoned) == ([("anna", 1)], [1])


def test_an_answer_that_was_read_to_its_end_is_not_told_so(worker):
    told, inflight = told_of()
    stream = inflight.open(1, worker, Claim(key="anna"))
    inflight.deliver(done(1))
    assert len(rest_of(stream)) == 1
    asyncio.run(stream.aclose())
    assert told == []


def test_one_that_had_ended_and_was_not_read_so_far_is_told_once(worker):
    told, inflight = told_of()
    stream = inflight.open(1, worker, Claim(key="anna"))
    inflight.deliver(word(1))
    inflight.deliver(done(1))
    asyncio.run(stream.aclose())
    inflight.deliver(done(1))
    assert told == [("anna", 1)]


def test_of_those_whose_worker_never_tells_so_many_are_remembered(worker):
    told, inflight = told_of()
    for request_id in range(3000):
        asyncio.run(inflight.open(request_id, worker).aclose())
    for request_id in range(3000):
        inflight.deliver(done(request_id))
    assert len(told) == 1024
