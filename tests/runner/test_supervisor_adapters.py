"""Adapters that come and go while whoever asked for it leaves, with the real worker."""

import asyncio
import os
import signal

import pytest
from real_model import SHARED_MODELS, needs_shared_models
from supervisor_runs import reaching, supervise

from edgellm.chat.events import Failed, Finished
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.errors import Overloaded

pytestmark = [pytest.mark.model, needs_shared_models]

MODEL = SHARED_MODELS / "stories260K-f16.gguf"
ADAPTER = SHARED_MODELS / "stories260K-lora-random.gguf"
LONG = GenerateParams(SamplingParams(ignore_eos=True), 400)


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

    supervise(scenario, path=MODEL, sandbox=reaching(SHARED_MODELS))


async def back_again(engine):
    n_restarts = engine.n_restarts
    os.kill(engine.pid, signal.SIGKILL)
    while engine.n_restarts == n_restarts or engine.state != "ready":
        assert engine.state != "failed", engine.failure
        await asyncio.sleep(0.01)


def test_a_worker_comes_back_without_the_adapters_whose_files_have_changed_or_gone(
    tmp_path,
):
    files = [tmp_path / f"{name}.gguf" for name in ("gone", "damaged", "other", "kept")]
    for file in files:
        file.write_bytes(ADAPTER.read_bytes())
    gone, damaged, other, _ = files

    async def scenario(engine):
        ids = [(await engine.load_adapter(file.stem, file)).id for file in files]
        gone.unlink()
        damaged.write_bytes(ADAPTER.read_bytes()[:2000])
        other.write_bytes(MODEL.read_bytes())
        await back_again(engine)
        assert [one.name for one in engine.adapters] == ["kept"]
        log = "\n".join(engine.log)
        assert all(f"the adapter {file.name} is left out: " in log for file in files[:3])
        refused, *_, served = [await last_event(engine, ((one, 1.0),)) for one in ids]
        assert isinstance(refused, Failed)
        assert "has been unloaded" in refused.message
        assert isinstance(served, Finished)
        await back_again(engine)

    supervise(scenario, path=MODEL, sandbox=reaching(tmp_path))


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

    supervise(scenario, path=MODEL, max_queue=0, sandbox=reaching(SHARED_MODELS))
