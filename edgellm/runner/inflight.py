"""Requests that the worker owes an answer: the gateway's half of the pipe.

The worker doesn't wait for readers, who would keep everybody's model waiting. What slow readers
have not taken yet lies here, and all of it together has a bound. Beyond that, the answer with the
most unread bytes is given up.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Container, Iterable
from typing import TypeAlias

from edgellm import errors
from edgellm.chat.events import ENDINGS, Event, Failed, Finished, Note, PromptRead, TextDelta
from edgellm.chat.messages import Claim
from edgellm.errors import ContextTooLong, DeadlinePassed, EdgellmError, NotServing
from edgellm.runner.messages import (
    Delta,
    Done,
    Embedded,
    FromWorker,
    Noted,
    Obeyed,
    Rejected,
    Scored,
    Steps,
    Tokenized,
)
from edgellm.units import MIB, format_bytes

_MOST_UNREAD_BYTES = 64 * MIB  # a text of 400,000 tokens; with 20 logprobs each, one of 19,000
_GRACE_S = 5.0  # for a worker that has the request: it ends overdue ones between two steps
# What Python takes for each, by tracemalloc; a delta's text comes on top.
_EVENT_BYTES, _NOTE_BYTES, _LOGPROB_BYTES, _RIVAL_BYTES = 140, 400, 250, 160

_MOST_LEFT = 1024  # streams without a reader: if the worker dies it will end none of them

Reply: TypeAlias = Embedded | Scored | Tokenized | Obeyed | Steps


class Inflight:
    """Every request gets exactly one ending, however the worker ends."""

    def __init__(
        self,
        most_unread_bytes: int = _MOST_UNREAD_BYTES,
        *,
        on_left: Callable[[str, Finished], None] = lambda key, finished: None,
    ) -> None:
        """`on_left`: see engine.Engine."""
        self._most_unread_bytes, self.unread_bytes = most_unread_bytes, 0
        self._streams: dict[int, EventStream] = {}
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._keys: dict[int, str] = {}  # of the streams
        self._left: dict[int, str] = {}  # keys of streams whose reader has left
        self._on_left = on_left
        self._owed: set[int] = set()  # streams that the worker has not ended yet
        self._deadlines: dict[int, asyncio.TimerHandle] = {}  # of these

    def __len__(self) -> int:
        """What the worker still owes: an answer that only waits to be read doesn't count."""
        return len(self._owed) + len(self._replies)

    def open(
        self,
        request_id: int,
        abandon: Callable[[int], None],
        claim: Claim | None = None,
        held: Container[int] = (),
    ) -> "EventStream":
        """`abandon` is called when its reader leaves early. `held`: requests that no worker has got
        yet: so no worker can end them when their deadline passes."""
        claim = claim or Claim()
        if claim.deadline_s is not None:
            now_s = time.monotonic()
            self._deadlines[request_id] = asyncio.get_running_loop().call_later(
                claim.deadline_s - now_s, self._overdue, request_id, now_s, held
            )
        stream = self._streams[request_id] = EventStream(request_id, self, abandon)
        self._owed.add(request_id)
        self._keys[request_id] = claim.key
        return stream

    def n_of(self, key: str) -> int:
        """Streams of this key that the worker has not ended yet."""
        return sum(1 for request_id in self._owed if self._keys.get(request_id) == key)

    def close(self, request_id: int) -> None:
        if stream := self._streams.pop(request_id, None):
            self.unread_bytes -= stream.unread_bytes
        self._keys.pop(request_id, None)
        self._owes_no_more(request_id)

    def leaves(self, request_id: int, unread: Iterable[Event]) -> None:
        """Its reader has left. The end that the worker told, or will tell, is for `on_left`."""
        key = self._keys[request_id]
        for event in unread:
            if isinstance(event, Finished):
                self._on_left(key, event)
        if request_id in self._owed:
            self._left[request_id] = key
            while len(self._left) > _MOST_LEFT:
                del self._left[next(iter(self._left))]

    def check_unread(self) -> None:
        if self.unread_bytes > self._most_unread_bytes:
            self._give_up(max(self._streams.values(), key=lambda stream: stream.unread_bytes))

    def _give_up(self, stream: "EventStream") -> None:
        unread, most = format_bytes(stream.unread_bytes), format_bytes(self._most_unread_bytes)
        words = (
            f"{unread} of this answer are not read yet, and all answers together may have {most}"
        )
        stream.give_up(Failed(words, NotServing.http_status))
        if stream.request_id in self._owed:
            self._owes_no_more(stream.request_id)
            stream.abandon(stream.request_id)

    def _overdue(self, request_id: int, asked_s: float, held: Container[int]) -> None:
        if request_id in held:
            self._too_late(request_id, asked_s)
        else:
            self._deadlines[request_id] = asyncio.get_running_loop().call_later(
                _GRACE_S, self._too_late, request_id, asked_s
            )

    def _too_late(self, request_id: int, asked_s: float) -> None:
        """Whoever was told nothing so far shall not wait any longer for a worker that loads, hangs
        or computes a long step. An answer that has begun is the worker's to end."""
        stream = self._streams.get(request_id)
        if stream is None or stream.has_begun:
            return
        error = DeadlinePassed(
            "the deadline passed before the model's process had an answer, "
            f"{time.monotonic() - asked_s:.1f} s after the request came"
        )
        self.fail({request_id}, error)
        stream.abandon(request_id)

    def _owes_no_more(self, request_id: int) -> None:
        self._owed.discard(request_id)
        if timer := self._deadlines.pop(request_id, None):
            timer.cancel()

    def expect(self, request_id: int) -> "asyncio.Future[Reply]":
        """A question with one answer."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[request_id] = future
        future.add_done_callback(lambda _: self._replies.pop(request_id, None))
        return future

    def deliver(self, message: FromWorker) -> None:
        """Drops what nobody waits for any more: the client left first."""
        match message:
            case Delta(request_id, text, n_tokens, logprobs):
                if stream := self._streams.get(request_id):
                    stream.put(TextDelta(text, n_tokens, logprobs))
            case Noted(request_id, note):
                if stream := self._streams.get(request_id):
                    stream.put(note)
            case Done(request_id) if request_id in self._left:
                self._on_left(self._left.pop(request_id), _finished(message))
            case Done(request_id):
                self._end(request_id, _finished(message))
            case Rejected():
                self._fail(message, rejection(message))
            case (
                Embedded(request_id)
                | Scored(request_id)
                | Tokenized(request_id)
                | Obeyed(request_id)
                | Steps(request_id)
            ):
                future = self._replies.get(request_id)
                if future and not future.done():
                    future.set_result(message)
            case _:
                pass  # Loading, Ready, LoadFailed, Gauge: the supervisor's own

    def fail(self, request_ids: set[int], error: EdgellmError) -> None:
        """End these requests, streams and questions alike."""
        kind = type(error).__name__
        for request_id in request_ids:
            self._fail(
                Rejected(request_id, str(error), error.http_status, error.param, kind), error
            )

    @property
    def request_ids(self) -> set[int]:
        return {*self._owed, *self._replies}

    def _end(self, request_id: int, event: Finished | Failed) -> None:
        if request_id in self._owed:  # else it has had its end
            self._owes_no_more(request_id)
            if stream := self._streams.get(request_id):
                stream.put(event)

    def _fail(self, message: Rejected, error: EdgellmError) -> None:
        failed = Failed(
            message.message, message.http_status, message.param, message.kind, message.sizes
        )
        self._end(message.request_id, failed)
        future = self._replies.get(message.request_id)
        if future and not future.done():
            future.set_exception(error)


class EventStream(AsyncIterator[Event]):
    """One answer, for its one reader. A slow reader loses nothing: deltas pile up here, and come
    out as they are. `aclose` before the end cancels the request, even if nothing was read yet."""

    def __init__(self, request_id: int, inflight: Inflight, abandon: Callable[[int], None]) -> None:
        self.request_id, self.abandon, self._inflight = request_id, abandon, inflight
        self.unread_bytes = 0
        self.has_begun = False
        self.on_end: Callable[[Event | None], None] | None = None  # None: nobody waited for it
        self._events: deque[Event] = deque()
        self._news: asyncio.Future[None] | None = None  # the reader waits for it
        self._ended = self._is_given_up = False

    def put(self, event: Event) -> None:
        if self._is_given_up:
            return
        self._events.append(event)
        self.has_begun = self.has_begun or not isinstance(event, PromptRead)
        n_bytes = _size_bytes(event)
        self.unread_bytes += n_bytes
        self._inflight.unread_bytes += n_bytes
        self._inflight.check_unread()
        if self._news and not self._news.done():
            self._news.set_result(None)

    def give_up(self, failed: Failed) -> None:
        """Whoever reads on gets this, and nothing else."""
        self._events.clear()
        self._inflight.unread_bytes -= self.unread_bytes
        self.unread_bytes = 0
        self.put(failed)
        self._is_given_up = True

    async def __anext__(self) -> Event:
        if self._ended:
            raise StopAsyncIteration
        while not self._events:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        event = self._events.popleft()
        n_bytes = _size_bytes(event)
        self.unread_bytes -= n_bytes
        self._inflight.unread_bytes -= n_bytes
        if isinstance(event, ENDINGS):
            self._end(event)
        return event

    async def aclose(self) -> None:
        if not self._ended:
            self._inflight.leaves(self.request_id, self._events)
            self._end(None)
            self.abandon(self.request_id)

    def _end(self, ending: Event | None) -> None:
        self._ended = True
        self._inflight.close(self.request_id)
        if self.on_end:
            self.on_end(ending)


def _size_bytes(event: Event) -> int:
    """The memory it takes, roughly."""
    if not isinstance(event, TextDelta):
        return _NOTE_BYTES if isinstance(event, Note) else _EVENT_BYTES
    n_bytes = _EVENT_BYTES + len(event.text)
    if event.logprobs:
        n_bytes += sum(_LOGPROB_BYTES + _RIVAL_BYTES * len(each.top) for each in event.logprobs)
    return n_bytes


def _finished(done: Done) -> Finished:
    return Finished(
        done.reason,
        done.n_prompt,
        done.n_cached,
        done.n_output,
        done.timings,
        request_id=done.request_id,
        step_share=done.step_share,
        step_share_s=done.step_share_s,
        n_computed=done.n_computed,
        n_drafted=done.n_drafted,
        n_draft_accepted=done.n_draft_accepted,
        stop_word=done.stop_word,
    )


def rejection(message: Rejected) -> EdgellmError:
    """The error that the worker raised, rebuilt on this side of the pipe."""
    kind = getattr(errors, message.kind, EdgellmError)
    rebuilt: EdgellmError = kind(message.message, param=message.param)
    if isinstance(rebuilt, ContextTooLong):
        rebuilt.sizes = message.sizes
    return rebuilt
