"""An answer's frames to a socket: streamed as they come, or joined into one body at the end.

Either way the client is watched: when it leaves, the frames are closed, which cancels the request
in the worker. And either way no status is sent before the first frame, so that an early failure has
a status of its own. A stream waits for that frame `PATIENCE_S` at most; then it sends its 200, and
keep-alives whenever nothing was sent for a while, or clients and proxies would give up. A later
failure is an `error` event with no "[DONE]" behind it: the openai package raises on the one, and
takes the other for success. The dialect says how all this is written (manners.py).
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeAlias

from starlette.types import Receive, Scope, Send

from edgellm.errors import NotServing
from edgellm.server.envelope import whole_headers
from edgellm.server.manners import error_of, manner_of

Frames: TypeAlias = AsyncGenerator[bytes, None]

PATIENCE_S = 10.0  # how long a failure can still have a status of its own
PING_S = 15.0

_STREAM_HEADERS = [
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the tokens back
]


class StreamedAnswer:
    """An ASGI response. `frames` are whole events, or lines; each is one write."""

    def __init__(
        self,
        frames: Frames,
        *,
        broken: Callable[[Exception], bytes] | None = None,
        waiting: Callable[[], bytes] | None = None,
        is_told_inside: Callable[[Exception], bool] = lambda error: False,
        patience_s: float = PATIENCE_S,
        ping_s: float = PING_S,
    ) -> None:
        """`broken` writes the end of a failed stream, and `waiting` a keep-alive, where these are
        not simply the dialect's. `is_told_inside`: whether clients expect this error as an event of
        the stream, even where a status could still tell it."""
        self._frames, self._broken, self._waiting = frames, broken, waiting
        self._is_told_inside = is_told_inside
        self._patience_s, self._ping_s = patience_s, ping_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        out = _Out(scope, send)
        words = self._waiting or (lambda: manner_of(scope).waiting)
        pinging = out.say_in_pauses(words, self._patience_s, self._ping_s)
        await unless_gone(receive, self._pump(out, scope), pinging)

    async def _pump(self, out: "_Out", scope: Scope) -> None:
        async with aclosing(self._frames) as frames:
            try:
                async for data in frames:
                    await out.write(data)
                await out.end()
            except asyncio.CancelledError:
                if out.is_begun:  # to a client that has left, a write is nothing
                    await self._fail(out, scope, NotServing("the server is stopping"))
                raise
            except Exception as error:
                if out.is_begun or self._is_told_inside(error):
                    await self._fail(out, scope, error)
                raise  # the guard counts and logs it

    async def _fail(self, out: "_Out", scope: Scope, error: Exception) -> None:
        framed = manner_of(scope).framed_error
        await out.end(self._broken(error) if self._broken else framed(error_of(scope, error)))


class _Out:
    """The connection, and since when nothing was sent on it. Keep-alives are a task of their own,
    one a stream: so a token costs a look at the clock, and no timer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self.is_begun = False
        self._quiet_since_s = time.monotonic()  # infinite while something is being written
        self._saying = asyncio.Lock()  # held while a keep-alive is sent

    async def write(self, data: bytes, *, more: bool = True) -> None:
        self._quiet_since_s = math.inf
        if self._saying.locked():
            async with self._saying:  # the keep-alive goes first: it may have a number
                pass
        if not self.is_begun:
            await self._begin()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self._quiet_since_s = time.monotonic()

    async def end(self, last_words: bytes = b"") -> None:
        if last_words:
            await self.write(last_words)
        await self.write(b"", more=False)

    async def say_in_pauses(
        self, words: Callable[[], bytes], patience_s: float, ping_s: float
    ) -> None:
        """Sends keep-alives until it is cancelled: the first after a pause of `patience_s`."""
        pause_s = patience_s
        while True:
            left_s = self._quiet_since_s + pause_s - time.monotonic()
            if left_s > 0:
                await asyncio.sleep(min(left_s, pause_s))
                continue
            async with self._saying:
                await self._say(words)
            pause_s = ping_s

    async def _say(self, words: Callable[[], bytes]) -> None:
        said = words()  # before all else: a frame that comes meanwhile has the next number
        if not self.is_begun:
            await self._begin()
        if said:
            await _write(self._send, said)
        self._quiet_since_s = max(self._quiet_since_s, time.monotonic())  # a frame may be coming

    async def _begin(self) -> None:
        self.is_begun = True
        headers = [(b"content-type", manner_of(self._scope).stream_type), *_STREAM_HEADERS]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})


class WholeAnswer:
    """An ASGI response: the same frames, as one body, mostly JSON."""

    def __init__(self, frames: Frames, kind: bytes = b"application/json") -> None:
        self._frames, self._kind = frames, kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await unless_gone(receive, self._answer(send))

    async def _answer(self, send: Send) -> None:
        async with aclosing(self._frames) as frames:
            body = b"".join([data async for data in frames])
        headers = whole_headers(body, self._kind)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _write(send, body, more=False)


async def unless_gone(
    receive: Receive, work: Coroutine[Any, Any, None], *beside: Coroutine[Any, Any, None]
) -> None:
    """Do `work`; when the client leaves first, or what runs `beside` it ends, cancel it, and return
    when it has wound up."""
    working = asyncio.ensure_future(work)
    others = [asyncio.ensure_future(one) for one in (until_gone(receive), *beside)]
    try:
        await asyncio.wait({working, *others}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, *others):
            task.cancel()
        await asyncio.wait({working, *others})
    for task in (working, *others):
        if not task.cancelled():
            task.result()  # what it raised is raised here, not lost


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})
