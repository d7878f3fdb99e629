"""Frames to a socket: as server-sent events while they come, or joined when the last is there.

Both watch for the client to leave, and then close the frames, which cancels the request in the
worker. Both wait for the first frame before they send a status, so that what fails at once fails
with its own status; a prompt that takes long gets its 200 early and a comment line now and then,
or clients and proxies lose patience. A failure later is an `error` event, and then no "[DONE]":
the openai package raises on the one, and takes the other for success. How a stream, its waiting and
its failure are written is the dialect's manner.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeAlias

from starlette.types import Receive, Scope, Send

from edgellm.errors import NotServing
from edgellm.server.envelope import json_headers
from edgellm.server.manners import error_of, manner_of

Frames: TypeAlias = AsyncGenerator[bytes, None]

PATIENCE_S = 10.0  # how long a failure can still have a status of its own
PING_S = 15.0

_STREAM_HEADERS = [
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the tokens back
]


class EventStream:
    """An ASGI response. `frames` are whole events, or lines; each is one write."""

    def __init__(
        self,
        frames: Frames,
        *,
        broken: Callable[[Exception], bytes] | None = None,
        patience_s: float = PATIENCE_S,
        ping_s: float = PING_S,
    ) -> None:
        """`broken`: the last words of a stream that fails, where they are more than the error."""
        self._frames, self._broken = frames, broken
        self._patience_s, self._ping_s = patience_s, ping_s
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await unless_gone(receive, self._pump(scope, send))

    async def _pump(self, scope: Scope, send: Send) -> None:
        async with aclosing(self._frames) as frames:
            try:
                first = await self._first(frames, scope, send)
                await self._start(scope, send)
                await _write(send, first)
                async for data in frames:
                    await _write(send, data)
                await _write(send, b"", more=False)
            except asyncio.CancelledError:
                if self._started:  # to a client that has left, a write is nothing
                    await self._fail(scope, send, NotServing("the server is stopping"))
                raise
            except Exception as error:
                if self._started:
                    await self._fail(scope, send, error)
                raise  # who counts and logs what breaks is above

    async def _first(self, frames: Frames, scope: Scope, send: Send) -> bytes:
        first = asyncio.ensure_future(anext(frames, b""))
        try:
            done, _ = await asyncio.wait({first}, timeout=self._patience_s)
            while not done:
                await self._start(scope, send)
                await _write(send, manner_of(scope).waiting)
                done, _ = await asyncio.wait({first}, timeout=self._ping_s)
            return first.result()
        finally:
            if not first.done():
                first.cancel()
                await asyncio.wait({first})

    async def _start(self, scope: Scope, send: Send) -> None:
        if not self._started:
            self._started = True
            headers = [(b"content-type", manner_of(scope).stream_type), *_STREAM_HEADERS]
            await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _fail(self, scope: Scope, send: Send, error: Exception) -> None:
        manner = manner_of(scope)
        told = self._broken(error) if self._broken else manner.framed_error(error_of(scope, error))
        await _write(send, told)
        await _write(send, b"", more=False)


class WholeAnswer:
    """An ASGI response: the same frames, as one JSON body."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await unless_gone(receive, self._answer(send))

    async def _answer(self, send: Send) -> None:
        async with aclosing(self._frames) as frames:
            body = b"".join([data async for data in frames])
        start = {"type": "http.response.start", "status": 200, "headers": json_headers(body)}
        await send(start)
        await _write(send, body, more=False)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`; when the client leaves first, cancel it, and return when it has wound up."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.wait({working, gone})
    if not working.cancelled():
        working.result()  # what `work` raised is raised here, not lost


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})
