"""Adapters that come and go while whoever asked for it leaves, with the real worker."""

import asyncio
import os
import signal

import pytest
from real_model import SHARED_MODELS, needs_shared_models, plan

from edgellm.chat.events import Failed, Finished
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.errors import Overloaded
from edgellm.runner.supervisor import Supervisor

pytestmark = [pytest.mark.model, needs_shared_models]

MODEL = SHARED_MODELS / "stories260K-f16.gguf"
ADAPTER = SHARED_MODELS / "stories260K-lora-random.gguf"
LONG = GenerateParams(SamplingParams(ignore_eos=True), 400)


def supervise(scenario, max_queue=512):
    async def run():
        engine = Supervisor(str(MODEL), plan(), max_queue=max_queue)
        await engine.start()
        try:
            await asyncio.wait_for(scenario(engine), 60)
        finally:
            await engine.stop()

    asyncio.run(run())


async def last_event(engine, adapters):
    events = [
        event
        async for event in engine.generate("Once", GenerateParams(max_tokens=3, adapters=adapters))
    ]
    return events[-1]


async def cancelled_once_written(engine, asked):
    """What is asked reaches the worker; who asked leaves before it answers."""
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        asking = asyncio.create_task(asked)
        while not engine._inflight.request_ids:
            assert not asking.done()
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    finally:
        os.kill(engine.pid, signal.SIGCONT)


def test_an_adapter_that_nobody_waited_for_is_not_kept():
    async def scenario(engine):
        await cancelled_once_written(engine, engine.load_adapter("left", ADAPTER))
        assert len(engine.adapters) == 0
        ending = await last_event(engine, ((0, 1.0),))
        assert isinstance(ending, Failed)
        assert "has been unloaded" in ending.message
        again = await engine.load_adapter("left", ADAPTER)
        assert isinstance(await last_event(engine, ((again.id, 1.0),)), Finished)

    supervise(scenario)


def test_an_adapter_that_cannot_be_unloaded_stays_listed():
    async def scenario(engine):
        kept = await engine.load_adapter("kept", ADAPTER)
        crowd = [engine.generate("Once", LONG) for _ in range(engine.plan.n_parallel)]
        with pytest.raises(Overloaded):
            await engine.unload_adapter("kept")
        assert [*engine.adapters] == [kept]
        for stream in crowd:
            await stream.aclose()
        assert await engine.unload_adapter("kept") == kept

    supervise(scenario, max_queue=0)
