"""Plain completions in OpenAI's older dialect: events in, `text_completion` bytes out.

It has one object for chunk and answer. `echoes` has for each prompt what stands before its text.
The last chunk's choice has the reason; the usage comes beside `choices: []`, as in chat.
"""

from collections.abc import Sequence
from typing import assert_never

import msgspec
from msgspec import UNSET, UnsetType

from edgellm.chat.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from edgellm.server.openai_wire import (
    DONE,
    Ended,
    Head,
    Timings,
    Usage,
    encode,
    finite,
    text_of,
    wire_reason,
)
from edgellm.server.sse import frame


class Logprobs(msgspec.Struct):
    tokens: list[str] = []
    token_logprobs: list[float] = []
    top_logprobs: list[dict[str, float]] = []
    text_offset: list[int] = []  # in characters, from the start of the choice's text

    def add(self, shown: Sequence[TokenLogprob], offset: int) -> int:
        """The offset after these."""
        for token in shown:
            text = _piece(token.piece)
            self.tokens.append(text)
            self.token_logprobs.append(finite(token.logprob))
            self.top_logprobs.append({_piece(p): finite(logprob) for _, p, logprob in token.top})
            self.text_offset.append(offset)
            offset += len(text_of(token.piece))
        return offset


class Choice(msgspec.Struct):
    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class CompletionStream:
    def __init__(
        self,
        head: Head,
        *,
        n: int = 1,
        echoes: Sequence[str] = ("",),
        include_usage: bool = False,
    ) -> None:
        self._ended = Ended(len(echoes), n)
        self._include_usage = include_usage
        self._pending = {p * n + i: echo for p, echo in enumerate(echoes) for i in range(n)}
        self._offsets = {index: len(echo) for index, echo in self._pending.items()}
        self._choice = Choice(0, "")
        self._chunk = Completion(
            head.id, "text_completion", head.created, head.model, [self._choice]
        )

    def feed(self, index: int, event: Event) -> bytes:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                return self._frame(index, text, logprobs) if text or logprobs else b""
            case ReasoningDelta() | ToolCallDelta():
                return b""  # parts of a chat: plain text has none
            case Finished():
                return self._finish(index, event)
            case Failed():
                raise AssertionError("a Failed is raised before it comes here")
            case _:
                assert_never(event)

    def _frame(self, index: int, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> bytes:
        choice = self._choice
        choice.index, choice.text = index, self._pending.pop(index, "") + text
        choice.logprobs = Logprobs() if logprobs else None
        if choice.logprobs:
            offset = self._offsets.get(index, 0)
            self._offsets[index] = choice.logprobs.add(logprobs, offset)
        return frame(encode(self._chunk))

    def _finish(self, index: int, finished: Finished) -> bytes:
        is_last = self._ended.add(index, finished)
        timings_here = is_last and not self._include_usage
        self._chunk.timings = self._ended.timings() if timings_here else UNSET
        self._choice.finish_reason = wire_reason(finished.reason)
        data = self._frame(index, "")
        self._choice.finish_reason = None
        if not is_last:
            return data
        if self._include_usage:
            self._chunk.choices, self._chunk.usage = [], self._ended.usage()
            self._chunk.timings = self._ended.timings()
            data += frame(encode(self._chunk))
        return data + DONE


class CompletionFold:
    def __init__(
        self,
        head: Head,
        *,
        n: int = 1,
        echoes: Sequence[str] = ("",),
    ) -> None:
        self._head = head
        self._ended = Ended(len(echoes), n)
        texts = [echo for echo in echoes for _ in range(n)]
        self._parts = [[text] for text in texts]
        self._offsets = [len(text) for text in texts]
        self._choices = [Choice(index, "") for index in range(len(texts))]

    def feed(self, index: int, event: Event) -> bytes:
        choice = self._choices[index]
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self._parts[index].append(text)
                if logprobs:
                    choice.logprobs = choice.logprobs or Logprobs()
                    self._offsets[index] = choice.logprobs.add(logprobs, self._offsets[index])
            case ReasoningDelta() | ToolCallDelta():
                pass  # parts of a chat: plain text has none
            case Finished():
                choice.text = "".join(self._parts[index])
                choice.finish_reason = wire_reason(event.reason)
                if self._ended.add(index, event):
                    return self._body()
            case Failed():
                raise AssertionError("a Failed is raised before it comes here")
            case _:
                assert_never(event)
        return b""

    def _body(self) -> bytes:
        return encode(
            Completion(
                id=self._head.id,
                object="text_completion",
                created=self._head.created,
                model=self._head.model,
                choices=self._choices,
                usage=self._ended.usage(),
                timings=self._ended.timings(),
            )
        )


def _piece(piece: bytes) -> str:
    """OpenAI's way with half a character: two such tokens must not become one dict key."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
