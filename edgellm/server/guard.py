"""The middleware above all routes: who may enter, with how much, and what is sent when it breaks.

Deny first: a route that is added later is guarded without knowing it. Every answer carries an
x-request-id, which the log repeats for a bug. A client that stops reading loses its answer, or its
request would keep its place in the engine for tokens that nobody takes. One whose body only
trickles in is told so, and loses its connection. Errors are written as the dialect of the path asks
(manners.py).
"""

import asyncio
import logging
import secrets
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgellm.errors import EdgellmError, NotServing
from edgellm.keys import Key
from edgellm.server.door import origins
from edgellm.server.door.access import (
    Access,
    Head,
    announced_bytes,
    asks_first,
    refusal,
    too_large,
)
from edgellm.server.door.bodies import Bodies, Hold
from edgellm.server.door.patience import Patience
from edgellm.server.door.quotas import Rate
from edgellm.server.envelope import (
    HTTPProblem,
    Refused,
    is_final,
    retry_after_s,
    status_of,
    whole_headers,
)
from edgellm.server.manners import Manner, error_of, lay, manner_of

_log = logging.getLogger("edgellm.server")


def unbounded(key: Key) -> Rate | None:
    return None


class Guard:
    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        patience: Patience,
        bodies: Bodies,
        refused: Refused,
        manner_at: Callable[[str], Manner],
        rate_of: Callable[[Key], Rate | None] = unbounded,
    ) -> None:
        self._app, self._access, self._patience = app, access, patience
        self._bodies, self._refused, self._manner_at = bodies, refused, manner_at
        self._rate_of = rate_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(8)}"
        lay(scope, self._manner_at(scope["path"]), request_id)
        head = _head(scope)
        response = _Response(scope, send, request_id, self._patience.write_s, self._refused)
        response.headers += origins.told(head.headers, self._access.origins)
        try:
            key = self._access.key_of(head.headers)
            if problem := refusal(head, self._access, key):
                raise problem
            response.headers += self._told(key)
            if asks_first(head, self._access):
                await response.say_nothing_but(origins.reply(head.headers))
                return
            with self._bodies.hold() as hold:
                hold.expect(announced_bytes(head))
                scope["state"]["hold"] = hold
                if key:
                    scope["state"]["key"] = key
                body = _Body(receive, hold, self._access, self._patience)
                await self._app(scope, body.receive, response.send)
        except EdgellmError as error:
            await response.fail(error)
        except asyncio.CancelledError:  # the grace of a shutdown is over; the task ends here
            await response.fail(NotServing("the server is stopping"))
        except Exception as error:  # noqa: BLE001  # a bug: the client learns that, the log why
            _log.exception("request %s broke: %s %r", response.id, scope["method"], scope["path"])
            await response.fail(error)

    def _told(self, key: Key | None) -> list[tuple[bytes, bytes]]:
        """As OpenAI tells it: what is left of the minute's tokens before this request."""
        rate = self._rate_of(key) if key else None
        if rate is None:
            return []
        return [
            (b"x-ratelimit-limit-tokens", b"%d" % rate.limit),
            (b"x-ratelimit-remaining-tokens", b"%d" % rate.left),
            (b"x-ratelimit-reset-tokens", b"%.0fs" % rate.full_in_s),
        ]


class _Body:
    """A request's body, bounded in bytes and in time."""

    def __init__(self, receive: Receive, hold: Hold, access: Access, patience: Patience) -> None:
        self._receive, self._hold = receive, hold
        self._access, self._patience = access, patience
        self._n_bytes, self._waited_s, self._is_whole = 0, 0.0, False

    async def receive(self) -> Message:
        """Raises HTTPProblem. Behind the last byte this waits for the disconnect: no hurry then."""
        if self._is_whole:
            return await self._receive()
        message = await self._in_time()
        n_bytes = len(message.get("body", b""))
        self._n_bytes += n_bytes
        self._is_whole = not message.get("more_body", False)
        if self._n_bytes > self._access.max_body_bytes:
            raise too_large(self._access)
        self._hold.add(n_bytes)
        return message

    async def _in_time(self) -> Message:
        clock = asyncio.get_running_loop().time
        asked_s, waited_s = clock(), self._waited_s
        try:
            async with asyncio.timeout(self._patience.left_for_body_s(self._n_bytes, waited_s)):
                message = await self._receive()
        except TimeoutError as error:
            words = f"{self._n_bytes} bytes of it in {waited_s + clock() - asked_s:.1f} s"
            raise HTTPProblem(
                408, f"the body came too slowly: {words}", code="body_too_slow"
            ) from error
        self._waited_s = waited_s + clock() - asked_s
        return message


class _Response:
    """The one answer of a request: knows whether it has begun, and whether anybody reads it."""

    def __init__(
        self, scope: Scope, send: Send, request_id: str, patience_s: float, refused: Refused
    ) -> None:
        self._scope, self._send, self.id = scope, send, request_id
        self._patience_s, self._refused = patience_s, refused
        self._begun = self._is_stalled = False
        self.headers = [(name, self.id.encode()) for name in manner_of(scope).id_headers]

    async def send(self, message: Message) -> None:
        """Raises HTTPProblem when the client has stopped reading, as its connection finds out. All
        that is sent after that is dropped."""
        if self._is_stalled:
            return
        if not self._begun and message["type"] == "http.response.start":
            self._begun = True
            message = {**message, "headers": [*message.get("headers", ()), *self.headers]}
        try:
            await self._send(message)
        except TimeoutError as error:
            self._is_stalled = True
            _log.warning("request %s: its client stopped reading", self.id)
            words = f"nothing was read for {self._patience_s:g} s"
            raise HTTPProblem(503, words, code="unread") from error

    async def say_nothing_but(self, headers: list[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": 204, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def fail(self, error: Exception) -> None:
        """Sends the error if nothing is sent yet; else all that is left is to hang up."""
        self._refused(error)
        if self._begun:
            return
        body = error_of(self._scope, error)
        headers = whole_headers(body)
        if (seconds := retry_after_s(error)) is not None:
            headers.append((b"retry-after", b"%d" % seconds))
        if is_final(error):
            headers.append((b"x-should-retry", b"false"))
        status = status_of(error)
        if status == 408:  # nobody waits for the rest of its body
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})


def by_unix_socket(scope: Scope) -> bool:
    server = scope.get("server")
    return server is None or server[1] is None


def _head(scope: Scope) -> Head:
    """Its headers are read as the routes read them: of one that comes twice the first counts."""
    return Head(
        method=scope["method"],
        path=scope["path"],
        headers=Headers(scope=scope),
        n_headers=len(scope["headers"]),
        by_unix_socket=by_unix_socket(scope),
    )
