"""Responses that go on without their client (`background: true`).

Each is a task of its own until it ends, somebody cancels it, or the server stops; then it is kept
as every other response is. Its request's memory stays counted till then, and what is streamed of it
with it: whoever reads that may leave, and read on from any frame.
"""

import asyncio
import logging
from contextlib import aclosing

from edgellm.errors import EdgellmError, Overloaded
from edgellm.server.answers import Answers
from edgellm.server.door.bodies import Hold
from edgellm.server.envelope import Refused
from edgellm.server.openai.wire import encode
from edgellm.server.responses.answers import ResponseFold, ResponseStream, frames_apart
from edgellm.server.responses.store import Kept, Store
from edgellm.server.sse import Frames
from edgellm.status import ResponsesStatus

MOST = 64  # at once; a key may have its share of them

_log = logging.getLogger("edgellm.server")


class Running:
    """One that has not ended yet."""

    def __init__(
        self, answer: ResponseFold, owner: str, given: tuple[bytes, ...], hold: Hold
    ) -> None:
        self.answer, self.owner, self._given, self._hold = answer, owner, given, hold
        self._frames: list[bytes] = []
        self._news = asyncio.Event()
        self.say(answer.queue())

    def say(self, data: bytes) -> None:
        if isinstance(self.answer, ResponseStream):
            self._frames += frames_apart(data)
        self._news.set()
        self._news = asyncio.Event()

    async def write(self, answers: Answers, refused: Refused) -> None:
        """To its end, as long as it isn't cancelled."""
        try:
            async with aclosing(answers):
                async for index, event in answers:
                    data = self.answer.feed(index, event)
                    if not self.answer.has_ended:  # its end is told whatever room there is
                        self._hold.add(len(data))
                    self.say(data)
        except Exception as error:  # noqa: BLE001  # whoever asks for it is told
            refused(error)
            if not isinstance(error, EdgellmError):
                _log.exception("response %s broke", self.answer.response.id)
            self.say(self.answer.broken(error))

    def end(self) -> None:
        self.say(self.answer.leave())
        self._hold.give_back()

    def kept(self) -> Kept:
        response, frames = self.answer.response, tuple(self._frames)
        told = encode(response)
        return Kept(self.owner, response.previous_response_id, self._given, told, True, frames)

    async def follow(self, n_read: int) -> Frames:
        """Its frames from this one on, up to its end."""
        while True:
            news = self._news
            while n_read < len(self._frames):
                n_read += 1
                yield self._frames[n_read - 1]
            if self.answer.has_ended:
                return
            await news.wait()


class Background:
    def __init__(self, store: Store, refused: Refused, most: int = MOST) -> None:
        self._store, self._refused, self._most = store, refused, most
        self._running: dict[str, Running] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def status(self) -> ResponsesStatus:
        store = self._store
        return ResponsesStatus(
            n_kept=store.n_kept,
            kept_bytes=store.n_bytes,
            most_bytes=store.most_bytes,
            n_running=len(self._running),
        )

    def check(self, owner: str, its_ratio: float) -> None:
        """Raises Overloaded: it has as many of them already as its part is."""
        n = sum(one.owner == owner for one in self._running.values())
        if n >= max(1, int(self._most * its_ratio)):
            raise Overloaded(
                f"{n} responses are written in the background, as many as there may be",
                hint="wait until one of them has ended, or cancel it",
            )

    def begin(self, running: Running, answers: Answers) -> None:
        id = running.answer.response.id
        self._running[id] = running
        self._tasks[id] = asyncio.create_task(self._write(id, running, answers))
        self._tasks[id].add_done_callback(lambda _: self._end(id))  # also of one that never began

    def find(self, id: str, owner: str) -> Running | None:
        running = self._running.get(id)
        return running if running and running.owner == owner else None

    async def cancel(self, *ids: str) -> None:
        """Returns when they have ended."""
        tasks = {self._tasks[id] for id in ids if id in self._tasks}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        await self.cancel(*self._tasks)

    async def _write(self, id: str, running: Running, answers: Answers) -> None:
        await running.write(answers, self._refused)
        self._end(id)  # at once: who has read the end may name it

    def _end(self, id: str) -> None:
        if running := self._running.pop(id, None):
            del self._tasks[id]
            running.end()
            self._store.keep(id, running.kept())
