import asyncio
import itertools
import json

import clockwork
import pytest

from edgellm.errors import BadRequest, WorkerDied
from edgellm.server import manners, sse
from edgellm.server.anthropic.errors import MANNER as ANTHROPIC
from edgellm.server.sse import StreamedAnswer, WholeAnswer


class Socket:
    """What uvicorn gives: a receive that blocks until the client leaves, a send that notes."""

    def __init__(self):
        self.sent = []
        self.left = asyncio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    @property
    def bodies(self):
        return [m["body"] for m in self.sent if m["type"] == "http.response.body"]


async def never():
    await asyncio.Event().wait()


class Frames:
    """An async generator that notes how it was closed."""

    def __init__(self, *steps):
        self.steps, self.closed = steps, False

    async def run(self):
        try:
            for step in self.steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, bytes):
                    yield step
                else:
                    await step()
        finally:
            self.closed = True


def run(scenario):
    return clockwork.run(asyncio.wait_for(scenario, 5), sse)


def test_a_whole_stream_is_one_write_an_event_and_an_empty_last_body():
    async def scenario():
        socket = Socket()
        await StreamedAnswer(Frames(b"one", b"two").run())({}, socket.receive, socket.send)
        return socket

    socket = run(scenario())
    assert socket.sent[0]["status"] == 200
    assert socket.bodies == [b"one", b"two", b""]
    assert [m["more_body"] for m in socket.sent[1:]] == [True, True, False]


@pytest.mark.parametrize("response", [StreamedAnswer, WholeAnswer])
@pytest.mark.parametrize("steps", [(never,), (b"one", never)])
def test_a_client_that_leaves_closes_the_frames(response, steps):
    async def scenario():
        socket, frames = Socket(), Frames(*steps)
        asyncio.get_running_loop().call_later(0.01, socket.left.set)
        await response(frames.run())({}, socket.receive, socket.send)
        return frames

    assert run(scenario()).closed


@pytest.mark.parametrize("response", [StreamedAnswer, WholeAnswer])
def test_a_failure_before_the_first_frame_sends_nothing(response):
    async def scenario():
        socket = Socket()
        with pytest.raises(BadRequest):
            await response(Frames(BadRequest("no")).run())({}, socket.receive, socket.send)
        return socket

    assert run(scenario()).sent == []


def test_a_failure_midway_is_an_error_event_and_no_done():
    async def scenario():
        socket = Socket()
        frames = Frames(b"one", WorkerDied("signal 9"))
        with pytest.raises(WorkerDied):  # for who counts it
            await StreamedAnswer(frames.run())({}, socket.receive, socket.send)
        return socket

    _, error, last = run(scenario()).bodies
    assert error.startswith(b'data: {"error":{"message":"signal 9"')
    assert last == b""


def test_a_bug_midway_tells_the_client_nothing():
    async def scenario():
        socket = Socket()
        frames = Frames(b"one", KeyError("secret"))
        with pytest.raises(KeyError):
            await StreamedAnswer(frames.run())({}, socket.receive, socket.send)
        return socket

    assert b"secret" not in b"".join(run(scenario()).bodies)


def test_a_long_prompt_gets_its_status_early_and_comments_while_it_waits():
    async def scenario():
        socket = Socket()
        frames = Frames(lambda: asyncio.sleep(0.1), b"one")
        stream = StreamedAnswer(frames.run(), patience_s=0.01, ping_s=0.02)
        await stream({}, socket.receive, socket.send)
        return socket

    *pings, one, last = run(scenario()).bodies
    assert len(pings) >= 2
    assert set(pings) == {b": waiting\n\n"}
    assert (one, last) == (b"one", b"")


def test_a_failure_after_the_early_status_is_an_event():
    async def scenario():
        socket = Socket()
        frames = Frames(lambda: asyncio.sleep(0.05), WorkerDied("signal 9"))
        with pytest.raises(WorkerDied):
            await StreamedAnswer(frames.run(), patience_s=0.01)({}, socket.receive, socket.send)
        return socket

    assert b"signal 9" in run(scenario()).bodies[-2]


@pytest.mark.parametrize("steps", [(never,), (b"one", never)])
def test_a_cancelled_stream_closes_its_frames_and_says_why(steps):
    async def scenario():
        socket, frames = Socket(), Frames(*steps)
        task = asyncio.ensure_future(
            StreamedAnswer(frames.run(), patience_s=0.01)({}, socket.receive, socket.send)
        )
        await asyncio.sleep(0.03)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return socket, frames

    socket, frames = run(scenario())
    assert frames.closed
    assert b"the server is stopping" in socket.bodies[-2]
    assert socket.sent[-1]["more_body"] is False


