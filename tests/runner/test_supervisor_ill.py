"""A worker that doesn't end as it should, in front of the real one."""

import asyncio
import os
import signal
import sys

import pytest
from real_model import demo_path, plan
from supervisor_runs import ending_of, greedy

from edgellm.chat.events import Failed, Finished
from edgellm.chat.pictures import Pictures
from edgellm.errors import Overloaded, WorkerDied
from edgellm.runner import child
from edgellm.runner.supervisor import Supervisor

pytestmark = pytest.mark.model

# What follows is done by the first process; those after it are real workers.
ILL = """#!{python}
import os, sys, time
from pathlib import Path
been = Path({been!r})
if been.exists():
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
been.touch()
from edgellm.runner.frames import encode_frame
from edgellm.runner.messages import Ready
ready = encode_frame([Ready(4096, 512, 100, 0.1, True, False, 8, 512)])
os.read(0, 1 << 20)
"""
CLOSES_ITS_PIPE = "os.write(1, ready); os.read(0, 1 << 20); os.close(1); time.sleep(60)"
# In a session of its own, as a helper that outlives who started it.
LEAVES_A_CHILD = """
import subprocess
os.write(1, ready)
os.read(0, 1 << 20)
helper = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
Path({helper!r}).write_text(str(helper.pid))
os._exit(3)
"""


@pytest.fixture
def supervise(tmp_path, monkeypatch):
    """Run `scenario(engine)` on a worker that at first does what it is told here."""

    def run(does, scenario):
        program = tmp_path / "ill"
        been, helper = str(tmp_path / "been"), str(tmp_path / "helper")
        program.write_text(
            ILL.format(python=sys.executable, been=been) + does.replace("{helper!r}", repr(helper))
        )
        program.chmod(0o700)
        monkeypatch.setattr("sys.executable", str(program))
        monkeypatch.setattr(child, "DEATH_S", 1.0)

        async def main():
            engine = Supervisor(str(demo_path()), plan())
            try:
                await engine.start()
                return await asyncio.wait_for(scenario(engine), 60)
            finally:
                await engine.stop()

        return asyncio.run(main())

    yield run
    if (helper := tmp_path / "helper").exists():
        os.kill(int(helper.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("does", "words"), [
        (CLOSES_ITS_PIPE, "has closed its pipe, and did not end"),
        (LEAVES_A_CHILD, "exit code 3"),
    ], ids=["closes its pipe", "leaves a child"],
)  # fmt: skip
def test_whoever_waits_is_told_though_the_workers_end_never_comes(supervise, does, words):
    async def scenario(engine):
        ending = await ending_of(engine.generate("Once", greedy(5)))
        return ending, await ending_of(engine.generate("Once", greedy(5))), engine.n_restarts

    ending, after, n_restarts = supervise(does, scenario)
    assert isinstance(ending, Failed)
    assert ending.kind == "WorkerDied"
    assert words in ending.message
    assert isinstance(after, Finished)
    assert n_restarts == 1


def test_who_comes_while_a_worker_ends_is_answered_by_the_next_one(supervise):
    async def scenario(engine):
        lost = asyncio.create_task(ending_of(engine.generate("Once", greedy(5))))
        while engine._outbox.is_open:  # noqa: ASYNC110 - until the end of its pipe is seen
            await asyncio.sleep(0.001)
        assert engine.pid, "it still lives"
        came = engine.generate("Once", greedy(5))
        return await lost, await ending_of(came)

    lost, came = supervise(CLOSES_ITS_PIPE, scenario)
    assert isinstance(lost, Failed)
    assert isinstance(came, Finished)


@pytest.mark.parametrize(
    "does",
    ["os.write(1, bytes([255]) * 99); time.sleep(60)", "os.write(1, ready[:-3])"],
    ids=["no frame", "half a frame"],
)
def test_who_says_something_else_at_its_load_is_given_up(supervise, does):
    async def scenario(engine):
        raise AssertionError("it was never ready")

    with pytest.raises(WorkerDied):
        supervise(does, scenario)


def test_what_a_worker_does_not_read_is_bounded_in_bytes(supervise):
    pictures = Pictures("(picture)", (bytes(60 << 20),), ("a picture",))

    async def scenario(engine):
        held = [engine.generate("Once", greedy(5, pictures=pictures)) for _ in range(5)]
        with pytest.raises(Overloaded, match=r"5 requests wait, 31\d{7} bytes"):
            engine.generate("Once", greedy(5))
        for answer in held:
            await answer.aclose()

    supervise("os.write(1, ready); time.sleep(60)", scenario)
