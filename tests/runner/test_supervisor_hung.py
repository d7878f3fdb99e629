"""The real worker process, stopped: as one whose driver never comes back."""

import asyncio
import os
import signal
import time

import pytest
from supervisor_runs import LONG, ROOMY, ending_of, greedy, supervise

from edgellm.chat.events import Failed, Finished
from edgellm.chat.messages import Claim
from edgellm.errors import WorkerDied
from edgellm.runner.liveness import Patience

pytestmark = pytest.mark.model

IMPATIENT = Patience(look_s=0.05, idle_s=2.0, busy_s=60.0)


async def until(holds):
    while not holds():  # noqa: ASYNC110 - a state, not an event
        await asyncio.sleep(0.001)


def test_a_worker_that_hangs_is_ended_whoever_waits_is_told_and_the_next_one_answers():
    async def scenario(engine):
        running = engine.generate("Once", greedy(LONG))
        await anext(running)
        os.kill(engine.pid, signal.SIGSTOP)
        waiting = engine.generate("Once", greedy(5))
        question = asyncio.create_task(engine.tokenize("Once", False))
        endings = [await ending_of(running), await ending_of(waiting)]
        with pytest.raises(WorkerDied, match="hung"):
            await question
        return endings, await ending_of(engine.generate("Once", greedy(5))), engine.n_restarts

    endings, after, n_restarts = supervise(scenario, patience=IMPATIENT, **ROOMY)
    for ending in endings:
        assert isinstance(ending, Failed)
        assert (ending.http_status, ending.kind) == (502, "WorkerDied")
        assert "said nothing and computed nothing" in ending.message
    assert isinstance(after, Finished)
    assert n_restarts == 1


def test_a_worker_that_hangs_while_it_loads_is_ended_too():
    async def scenario(engine):
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.state == "restarting" and engine.pid)
        os.kill(engine.pid, signal.SIGSTOP)
        ending = await ending_of(engine.generate("Once", greedy(5)))
        return ending, engine.n_restarts

    ending, n_restarts = supervise(scenario, patience=IMPATIENT)
    assert isinstance(ending, Finished)  # it was held, and the third worker has answered it
    assert n_restarts == 2


def test_a_worker_that_nobody_waits_for_may_stand_still():
    async def scenario(engine):
        pid = engine.pid
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(4)
        os.kill(pid, signal.SIGCONT)
        assert isinstance(await ending_of(engine.generate("Once", greedy(5))), Finished)
        return engine.n_restarts

    assert supervise(scenario, patience=IMPATIENT) == 0


def test_a_deadline_holds_though_the_worker_hangs():
    async def scenario(engine):
        os.kill(engine.pid, signal.SIGSTOP)
        begun_s = time.monotonic()
        soon = Claim(deadline_s=begun_s + 0.2)
        ending = await ending_of(engine.generate("Once", greedy(5, claim=soon)))
        elapsed_s = time.monotonic() - begun_s
        os.kill(engine.pid, signal.SIGCONT)
        again = await ending_of(engine.generate("Once", greedy(5)))
        return ending, elapsed_s, again

    ending, elapsed_s, again = supervise(scenario)
    assert (ending.http_status, ending.kind) == (504, "DeadlinePassed")
    assert elapsed_s < 10
    assert isinstance(again, Finished)


def test_a_deadline_holds_while_the_model_loads():
    async def scenario(engine):
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.state == "restarting" and engine.pid)
        os.kill(engine.pid, signal.SIGSTOP)
        claims = Claim(deadline_s=time.monotonic() + 0.2), Claim()
        late, patient = (engine.generate("Once", greedy(5, claim=one)) for one in claims)
        ending = await ending_of(late)
        os.kill(engine.pid, signal.SIGCONT)
        return ending, await ending_of(patient), engine.n_restarts

    ending, after, n_restarts = supervise(scenario)
    assert (ending.http_status, ending.kind) == (504, "DeadlinePassed")
    assert isinstance(after, Finished)
    assert n_restarts == 1
