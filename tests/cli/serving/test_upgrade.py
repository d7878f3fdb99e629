"""The errand of `up`, with a download that does what it is told to."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from cli.serving.fleet_fakes import fleet, prepared
from server.server_fakes import hardware

from edgellm.cli.serving.upgrade import upgrade
from edgellm.config import Config
from edgellm.errors import EdgellmError, NetworkError

WISHED = SimpleNamespace(name="qwen3:8b")


def run(fetch):
    """The errand to its end, beside a server with the demo; what it said, and the fleet."""
    made, _, _ = fleet()
    said = []

    async def scenario():
        await made.load(prepared("demo", is_demo=True))
        errand = upgrade(Config(), hardware(), WISHED, said.append, None, fetch)
        await asyncio.wait_for(errand(made), 20)

    asyncio.run(scenario())
    return made, said


def served(made):
    return [served.name for served in made.models]


def test_what_was_fetched_takes_the_demos_place():
    made, said = run(lambda config, hardware, wished, progress: prepared(wished.name))

    assert served(made) == ["qwen3:8b"]
    assert said[0].startswith("now serving qwen3:8b")
    assert made.download is None


@pytest.mark.parametrize(
    ("trouble", "words"),
    [(NetworkError("the hub is away"), "the hub is away"),
     (ZeroDivisionError("a bug"), "ZeroDivisionError: a bug")],
)  # fmt: skip
def test_whatever_ends_a_download_the_demo_goes_on(trouble, words):
    def fetch(config, hardware, wished, progress):
        progress(3, 10, None)
        raise trouble

    made, said = run(fetch)

    assert served(made) == ["demo"]
    assert (made.download.error, made.download.done_bytes) == (words, 3)
    assert said == [f"qwen3:8b did not come: {words}; the demo goes on"]


def test_a_download_that_the_servers_end_breaks_off_says_where_it_goes_on():
    begun, leaving, said, last = threading.Event(), threading.Event(), [], []

    def fetch(config, hardware, wished, progress):
        progress(2 << 30, 5 << 30, None)
        begun.set()
        assert leaving.wait(20)
        raise EdgellmError("nobody waits")

    async def quit_in_the_middle():
        made, _, _ = fleet()
        await made.load(prepared("demo", is_demo=True))
        errand = upgrade(Config(), hardware(), WISHED, said.append, None, fetch, last.append)
        running = asyncio.create_task(errand(made))
        assert await asyncio.to_thread(begun.wait, 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(quit_in_the_middle())
    leaving.set()
    assert said == []
    assert len(last) == 1
    assert "qwen3:8b: " in last[0]
    assert "goes on from 2.0 GiB of 5.0 GiB" in last[0]


def test_whoever_quits_does_not_wait_for_the_download_which_ends_at_its_next_byte():
    begun, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def fetch(config, hardware, wished, progress):
        progress(1, 10, None)
        begun.set()
        assert goes_on.wait(20)
        try:
            progress(2, 10, None)
        except EdgellmError:
            ended.set()
            raise

    async def quit_in_the_middle():
        made, _, _ = fleet()
        await made.load(prepared("demo", is_demo=True))
        errand = upgrade(Config(), hardware(), WISHED, print, None, fetch)
        running = asyncio.create_task(errand(made))
        assert await asyncio.to_thread(begun.wait, 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(quit_in_the_middle())  # it has returned, and the thread is still at work
    assert not ended.is_set()
    goes_on.set()
    assert ended.wait(20)