LINES = manners.Manner(
    lambda error, request_id: json.dumps({"error": str(error), "id": request_id}).encode(),
    framed_error=lambda data: data + b"\n",
    stream_type=b"application/x-ndjson",
    waiting=b"",
)


@pytest.mark.parametrize(
    ("manner", "kind", "waiting", "failure"),
    [
        (
            manners.USUAL,
            b"text/event-stream; charset=utf-8",
            b": waiting\n\n",
            b'data: {"error":{"message":"gone","type":"server_error","param":null,'
            b'"code":"worker_died"}}\n\n',
        ),
        (
            ANTHROPIC,
            b"text/event-stream; charset=utf-8",
            b'event: ping\ndata: {"type":"ping"}\n\n',
            b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"gone",'
            b'"details":{"error_code":"worker_died"}},"request_id":"req_1"}\n\n',
        ),
        (LINES, b"application/x-ndjson", b"", b'{"error": "gone", "id": "req_1"}\n'),
    ],
)
def test_a_stream_waits_and_fails_in_its_dialects_manner(manner, kind, waiting, failure):
    async def scenario():
        socket, scope = Socket(), {}
        manners.lay(scope, manner, "req_1")

        async def slow():
            await asyncio.sleep(0.05)

        frames = Frames(slow, b"one", WorkerDied("gone"))
        stream = StreamedAnswer(frames.run(), patience_s=0.01, ping_s=10)
        with pytest.raises(WorkerDied):
            await stream(scope, socket.receive, socket.send)
        return socket

    socket = run(scenario())
    assert dict(socket.sent[0]["headers"])[b"content-type"] == kind
    assert socket.bodies == [*filter(None, [waiting]), b"one", failure, b""]


def steps(*parts):
    """Frames, and pauses of so many seconds between them."""
    return Frames(*(part if isinstance(part, bytes) else lambda s=part: asyncio.sleep(s)
                    for part in parts))  # fmt: skip


def streamed(frames, socket=None, **how):
    socket = socket or Socket()
    how = {"patience_s": 0.04, "ping_s": 0.04} | how

    async def scenario():
        await StreamedAnswer(frames.run(), **how)({}, socket.receive, socket.send)
        return socket

    return run(scenario())


def test_a_pause_between_two_frames_is_waited_for_aloud_as_one_before_the_first_is():
    *bodies, last = streamed(steps(b"one", 0.3, b"two")).bodies
    assert (bodies[0], bodies[-1], last) == (b"one", b"two", b"")
    assert len(bodies[1:-1]) >= 2
    assert {*bodies[1:-1]} == {b": waiting\n\n"}


def test_a_stream_that_goes_on_needs_no_words():
    pieces = [part for _ in range(12) for part in (b"a", 0.02)]
    assert streamed(steps(*pieces), ping_s=0.2, patience_s=0.2).bodies == [b"a"] * 12 + [b""]


def test_words_that_have_numbers_come_in_their_order_however_slowly_they_are_read():
    numbers = itertools.count()

    async def numbered():
        for pause_s in (0.06, 0.06, 0.0):
            await asyncio.sleep(pause_s)
            yield b"frame %d" % next(numbers)

    class SlowSocket(Socket):
        async def send(self, message):
            await asyncio.sleep(0.03)
            await super().send(message)

    async def scenario():
        socket = SlowSocket()
        stream = StreamedAnswer(
            numbered(), waiting=lambda: b"word %d" % next(numbers), patience_s=0.03, ping_s=0.02
        )
        await stream({}, socket.receive, socket.send)
        return socket

    *told, last = run(scenario()).bodies
    assert [int(one.split()[1]) for one in told] == [*range(next(numbers))]
    assert {one.split()[0] for one in told} == {b"frame", b"word"}
    assert last == b""


def test_a_client_that_takes_no_more_words_ends_its_answer():
    class Stalled(Socket):
        async def send(self, message):
            if message.get("body", b"").startswith(b":"):
                raise TimeoutError("nothing was read")
            await super().send(message)

    frames = Frames(b"one", never)
    with pytest.raises(TimeoutError):
        streamed(frames, Stalled())
    assert frames.closed
