"""A streamed chat answer, line by line: server-sent events to chunks, and these to pieces. Pure.

The screen takes pieces; cli/serving/client.py, for whom a terminal is lines, takes the chunks.

What a stream may end with is `Ended`; one that stops without was cut off, and so was one that
says `error`: the caller is told, never shown half an answer as a whole one.
"""

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from edgellm.errors import EdgellmError, WorkerDied
from edgellm.status import Unreadable, read


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    text: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What the server says of the answer, at its end. None: it doesn't."""

    n_output: int | None = None
    n_prompt: int | None = None
    n_cached: int | None = None
    decode_tok_s: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why it ended: "stop", "length" ..."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    pass


Piece: TypeAlias = Text | Thought | Figures | Reason | Ended


class Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    delta: Delta = Delta()
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class Timings(msgspec.Struct, frozen=True):
    """llama.cpp's words; milliseconds."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    prompt_per_second: float | None = None
    predicted_n: int = 0
    predicted_ms: float = 0.0
    predicted_per_second: float | None = None


class Problem(msgspec.Struct, frozen=True):
    message: str = "no reason given"
    code: str | int | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event; also a whole answer that was not streamed, and a refusal."""

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    timings: Timings | None = None
    error: Problem | None = None


_decoder = msgspec.json.Decoder(Chunk)


def decode(data: bytes | bytearray) -> Chunk:
    """Raises Unreadable."""
    return read(_decoder, data)


def event(line: str) -> Chunk | Ended | None:
    """One line of the stream; None is a comment that keeps the connection open, a blank line, a
    field nobody needs. Raises WorkerDied with what the server reports, EdgellmError for garbage."""
    if not line.startswith("data:"):
        return None
    data = line.removeprefix("data:").strip()
    if data == "[DONE]":
        return Ended()
    try:
        chunk = decode(data.encode(errors="surrogatepass"))
    except Unreadable as error:
        raise EdgellmError(f"the answer can't be read: {error}") from error
    if chunk.error is not None:
        raise WorkerDied(chunk.error.message)
    return chunk


def pieces(line: str) -> list[Piece]:
    """One line of the stream. Raises as `event` does."""
    match event(line):
        case Chunk() as chunk:
            return [*_deltas(chunk), *_figures(chunk)]
        case Ended() as end:
            return [end]
        case None:
            return []


def problem(status: int, body: bytes | bytearray) -> Problem:
    """An error response in the server's words, or at least its number."""
    unknown = Problem(f"the server answered {status}")
    try:
        return decode(body).error or unknown
    except Unreadable:
        return unknown


def is_too_long(told: Problem) -> bool:
    """Whether the prompt is more than the model's context: server/envelope.py's word for it."""
    return told.code == "context_length_exceeded"


def _deltas(chunk: Chunk) -> list[Piece]:
    found: list[Piece] = []
    for choice in chunk.choices[:1]:
        if choice.delta.reasoning_content:
            found.append(Thought(choice.delta.reasoning_content))
        if choice.delta.content:
            found.append(Text(choice.delta.content))
        if choice.finish_reason:
            found.append(Reason(choice.finish_reason))
    return found


def _figures(chunk: Chunk) -> list[Piece]:
    if chunk.usage is None and chunk.timings is None:
        return []
    usage = chunk.usage or Usage()
    details = usage.prompt_tokens_details
    return [
        Figures(
            n_output=usage.completion_tokens,
            n_prompt=usage.prompt_tokens,
            n_cached=details.cached_tokens if details else None,
            decode_tok_s=chunk.timings.predicted_per_second if chunk.timings else None,
        )
    ]
