"""Plain completions in OpenAI's older dialect: events in, `text_completion` bytes out.

Chunk and answer have the same name. `echoes` has for each prompt what stands before its text.
"""

import codecs
from collections.abc import Sequence
from typing import assert_never

import msgspec

from edgellm.chat.events import (
    Finished,
    PromptRead,
    ReasoningDelta,
    SoFar,
    TextDelta,
    TokenLogprob,
    Told,
    ToolCallDelta,
)
from edgellm.server.openai.object import Chunks, Whole
from edgellm.server.openai.wire import Ended, Head, finite

_NAME = "text_completion"


class Logprobs(msgspec.Struct):
    tokens: list[str] = []
    token_logprobs: list[float] = []
    top_logprobs: list[dict[str, float]] = []
    text_offset: list[int] = []  # in characters, from the start of the choice's text

    def add(self, shown: Sequence[TokenLogprob], place: "_Place") -> None:
        for token in shown:
            piece, logprob = _piece(token.piece), finite(token.logprob)
            self.tokens.append(piece)
            self.token_logprobs.append(logprob)
            best = {_piece(p): finite(odds) for _, p, odds in token.top}
            self.top_logprobs.append({**best, piece: logprob})  # OpenAI's: "up to logprobs+1"
            self.text_offset.append(place.pass_over(token.piece))


class _Place:
    """Where the next token begins in its choice's text, in characters."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def pass_over(self, piece: bytes) -> int:
        """Where this one begins. A character counts with the token that ends it: all tokens that
        have a part of it begin where it does."""
        begin = self._offset
        self._offset += len(self._decoder.decode(piece))
        return begin


class Choice(msgspec.Struct):
    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class CompletionStream:
    def __init__(
        self,
        head: Head,
        *,
        n: int = 1,
        echoes: Sequence[str] = ("",),
        include_usage: bool = False,
    ) -> None:
        self._pending = {p * n + i: echo for p, echo in enumerate(echoes) for i in range(n)}
        self._places = {index: _Place(len(echo)) for index, echo in self._pending.items()}
        self._chunks: Chunks[Choice] = Chunks(
            head, _NAME, Ended(len(echoes), n), include_usage=include_usage
        )

    def feed(self, index: int, event: Told) -> bytes:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                if not (text or logprobs):
                    return b""
                return self._chunks.one(self._choice(index, text, logprobs))
            case ReasoningDelta() | ToolCallDelta():
                return b""  # parts of a chat: plain text has none
            case PromptRead():
                return self._chunks.progress(Choice(index, ""), event)
            case SoFar():
                return self._chunks.hear(index, event)
            case Finished():
                return self._chunks.last(self._choice(index, ""), event)
            case _:
                assert_never(event)

    def _choice(self, index: int, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> Choice:
        """With the echo before its first text."""
        shown = Logprobs() if logprobs else None
        if shown:
            shown.add(logprobs, self._places[index])
        return Choice(index, self._pending.pop(index, "") + text, shown)


class CompletionFold:
    def __init__(
        self,
        head: Head,
        *,
        n: int = 1,
        echoes: Sequence[str] = ("",),
    ) -> None:
        texts = [echo for echo in echoes for _ in range(n)]
        self._parts = [[text] for text in texts]
        self._places = [_Place(len(text)) for text in texts]
        self._choices = [Choice(index, "") for index in range(len(texts))]
        self._whole = Whole(head, _NAME, self._choices, Ended(len(echoes), n))

    def feed(self, index: int, event: Told) -> bytes:
        choice = self._choices[index]
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self._parts[index].append(text)
                if logprobs:
                    choice.logprobs = choice.logprobs or Logprobs()
                    choice.logprobs.add(logprobs, self._places[index])
            case ReasoningDelta() | ToolCallDelta():
                pass  # parts of a chat: plain text has none
            case PromptRead() | SoFar():
                pass  # streams tell them
            case Finished():
                choice.text = "".join(self._parts[index])
                return self._whole.last(choice, event)
            case _:
                assert_never(event)
        return b""


def _piece(piece: bytes) -> str:
    """OpenAI's way with half a character: two such tokens must not become one dict key."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
