"""TLS in front of the connections: who comes in by it, and what is said to who doesn't.

asyncio would let everybody wait in the handshake, uncounted, and hang up without a word on a
client that speaks plain HTTP. Here a connection is among the crowd from its first moment, as an
idle one; it has the time of a head for its handshake, and its first bytes tell what it speaks.
"""

import asyncio
import logging
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import Any

import h11

from edgellm.server.door.connections import Crowd, told
from edgellm.server.door.strangers import is_handshake, problem_on_tls
from edgellm.units import KIB

_log = logging.getLogger("edgellm.server")

_READ_BYTES = 16 * KIB  # a record; asyncio holds so much for each connection, else 256 KiB
_LONGEST_HELLO = 2  # bytes of it that tell what it is

Enter = Callable[[], asyncio.Protocol]  # makes what is behind the door


class _Wrapped(SSLProtocol):
    max_size = _READ_BYTES


def greeting_for(
    connection: Callable[..., asyncio.Protocol], tls: ssl.SSLContext, crowd: Crowd
) -> Callable[..., "Greeting"]:
    """In the place of uvicorn's own connections, which are made after the handshake only."""

    def greeting(server_state: Any, **told: Any) -> Greeting:
        def enter() -> asyncio.Protocol:
            return connection(server_state=server_state, **told)

        return Greeting(enter, tls, crowd, server_state.connections)

    return greeting


class Greeting(asyncio.BufferedProtocol):
    """A connection until its handshake is over. `others` are all that are open, by uvicorn's own
    count: there it stands until the one behind takes its place."""

    transport: asyncio.Transport

    def __init__(
        self, enter: Enter, tls: ssl.SSLContext, crowd: Crowd, others: set[object]
    ) -> None:
        self._crowd, self._others = crowd, others
        self._loop = asyncio.get_running_loop()
        self._tls = _Wrapped(
            self._loop,
            _Entering(self, enter),
            tls,
            None,  # type: ignore[arg-type]  # nobody waits for it
            server_side=True,
            ssl_handshake_timeout=crowd.patience.head_s,  # type: ignore[arg-type]  # not only int
        )
        self._first = b""  # of what came, until it is known what it is
        self._is_known = self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self._tls.connection_made(transport)
        self._others.add(self)
        now_s = self._loop.time()
        n_open = self._crowd.make_room(len(self._others), now_s)
        if self._crowd.takes(n_open):  # beyond `most` it is told so, which takes a handshake
            self._crowd.idle[self] = now_s
        else:
            self.hang_up()

    def get_buffer(self, sizehint: int) -> memoryview:
        self._buffer = self._tls.get_buffer(sizehint)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_refused:
            return  # dropped, or the answer would be lost with the reset
        if not self._is_known:
            self._first += bytes(self._buffer[:nbytes])
            if not is_handshake(self._first):
                self._refuse()
                return
            self._is_known = len(self._first) >= _LONGEST_HELLO
        self._tls.buffer_updated(nbytes)

    def eof_received(self) -> None:
        if not self._is_refused:
            self._tls.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        self._tls.connection_lost(exc)

    def pause_writing(self) -> None:
        self._tls.pause_writing()

    def resume_writing(self) -> None:
        self._tls.resume_writing()

    def shutdown(self) -> None:
        """uvicorn's word to all that are open."""
        self.hang_up()

    def hang_up(self) -> None:
        self.leave()
        self.transport.abort()

    def enter(self) -> None:
        """The handshake is over: from now on nobody stands between TLS and the socket."""
        self.leave()
        self.transport.set_protocol(self._tls)

    def leave(self) -> None:
        self._crowd.idle.pop(self, None)
        self._others.discard(self)

    def _refuse(self) -> None:
        """In plain words. It goes on being read until the client closes, or had the time of a
        head: the handshake's time runs on."""
        self._is_refused = True
        problem = problem_on_tls(self._first)
        self._crowd.refused(problem)
        if line := self._crowd.telling.line_for(problem, self._loop.time()):
            _log.warning(line)
        self.transport.write(told(h11.Connection(h11.SERVER), problem))
        if self.transport.can_write_eof():
            self.transport.write_eof()


class _Entering(asyncio.Protocol):
    """Behind the handshake; makes the connection when it is over."""

    def __init__(self, greeting: Greeting, enter: Enter) -> None:
        self._greeting, self._enter = greeting, enter

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._greeting.enter()
        behind = self._enter()
        transport.set_protocol(behind)
        behind.connection_made(transport)
