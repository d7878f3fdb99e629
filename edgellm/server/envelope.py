"""An error as HTTP: its status, OpenAI's envelope, and nothing that is none of a client's business.

    {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

For a prompt that is too long `n_prompt_tokens` and `n_ctx` are beside these, as in llama-server.
The openai package reads `type`, `param` and `code`, retries 408, 409, 429 and 5xx, and honours
Retry-After. An error that we raise on purpose shows its own words; any other is a bug: its client
gets a sentence of ours, and the log the traceback.
"""

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from edgellm import errors
from edgellm.chat.events import Failed
from edgellm.errors import ContextTooLong, DeadlinePassed, EdgellmError, QuotaExceeded

Refused: TypeAlias = Callable[[Exception], None]  # is told of each error that was an answer

_TYPE_BY_STATUS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "unavailable_error",
}
_TEXT_FIELDS = {"messages", "prompt", "input"}  # the engine's names for the text it was given
_LONGEST_WAIT_S = 60  # clients don't wait for longer before they ask again
_RETRY_AFTER_S = {429: 1, 503: 2}  # a place in the queue is free sooner than a model is loaded

# What a worker's last words may hold: where files lie, and where things lie in memory.
# A tag's end, "</s>", is neither.
_DIRECTORY = re.compile(
    r"(?<![\w.:/])(?!(?<=<)/[\w-]+>)(?:~?/[\w.@+~ -]*?[\w.@+~-])*/(?=[\w.@+~-])"
)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


class ErrorBody(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None = None
    code: str | int | None = None
    n_prompt_tokens: int | UnsetType = UNSET
    n_ctx: int | UnsetType = UNSET


class Envelope(msgspec.Struct, frozen=True):
    error: ErrorBody


class HTTPProblem(EdgellmError):
    """An error that only HTTP has (401, 405, 413 ...), or one that came from the worker."""

    def __init__(
        self,
        http_status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        sizes: tuple[int, int] | None = None,
    ) -> None:
        """`sizes`: see errors.ContextTooLong."""
        super().__init__(message, param=param)
        self.http_status = http_status
        self.code, self.sizes = code, sizes


def as_error(failed: Failed) -> HTTPProblem:
    kind: type[EdgellmError] = getattr(errors, failed.kind, EdgellmError)
    return HTTPProblem(
        failed.http_status,
        failed.message,
        param=failed.param,
        code=kind.code,
        sizes=failed.sizes,
    )


@contextlib.contextmanager
def text_is_called(field: str, structure_field: str = "response_format") -> Iterator[None]:
    """Errors raised in here name the client's field, not what the engine calls it."""
    try:
        yield
    except EdgellmError as error:
        if error.param in _TEXT_FIELDS:
            error.param = field
        elif error.param == "structure":
            error.param = structure_field
        raise


def status_of(error: Exception) -> int:
    return error.http_status if isinstance(error, EdgellmError) else 500


def reason_of(error: Exception) -> str:
    """One word for counters: the `code` that the client is told, or the `type`."""
    return code_of(error) or _type(status_of(error))


def retry_after_s(error: Exception) -> int | None:
    if isinstance(error, QuotaExceeded) and error.retry_after_s is not None:
        return max(1, math.ceil(error.retry_after_s))
    return _RETRY_AFTER_S.get(status_of(error))


def is_final(error: Exception) -> bool:
    """Whether clients are told not to send it again. The openai package would, for its status: with
    a deadline that has passed; or at once, where the wait is longer than the minute it accepts."""
    if isinstance(error, QuotaExceeded):
        return (error.retry_after_s or 0) > _LONGEST_WAIT_S
    return status_of(error) == DeadlinePassed.http_status


def whole_headers(body: bytes, kind: bytes = b"application/json") -> list[tuple[bytes, bytes]]:
    """Of an answer that is sent whole; `kind`: where it is no JSON."""
    return [(b"content-type", kind), (b"content-length", b"%d" % len(body))]


def encode(error: Exception) -> bytes:
    """The envelope as JSON."""
    param = error.param if isinstance(error, EdgellmError) else None
    sizes = error.sizes if isinstance(error, HTTPProblem | ContextTooLong) else None
    n_prompt, n_ctx = sizes or (UNSET, UNSET)
    body = ErrorBody(
        words_of(error), _type(status_of(error)), param, code_of(error), n_prompt, n_ctx
    )
    return msgspec.json.encode(Envelope(body))


def words_of(error: Exception) -> str:
    """The message that a client may read, in any dialect."""
    if not isinstance(error, EdgellmError):
        return "something broke in the server; its log says what"
    words = f"{error}; {error.hint}" if error.hint else str(error)
    # Below that status the words are the client's own or ours.
    return without_secrets(words) if status_of(error) >= 422 else words


def code_of(error: Exception) -> str | None:
    """One word for what went wrong, in any dialect; None where it has none."""
    return error.code if isinstance(error, EdgellmError) else None


def without_secrets(text: str) -> str:
    """Paths cut to their last part, memory addresses replaced."""
    return _ADDRESS.sub("(address)", _DIRECTORY.sub("", text))


def _type(status: int) -> str:
    return _TYPE_BY_STATUS.get(status, "invalid_request_error" if status < 500 else "server_error")
