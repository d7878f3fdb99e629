"""A streamed chat answer, line by line: server-sent events to pieces. Pure.

What a stream may end with is `Ended`; one that stops without was cut off, and so was one that
says `error`: the caller is told, never shown half an answer as a whole one.
"""

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from edgellm.errors import EdgellmError


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


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Timings(msgspec.Struct, frozen=True):
    predicted_per_second: float | None = None


class _Problem(msgspec.Struct, frozen=True):
    message: str = "no reason given"


class _Chunk(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: _Problem | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


def pieces(line: str) -> list[Piece]:
    """One line of the stream. Raises EdgellmError where the server reports one, or is garbled."""
    if not line.startswith("data:"):
        return []  # a comment that keeps the connection open, a blank line, a field nobody needs
    data = line.removeprefix("data:").strip()
    if data == "[DONE]":
        return [Ended()]
    try:
        chunk = _decode(data.encode(errors="surrogatepass"))
    except msgspec.MsgspecError as error:
        raise EdgellmError(f"the answer can't be read: {error}") from error
    if chunk.error is not None:
        raise EdgellmError(chunk.error.message)
    return [*_deltas(chunk), *_figures(chunk)]


def problem(status: int, body: bytes) -> str:
    """An error response in the server's words, or at least its number."""
    try:
        chunk = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return f"the server answered {status}"
    return f"{status}: {chunk.error.message}" if chunk.error else f"the server answered {status}"


def _deltas(chunk: _Chunk) -> list[Piece]:
    found: list[Piece] = []
    for choice in chunk.choices[:1]:
        if choice.delta.reasoning_content:
            found.append(Thought(choice.delta.reasoning_content))
        if choice.delta.content:
            found.append(Text(choice.delta.content))
        if choice.finish_reason:
            found.append(Reason(choice.finish_reason))
    return found


def _figures(chunk: _Chunk) -> list[Piece]:
    if chunk.usage is None and chunk.timings is None:
        return []
    usage = chunk.usage or _Usage()
    details = usage.prompt_tokens_details
    return [
        Figures(
            n_output=usage.completion_tokens,
            n_prompt=usage.prompt_tokens,
            n_cached=details.cached_tokens if details else None,
            decode_tok_s=chunk.timings.predicted_per_second if chunk.timings else None,
        )
    ]
