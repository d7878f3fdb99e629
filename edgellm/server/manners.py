"""How a dialect writes what is no answer: errors, whole or inside a stream, and keep-alives.

Any part of the server may have to send one of these. The path decides the manner (app.py has the
table). The guard, which meets every request first, puts it into the request's scope, beside the
request's id, and whoever sends finds both there.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from edgellm.server.envelope import encode

_Scope: TypeAlias = MutableMapping[str, Any]  # ASGI's


def frame(data: bytes) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % data


def named_frame(name: str, data: bytes) -> bytes:
    """The same with a name, for clients that ignore events without one."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


@dataclass(frozen=True, slots=True)
class Manner:
    error: Callable[[Exception, str], bytes]  # an error and the request's id, to JSON
    framed_error: Callable[[bytes], bytes] = frame  # that JSON, as the last event of a stream
    stream_type: bytes = b"text/event-stream; charset=utf-8"
    waiting: bytes = b": waiting\n\n"  # a stream's keep-alive; may be empty
    id_headers: tuple[bytes, ...] = (b"x-request-id",)  # that carry the request's id


USUAL = Manner(lambda error, _request_id: encode(error))


def lay(scope: _Scope, manner: Manner, request_id: str) -> None:
    scope.setdefault("state", {}).update(manner=manner, request_id=request_id)


def manner_of(scope: _Scope) -> Manner:
    manner: Manner = scope.get("state", {}).get("manner", USUAL)
    return manner


def error_of(scope: _Scope, error: Exception) -> bytes:
    """The error as the request's dialect writes it."""
    return manner_of(scope).error(error, scope.get("state", {}).get("request_id", ""))
