"""Who is connected, and what becomes of those that only hold a place.

uvicorn waits for a head as long as it takes, and lets everybody in. Here a connection is *idle*
while no request of it is being answered: it has so long to bring a head whole, and is closed to
make room for a newcomer, the longest idle one first. So those that hold connections open lose
them, and who asks something at once always gets in. Only where all are being answered is a
newcomer refused: far more than the engines' queue takes, which has its own refusal. A body that
comes too slowly is the guard's affair: by then the request has begun.
"""

import asyncio
import logging
import resource
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, cast

import h11
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgellm.server.door.framing import BoundedConnection
from edgellm.server.door.lingering import Lingering
from edgellm.server.door.patience import Patience
from edgellm.server.door.strangers import Telling, problem_of
from edgellm.server.envelope import HTTPProblem, Refused, encode, retry_after_s, whole_headers
from edgellm.units import KIB

_log = logging.getLogger("edgellm.server")
_uvicorns = logging.getLogger("uvicorn.error.connection")
_uvicorns.setLevel(logging.ERROR)  # below it warns of each connection that brings no HTTP
# An answer that breaks off: who has broken it off has said why, where that is anybody's business.
_uvicorns.addFilter(
    lambda record: record.msg != "ASGI callable returned without completing response."
)

_LEAST_CONNECTIONS = 2048
_FOR_ONE_IN_THE_QUEUE = 4  # a client's idle connections, and those that ask for no answer
_MAX_HEAD_BYTES = 32 * KIB
_READ_BYTES = 64 * KIB  # at once, in place of asyncio's 256: then it's somebody else's turn
_REFUSED_AT_ONCE = 64  # are told so; beyond that nobody listens
_OTHER_FILES = _REFUSED_AT_ONCE + 128  # pipes to the workers, sensors, files that are read

_END = h11.EndOfMessage()
_FULL = HTTPProblem(
    503,
    "this server has as many connections as it may have; come back later",
    code="too_many_connections",
)


def most_connections(max_queue: int) -> int:
    """That may be open while so many requests may wait, as far as the system lets us.

    Raises this process's own limit of open files for them, which is 1024 on many systems.
    """
    wanted = max(_LEAST_CONNECTIONS, _FOR_ONE_IN_THE_QUEUE * max_queue)
    return max(1, min(wanted, _open_files(wanted + _OTHER_FILES) - _OTHER_FILES))


