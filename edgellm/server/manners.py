"""What of an answer is its dialect's, though any part of the server may send it: an error, whole or
in a stream that has begun, and a word for a client that waits.

The path says whose manner holds (app.py has the table). The guard, which meets every request first,
lays it into the request's scope beside the request's id; who sends takes both from there.
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
    """One that has a name, for clients that pass over those that have none."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


@dataclass(frozen=True, slots=True)
class Manner:
    error: Callable[[Exception, str], bytes]  # and the request's id, to JSON
    framed_error: Callable[[bytes], bytes] = frame  # that JSON, as a stream's last words
    stream_type: bytes = b"text/event-stream; charset=utf-8"
    waiting: bytes = b": waiting\n\n"  # in a stream, when nothing is said for a while; may be empty
    id_headers: tuple[bytes, ...] = (b"x-request-id",)  # where every answer tells its request's id


USUAL = Manner(lambda error, _request_id: encode(error))


def lay(scope: _Scope, manner: Manner, request_id: str) -> None:
    scope.setdefault("state", {}).update(manner=manner, request_id=request_id)


def manner_of(scope: _Scope) -> Manner:
    manner: Manner = scope.get("state", {}).get("manner", USUAL)
    return manner


def error_of(scope: _Scope, error: Exception) -> bytes:
    """As the request's dialect words it."""
    return manner_of(scope).error(error, scope.get("state", {}).get("request_id", ""))
