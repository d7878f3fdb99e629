"""Frames on their way down to a worker: written at once while one is ready, held while none is.

Writing never blocks: a worker that doesn't read is busy computing. What it has not read yet lies in
the gateway's memory, so whoever sends asks first how much that is (`n_bytes`).
"""

from asyncio import StreamWriter


class Outbox:
    """`in` it are the ids of requests that no worker has been told of yet."""

    def __init__(self) -> None:
        self._pipe: StreamWriter | None = None  # to the worker that was started last
        self._held: dict[int, bytes] = {}  # by request_id
        self.is_open = False  # that worker is ready, and hasn't gone as far as is known

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._held

    @property
    def n_bytes(self) -> int:
        """Held here, or written and not read yet: a worker that hangs reads nothing."""
        n_unread = self._pipe.transport.get_write_buffer_size() if self._pipe else 0
        return sum(map(len, self._held.values())) + n_unread

    def begin(self, pipe: StreamWriter | None) -> None:
        """Another worker has been started."""
        self._pipe = pipe

    def open(self) -> None:
        """It is ready: it gets all that was held."""
        self.is_open = True
        for frame in self._held.values():
            self.write(frame)
        self._held.clear()

    def close(self) -> None:
        """It is gone: from here on requests are held for the next one."""
        self.is_open = False

    def send(self, request_id: int, frame: bytes) -> None:
        if self.is_open:
            self.write(frame)
        else:
            self._held[request_id] = frame

    def write(self, frame: bytes) -> None:
        """Though the worker may not be ready; nothing, if its pipe is closed."""
        if self._pipe and not self._pipe.is_closing():
            self._pipe.write(frame)

    def take_back(self, request_id: int) -> bool:
        """Whether it could be: no worker has been told of this request."""
        return self._held.pop(request_id, None) is not None

    def clear(self) -> None:
        self._held.clear()
