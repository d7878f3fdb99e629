"""The worker's frames, delivered in the very turn of the event loop that reads them.

With a StreamReader each would take two more turns: a subprocess's transport passes its bytes on by
call_soon, and then the reader's task has to wake up. While llama.cpp keeps the caches to itself, a
turn takes tens of microseconds of the core that it computes on.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from edgellm.runner.frames import FrameReader

T = TypeVar("T")


class Receiver(asyncio.Protocol, Generic[T]):
    """`take` gets every message. `ended` is done at the end of the pipe, and fails with what
    `take` raised or with EdgellmError for what is no frame; after either nothing more is read.

    Made where an event loop runs.
    """

    def __init__(self, message: object, take: Callable[[T], None]) -> None:
        self._reader: FrameReader[T] = FrameReader(message)
        self._take = take
        self.n_bytes = 0  # that came
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.n_bytes += len(data)
        try:
            for message in self._reader.feed(data):
                self._take(message)
        except Exception as error:  # noqa: BLE001 - a callback has no caller: `ended` is asked
            self._end(error)
            self._transport.close()

    def close(self) -> None:
        """Take nothing more, though the other side may still be there."""
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)
