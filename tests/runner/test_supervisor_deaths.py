"""The real worker process dies: everyone is told once, and it comes back."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest
from supervisor_runs import LONG, ROOMY, collect, greedy, supervise

from edgellm.chat.events import Failed, Finished
from edgellm.chat.pictures import Pictures
from edgellm.errors import (
    Overloaded,
)

pytestmark = pytest.mark.model


async def until_running(engine, n):
    while not (engine.gauge and engine.gauge.n_running == n):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_a_worker_killed_under_load_ends_every_request_once_and_comes_back_at_once():
    told = []

    async def scenario(engine):
        engine.on_death, n_lost = told.append, 0
        for _ in range(20):
            tasks = [asyncio.create_task(collect(engine, "Once", greedy(LONG))) for _ in range(4)]
            await until_running(engine, 4)
            os.kill(engine.pid, signal.SIGKILL)
            endings = [ending for _, ending in await asyncio.gather(*tasks)]
            n_lost += sum(isinstance(e, Failed) and e.http_status == 502 for e in endings)
            text, ending = await collect(engine, "Once", greedy(5))
            assert isinstance(ending, Finished), ending
            assert text
        return n_lost, engine.n_restarts

    assert supervise(scenario, within_s=240, **ROOMY) == (80, 20)
    assert [line.rpartition("; ")[2] for line in told] == ["it is started again"] * 20, "no wait"


def test_requests_that_come_while_it_restarts_wait_and_are_answered():
    async def scenario(engine):
        os.kill(engine.pid, signal.SIGKILL)
        while engine.state != "restarting":  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.001)
        return await asyncio.gather(*(collect(engine, "Once", greedy(5)) for _ in range(5)))

    assert all(isinstance(ending, Finished) for _, ending in supervise(scenario))


def test_what_waits_for_a_restart_is_bounded_in_bytes():
    pictures = Pictures("(picture)", (bytes(60 << 20),), ("a picture",))

    async def scenario(engine):
        os.kill(engine.pid, signal.SIGKILL)
        while engine.state != "restarting":  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.001)
        held = [engine.generate("Once", greedy(5, pictures=pictures)) for _ in range(5)]
        with pytest.raises(Overloaded, match=r"5 requests wait, 3145\d+ bytes"):
            engine.generate("Once", greedy(5))
        for answer in held:
            await answer.aclose()
        assert isinstance((await collect(engine, "Once", greedy(5)))[1], Finished)

    supervise(scenario)


def test_a_worker_whose_device_is_gone_after_a_crash_says_so_until_it_loads_again():
    async def scenario(engine):
        assert engine.missing_device is None
        whole = engine.plan
        engine.plan = replace(whole, devices=("CUDA7",))
        os.kill(engine.pid, signal.SIGKILL)
        while engine.missing_device is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        engine.plan = whole
        _, ending = await collect(engine, "Once", greedy(3))
        return engine, ending

    engine, ending = supervise(scenario)
    assert isinstance(ending, Finished)
    assert engine.missing_device is None


def test_a_death_is_told_and_logged_once_without_the_words_of_the_load():
    told = []

    async def scenario(engine):
        engine.on_death = told.append
        asking = asyncio.create_task(collect(engine, "Once", greedy(LONG)))
        await until_running(engine, 1)
        os.kill(engine.pid, signal.SIGKILL)
        _, ending = await asking
        _, again = await collect(engine, "Once", greedy(5))
        return ending, again, [line for line in engine.log if "SIGKILL" in line]

    ending, again, logged = supervise(scenario, **ROOMY)
    assert ending.message == "the model's process ended (SIGKILL)"
    assert isinstance(again, Finished)
    assert told == logged
    (line,) = told
    assert line.endswith(": the model's process ended (SIGKILL); it is started again")


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), ValueError("closed file")])
def test_a_death_that_can_be_told_nobody_is_logged_and_the_worker_comes_back(error):
    def nobody(line):
        raise error

    async def scenario(engine):
        engine.on_death = nobody
        os.kill(engine.pid, signal.SIGKILL)
        while engine.state == "ready":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        _, ending = await collect(engine, "Once", greedy(5))
        return ending, engine.n_restarts, [line for line in engine.log if "SIGKILL" in line]

    ending, n_restarts, logged = supervise(scenario)
    assert isinstance(ending, Finished)
    assert n_restarts == 1
    assert len(logged) == 1
