import asyncio
import contextlib

import pytest
from cli.serving.announcing import http_server, without_end
from server.server_fakes import HANG, FakeEngine, live_server, served

from edgellm.chat.events import Failed, TextDelta
from edgellm.cli.serving.async_client import AsyncClient
from edgellm.errors import ModelNotFound, NotServing, WorkerDied
from edgellm.server.door.access import Access
from edgellm.server.serve import Bind
from edgellm.tui.told.questions import Message

HELLO = (Message("user", "Hello"),)
HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\ndata: {}\n\n"


async def heard(url, model="tiny", **options):
    async with AsyncClient(url, lambda: "secret") as client:
        return [piece async for piece in client.chat(model, HELLO, **options)]


def test_an_answer_comes_whole_with_its_reason_and_its_timings(tmp_path):
    access = Access.of(keys=["secret"])
    for bind in (None, Bind(unix_path=tmp_path / "s")):
        with live_server(served(engine=FakeEngine()), bind=bind, access=access) as live:
            pieces = asyncio.run(heard(live.url))
        assert "".join(piece.text for piece in pieces) == "Hello there"
        assert [piece.reason for piece in pieces if piece.reason] == ["stop"]
        assert [piece.timings.predicted_n for piece in pieces if piece.timings] == [2]


def test_one_that_is_given_up_while_the_model_thinks_is_cancelled_there():
    engine = FakeEngine(scripts=[[HANG]])

    async def given_up(url):
        asking = asyncio.create_task(heard(url))
        assert await asyncio.to_thread(engine.begun.wait, 20)
        asking.cancel()
        await asyncio.wait({asking})

    with live_server(served(engine=engine)) as live:
        asyncio.run(given_up(live.url))
        assert engine.cancelled.wait(20)


def test_what_fails_is_the_error_that_it_was_there():
    engine = FakeEngine(scripts=[[TextDelta("Hel"), Failed("the process ended", 502)]])
    with live_server(served(engine=engine)) as live:
        with pytest.raises(WorkerDied, match="the process ended"):
            asyncio.run(heard(live.url))
        with pytest.raises(ModelNotFound, match="nope"):
            asyncio.run(heard(live.url, "nope"))
    with pytest.raises(NotServing, match="no server at"):
        asyncio.run(heard(live.url))


def test_an_answer_that_ends_without_a_word_was_cut_off():
    with http_server(HALF) as url, pytest.raises(WorkerDied, match="whole"):
        asyncio.run(heard(url))


async def half_refused(reader, writer):
    """A refusal's beginning, and then nothing until the client hangs up."""
    with contextlib.closing(writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\n{")
        await reader.read()


async def heard_of_half():
    server = await asyncio.start_server(half_refused, "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with AsyncClient(url, lambda: None, patience_s=0.1) as client:
            return [piece async for piece in client.chat("tiny", HELLO)]


def test_a_refusal_that_does_not_end_is_given_up_in_time_and_before_it_is_too_much():
    with pytest.raises(NotServing, match="does not answer"):
        asyncio.run(heard_of_half())
    with http_server(without_end(b"500 No")) as url, pytest.raises(WorkerDied, match="whole"):
        asyncio.run(heard(url))