def _open_files(wanted: int) -> int:
    """How many this process may have open, `wanted` if the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    except (OSError, ValueError):  # macOS has a lower limit of its own behind an infinite one
        return soft
    return reachable


class Idle(Protocol):
    """A connection of which no request is being answered, or that has not come so far yet."""

    def hang_up(self) -> None: ...


@dataclass(eq=False, slots=True)
class Crowd:
    """The connections of one server."""

    most: int
    patience: Patience
    refused: Refused  # is told of all that doesn't come as far as the guard
    idle: dict[Idle, float] = field(default_factory=dict)  # since when; the oldest first
    telling: Telling = field(default_factory=Telling)

    def takes(self, n_open: int) -> bool:
        """Even if it is only to be told that there is no room."""
        return n_open <= self.most + _REFUSED_AT_ONCE

    def make_room(self, n_open: int, now_s: float) -> int:
        """Hangs up on who has been idle the longest, until there is room. Returns how many are
        open then; more than `most` where the idle ones are too young for it, or there are none.
        """
        while n_open > self.most and self.idle:
            longest, since_s = next(iter(self.idle.items()))
            if now_s - since_s < self.patience.settling_s:
                break
            longest.hang_up()
            n_open -= 1
        return n_open


def protocol_for(crowd: Crowd) -> type["Connection"]:
    """uvicorn makes its connections itself, of a class."""
    return type("ConnectionInCrowd", (Connection,), {"crowd": crowd})


class Connection(H11Protocol):
    crowd: ClassVar[Crowd]
    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.logger = _uvicorns
        super().connection_made(transport)
        self._lingering = Lingering(transport, lambda: self._is_sending, self._linger)
        self.transport = cast(asyncio.Transport, self._lingering)
        self.conn = BoundedConnection(h11.SERVER, _MAX_HEAD_BYTES)
        self.flow = _Flow(transport, self.crowd.patience.write_s)
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined]  # of asyncio's own
        now_s = self.loop.time()
        n_open = self.crowd.make_room(len(self.connections), now_s)
        if n_open > self.crowd.most:
            self.crowd.refused(_FULL)
            self.app = _refuse
        if not self.crowd.takes(n_open):
            self.hang_up()
            return
        self.crowd.idle[self] = now_s
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._lingering.lingers:
            return
        super().data_received(data)
        if self._is_answering:
            self._leave_idle()
        else:
            self._await_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which may begin with the next request
        if not self._is_answering and not self.transport.is_closing():
            self.crowd.idle[self] = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_idle()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # of a reset connection, too
        self._lingering.forget()

    def shutdown(self) -> None:
        # TLS would wait for an idle client's last word, which may not look before it asks again.
        is_over = self in self.crowd.idle and not self.transport.get_write_buffer_size()
        super().shutdown()
        if self._lingering.lingers or is_over:
            self.hang_up()

    def hang_up(self) -> None:
        """Without a word: it was idle."""
        self._leave_idle()
        self.connections.discard(self)
        self.transport.abort()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_sending(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY

    def _linger(self) -> None:
        """Until the client closes, is in the way of a newcomer, or has had the time of a head."""
        self._leave_idle()
        self.flow.resume_reading()
        self.crowd.idle[self] = self.loop.time()
        self._giving_up = self.loop.call_later(self.crowd.patience.head_s, self.transport.close)

    def _await_head(self) -> None:
        """What is left of a body whose request was answered early counts as the next head."""
        if self._giving_up is None and not self.transport.is_closing():
            self._giving_up = self.loop.call_later(self.crowd.patience.head_s, self._give_up)

    def _leave_idle(self) -> None:
        self.crowd.idle.pop(self, None)
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        """Who has begun with a head is told why; a browser's spare connection is just closed."""
        has_begun = self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]
        if has_begun and not self.transport.is_closing():
            words = f"no whole head came within {self.crowd.patience.head_s:g} s"
            self._say(HTTPProblem(408, words, code="head_too_slow"))
        self.transport.close()

    def _should_upgrade(self) -> bool:
        """There is nothing else to speak here; uvicorn would tell the log to install it."""
        return False

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP. In the midst of an answer there is nothing left to say."""
        problem = problem_of(self.conn.trailing_data[0])
        if line := self.crowd.telling.line_for(problem, self.loop.time()):
            _log.warning(line)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._say(problem)
        self._lingering.close_for_good()
        if self.cycle is not None:  # what it may still want to say has nobody to go to
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _say(self, problem: HTTPProblem) -> None:
        self.crowd.refused(problem)
        self.transport.write(told(self.conn, problem))


def told(conn: h11.Connection, problem: HTTPProblem) -> bytes:
    """The whole answer to what isn't a request, or not yet."""
    body = encode(problem)
    headers = [*whole_headers(body), (b"connection", b"close")]
    head = h11.Response(status_code=problem.http_status, headers=headers)
    return b"".join(conn.send(event) or b"" for event in (head, h11.Data(data=body), _END))


class _Flow(FlowControl):
    """Its clock runs only while a client doesn't read: a timer for every token would take longer
    than writing it."""

    def __init__(self, transport: asyncio.Transport, patience_s: float) -> None:
        super().__init__(transport)
        self._patience_s = patience_s

    async def drain(self) -> None:
        """Raises TimeoutError."""
        async with asyncio.timeout(self._patience_s):
            await super().drain()


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """In the place of the whole application, for a connection too many."""
    headers = {"connection": "close", "retry-after": str(retry_after_s(_FULL))}
    answer = Response(encode(_FULL), 503, headers, media_type="application/json")
    await answer(scope, receive, send)
