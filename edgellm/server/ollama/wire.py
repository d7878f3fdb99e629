"""What Ollama's answers share: times, durations, errors.

Durations are whole nanoseconds, times RFC 3339 with as many digits. An error is {"error": "words"},
also as a stream's last line. While a prompt is read there is nothing to say: a line is an answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias

import msgspec

from edgellm.chat.events import Finished
from edgellm.server.envelope import words_of
from edgellm.server.manners import Manner

NowNs: TypeAlias = Callable[[], int]  # Unix time

encode = msgspec.json.Encoder().encode

_NS = 1_000_000_000


class ErrorLine(msgspec.Struct, frozen=True):
    error: str


@dataclass(frozen=True, slots=True)
class Head:
    """What every line of an answer begins with, and since when it is waited for."""

    model: str  # as the client wrote it
    begun_ns: int


class Spent(msgspec.Struct, frozen=True):
    """Of a whole answer. A prompt counts with what of it was cached, which took no time."""

    total_duration: int
    load_duration: int
    prompt_eval_count: int
    prompt_eval_duration: int
    eval_count: int
    eval_duration: int


def spent(finished: Finished, total_ns: int) -> Spent:
    """A request loads no model: those that are asked for are there."""
    return Spent(
        total_duration=total_ns,
        load_duration=0,
        prompt_eval_count=finished.n_prompt,
        prompt_eval_duration=round(finished.timings.prefill_s * _NS),
        eval_count=finished.n_output,
        eval_duration=round(finished.timings.decode_s * _NS),
    )


def stamp(unix_ns: int) -> str:
    seconds, ns = divmod(unix_ns, _NS)
    return f"{_second(seconds)}.{ns:09d}Z"


@lru_cache(maxsize=16)  # hundreds of lines have the same
def _second(unix_s: int) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%S}"


def done_reason(finished: Finished) -> str:
    """Ollama's are "stop" and "length"; that tools are called, the message shows."""
    return "length" if finished.is_cut else "stop"


def _error(error: Exception, _request_id: str) -> bytes:
    return encode(ErrorLine(words_of(error)))


def _as_line(data: bytes) -> bytes:
    return data + b"\n"


MANNER = Manner(_error, _as_line, b"application/x-ndjson", waiting=b"")
