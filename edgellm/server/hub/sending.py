"""A file's bytes on their way to a client.

The event loop never waits for the disk: a thread reads a piece while the one before it is on its
way. So each client has two pieces in memory and what the kernel takes of a third, however large
its file is. A piece that the client takes too slowly is the door's affair (connections.py).
"""

import asyncio
import os
from dataclasses import dataclass
from typing import Final

from starlette.types import Receive, Send

from edgellm.errors import StorageError
from edgellm.server.hub.ranges import Span
from edgellm.server.sse import until_gone
from edgellm.units import KIB

_PIECE_BYTES: Final = 512 * KIB
_LEAST_PIECE_BYTES: Final = 4 * KIB
_PIECES_A_SECOND: Final = 32  # of all clients: none of a hundred waits for longer than some seconds


@dataclass(slots=True)
class RateLimit:
    """How fast all clients together are served; None: as fast as they take it."""

    bytes_per_s: float | None = None
    _free_at_s: float = 0.0

    @property
    def piece_bytes(self) -> int:
        """Sent at once: less where little goes out, or those who wait would take us for dead."""
        if not self.bytes_per_s:
            return _PIECE_BYTES
        share = int(self.bytes_per_s / _PIECES_A_SECOND)
        return max(_LEAST_PIECE_BYTES, min(_PIECE_BYTES, share))

    async def passing(self, n_bytes: int) -> None:
        """Returns when so much may go out."""
        await asyncio.sleep(self.delay_s(n_bytes, asyncio.get_running_loop().time()))

    def delay_s(self, n_bytes: int, now_s: float) -> float:
        """Before so much may go out, behind all that was asked for before."""
        if not self.bytes_per_s:
            return 0.0
        begins_s = max(now_s, self._free_at_s)
        self._free_at_s = begins_s + n_bytes / self.bytes_per_s
        return begins_s - now_s


@dataclass(slots=True)
class Sending:
    """One answer's body. `sent_bytes` are told while it runs, too."""

    handle: int
    span: Span
    limit: RateLimit
    sent_bytes: int = 0

    async def run(self, receive: Receive, send: Send) -> None:
        """Returns early where the client has gone. Raises StorageError where the file has."""
        gone = asyncio.create_task(until_gone(receive))
        reading = self._read_ahead(self.span.start)
        try:
            while self.sent_bytes < self.span.n_bytes:
                piece = await reading
                if not piece:
                    raise StorageError("the file has become shorter while it was sent")
                end = self.span.start + self.sent_bytes + len(piece)
                reading = self._read_ahead(end)
                await self.limit.passing(len(piece))
                if gone.done():
                    return
                more = end < self.span.end
                await send({"type": "http.response.body", "body": piece, "more_body": more})
                self.sent_bytes += len(piece)
        finally:
            gone.cancel()
            await _ended(reading)  # before the handle is closed, and may be another file's

    def _read_ahead(self, at: int) -> "asyncio.Future[bytes]":
        n_bytes = min(self.limit.piece_bytes, self.span.end - at)
        if n_bytes <= 0:
            nothing: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            nothing.set_result(b"")
            return nothing
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(None, os.pread, self.handle, n_bytes, at)


async def _ended(reading: "asyncio.Future[bytes]") -> None:
    """Whatever became of it. A cancelled wait would leave the thread reading."""
    while not reading.done():
        try:
            await asyncio.wait((reading,))
        except asyncio.CancelledError:
            continue
    reading.exception()
