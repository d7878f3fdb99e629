"""The real worker process can't load, or is told to stop, whenever that is."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from real_model import demo_path, plan
from supervisor_runs import collect, greedy, limit_address_space, supervise

from edgellm.chat.events import Failed, Finished
from edgellm.errors import (
    BadGGUF,
    DoesNotFit,
    EdgellmError,
    NotServing,
)
from edgellm.runner.supervisor import Supervisor
from edgellm.units import GIB

pytestmark = pytest.mark.model


def test_a_stopped_engine_tells_whoever_still_waits():
    async def scenario(engine):
        task = asyncio.create_task(collect(engine, "Once", greedy(450)))
        await asyncio.sleep(0.02)
        await engine.stop()
        with pytest.raises(NotServing):
            engine.generate("Once", greedy(5))
        return await task

    _, ending = supervise(scenario)
    assert isinstance(ending, Finished | Failed)


@pytest.mark.parametrize("damage", ["truncated", "not a gguf", "flipped"])
def test_a_damaged_file_is_refused_and_leaves_no_process(tmp_path, damage):
    data = bytearray(demo_path().read_bytes())
    match damage:
        case "truncated":
            data = data[: len(data) // 2]
        case "flipped":
            data[8] ^= 0xFF  # the number of tensors
        case _:
            data = bytearray(b"hello" * 100)
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)

    async def run():
        engine = Supervisor(str(path), plan())
        with pytest.raises(BadGGUF):
            await engine.start()
        return engine.pid

    assert asyncio.run(run()) is None


def test_a_device_that_llama_cpp_does_not_find_is_named():
    async def scenario():
        engine = Supervisor(str(demo_path()), plan(devices=("CUDA7",)))
        with pytest.raises(EdgellmError, match="finds no device 'CUDA7'") as caught:
            await engine.start()
        await engine.stop()
        return engine, caught.value

    engine, error = asyncio.run(scenario())
    assert engine.missing_device == str(error)
    assert "edgellm probe" in error.hint


def test_stopping_an_engine_that_is_still_starting_leaves_no_process_and_is_told():
    async def run(wait_s):
        engine = Supervisor(str(demo_path()), plan())
        starting = asyncio.create_task(engine.start())
        await asyncio.sleep(wait_s)
        was_ready = starting.done()
        await asyncio.wait_for(engine.stop(), 60)
        (error,) = await asyncio.gather(starting, return_exceptions=True)
        assert error is None if was_ready else isinstance(error, NotServing)
        return engine.pid, engine.state

    for wait_s in (0.0, 0.005, 0.05, 0.15, 0.25):
        assert asyncio.run(run(wait_s)) == (None, "stopped")


def test_a_file_whose_name_is_not_utf8_is_served(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    path.symlink_to(demo_path())

    async def scenario(engine):
        return await collect(engine, "Once", greedy(5))

    _, ending = supervise(scenario, path=path)
    assert isinstance(ending, Finished)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS binds on Linux only")
def test_a_context_that_memory_cannot_hold_asks_for_a_smaller_plan(tmp_path, monkeypatch):
    limit_address_space(3 * GIB, tmp_path, monkeypatch)

    async def run():
        engine = Supervisor(str(demo_path()), plan(n_ctx=1 << 23, n_ctx_seq=1 << 18))
        with pytest.raises(DoesNotFit, match="could not load a context"):
            await engine.start()

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_native_code_prints_goes_to_the_log_and_not_between_the_frames():
    async def scenario(engine):
        fds = Path(f"/proc/{engine.pid}/fd")
        return (fds / "1").readlink(), (fds / "2").readlink()

    stdout, stderr = supervise(scenario)
    assert stdout == stderr
