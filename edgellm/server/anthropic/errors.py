"""An error in Anthropic's words, and how its streams tell one.

    {"type": "error", "error": {"type": ..., "message": ...}, "request_id": ...}

The anthropic package takes its exception's class from the status, reads `type` and
`details.error_code`, and raises on an `error` event in a stream.
"""

import msgspec
from msgspec import UNSET, UnsetType

from edgellm.server.envelope import code_of, status_of, words_of
from edgellm.server.manners import Manner, named_frame

_TYPE_BY_STATUS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class Details(msgspec.Struct, frozen=True):
    error_code: str


class ErrorBody(msgspec.Struct, frozen=True):
    type: str
    message: str
    details: Details | UnsetType = UNSET


class ErrorObject(msgspec.Struct, frozen=True, tag="error"):
    error: ErrorBody
    request_id: str


def encode(error: Exception, request_id: str) -> bytes:
    code = code_of(error)
    details = Details(code) if code else UNSET
    body = ErrorBody(_type(status_of(error)), words_of(error), details)
    return msgspec.json.encode(ErrorObject(body, request_id))


def _type(status: int) -> str:
    return _TYPE_BY_STATUS.get(status, "invalid_request_error" if status < 500 else "api_error")


MANNER = Manner(
    encode,
    framed_error=lambda data: named_frame("error", data),
    waiting=named_frame("ping", b'{"type":"ping"}'),
    id_headers=(b"x-request-id", b"request-id"),
)
