"""A model that a client asks for, brought to this disk, and served there with the others."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from edgellm.cli.preparing.fetching import fetch_model
from edgellm.cli.serving.upgrade import unattended
from edgellm.config import Config
from edgellm.errors import EdgellmError

_Step: TypeAlias = tuple[int, int]  # bytes that are here, of all
_EVERY_S = 0.2


class Puller:
    """`refresh` has what is new on this disk served."""

    def __init__(self, config: Config, refresh: Callable[[], Awaitable[None]]) -> None:
        self._config, self._refresh = config, refresh

    async def pull(self, name: str) -> AsyncGenerator[_Step, None]:
        """Served when it ends. Closing it stops the download; what came by then stays, to be
        resumed. Raises as fetch_model."""
        steps = _Steps(asyncio.get_running_loop())
        fetch = partial(fetch_model, name, self._config, is_quiet=True, progress=steps.put)
        fetching = asyncio.ensure_future(unattended(fetch))
        fetching.add_done_callback(steps.end)
        try:
            while (step := await steps.queue.get()) is not None:
                yield step
            await fetching
            await self._refresh()
        finally:
            steps.has_left.set()


class _Steps:
    """From the thread that downloads to the event loop; a few a second."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.queue: asyncio.Queue[_Step | None] = asyncio.Queue()
        self.has_left = threading.Event()
        self._loop, self._told_s = loop, 0.0

    def put(self, done_bytes: int, total_bytes: int, rate_bytes_s: float | None) -> None:
        """Raises EdgellmError when nobody waits for it any more."""
        if self.has_left.is_set():
            raise EdgellmError("whoever asked for it has left")
        now_s = time.monotonic()
        if now_s >= self._told_s + _EVERY_S or done_bytes == total_bytes:
            self._told_s = now_s
            self._loop.call_soon_threadsafe(self.queue.put_nowait, (done_bytes, total_bytes))

    def end(self, fetching: "asyncio.Future[Path]") -> None:
        """Whoever has left asks for no error."""
        if not fetching.cancelled():
            fetching.exception()
        self.queue.put_nowait(None)
