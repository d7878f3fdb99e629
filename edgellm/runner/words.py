"""What a worker prints on its stderr, and which of it explains its death."""

from asyncio import StreamReader
from collections import deque

from edgellm.errors import EdgellmError
from edgellm.runner.child import n_oom_kills, obituary

_LINES = 200
_MAX_LINE = 4096  # characters
_READ_BYTES = 1 << 18


class Words:
    """`log` has the last lines of all workers, for people to read."""

    def __init__(self) -> None:
        self.log: deque[str] = deque(maxlen=_LINES)
        self._own: deque[str] = deque(maxlen=_LINES)  # this worker's, since its start or Ready
        self._n_oom_kills: int | None = None

    def begin(self) -> None:
        """Another process is about to be started."""
        self._own.clear()
        self._n_oom_kills = n_oom_kills()

    def is_ready(self) -> None:
        """What it said while it loaded has nothing to do with a later death."""
        self._own.clear()

    async def read(self, stderr: StreamReader) -> None:
        """Until its end. In pieces, because native code may print a line of any length."""
        rest = ""
        while data := await stderr.read(_READ_BYTES):
            *ended, rest = (rest + data.decode("utf-8", "replace")).split("\n")
            lines = [line.rstrip()[:_MAX_LINE] for line in ended]
            self.log.extend(lines)
            self._own.extend(lines)
            rest = rest[-_MAX_LINE:]

    def obituary(self, code: int, while_loading: bool) -> EdgellmError:
        before, now = self._n_oom_kills, n_oom_kills()
        oom_killed = None if before is None or now is None else now > before
        return obituary(code, while_loading, self._own, oom_killed=oom_killed)
