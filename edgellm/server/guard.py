"""The middleware above all routes: who may enter, how much, and what leaves when it breaks.

Deny first: a route added later is guarded without knowing it. Every answer carries an
x-request-id, which the log line of a bug repeats. A client that stops reading loses its answer:
the tokens would wait for it, and their request keep its place in the engine.
"""

import asyncio
import logging
import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgellm.errors import EdgellmError, NotServing
from edgellm.server.access import Access, Head, refusal, too_large
from edgellm.server.envelope import encode, is_final, retry_after_s, status_of

WRITE_PATIENCE_S = 60.0  # for one write to be taken

_log = logging.getLogger("edgellm.server")


class Guard:
    def __init__(
        self, app: ASGIApp, access: Access, write_patience_s: float = WRITE_PATIENCE_S
    ) -> None:
        self._app, self._access, self._write_patience_s = app, access, write_patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send, self._write_patience_s)
        try:
            if problem := refusal(_head(scope), self._access):
                raise problem
            await self._app(scope, self._bounded(receive), response.send)
        except EdgellmError as error:
            await response.fail(error)
        except asyncio.CancelledError:  # the grace of a shutdown is over; the task ends here
            await response.fail(NotServing("the server is stopping"))
        except Exception as error:  # noqa: BLE001  # a bug: the client learns that, the log why
            _log.exception("request %s broke: %s %r", response.id, scope["method"], scope["path"])
            await response.fail(error)

    def _bounded(self, receive: Receive) -> Receive:
        n_bytes = 0

        async def bounded() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._access.max_body_bytes:
                raise too_large(self._access)
            return message

        return bounded


class _Response:
    """The one answer of a request: knows whether it has begun, and whether anybody reads it."""

    def __init__(self, send: Send, patience_s: float) -> None:
        self._send, self._patience_s = send, patience_s
        self._begun = self._is_stalled = False
        self.id = f"req_{secrets.token_hex(8)}"

    async def send(self, message: Message) -> None:
        """Raises NotServing when the client doesn't read; what comes after that goes nowhere."""
        if self._is_stalled:
            return
        if not self._begun and message["type"] == "http.response.start":
            self._begun = True
            headers = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
            message = {**message, "headers": headers}
        try:
            async with asyncio.timeout(self._patience_s):
                await self._send(message)
        except TimeoutError as error:
            self._is_stalled = True
            _log.warning("request %s: its client stopped reading", self.id)
            raise NotServing(f"nothing was read for {self._patience_s:g} s") from error

    async def fail(self, error: Exception) -> None:
        """The envelope, where nothing has been sent yet; later, all that is left is to hang up."""
        if self._begun:
            return
        body = encode(error)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        if (seconds := retry_after_s(error)) is not None:
            headers.append((b"retry-after", b"%d" % seconds))
        if is_final(error):
            headers.append((b"x-should-retry", b"false"))
        status = status_of(error)
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
