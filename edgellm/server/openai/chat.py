"""Chat answers in OpenAI's dialect: events in, `chat.completion(.chunk)` bytes out.

No clock and no random: the caller brings the `Head`, so a test can write down the exact bytes.
Not streaming is the same events, folded.
"""

from dataclasses import replace
from typing import assert_never

import msgspec
from msgspec import UNSET, UnsetType

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
from edgellm.server.openai.wire import ChatLogprobs, Ended, Head, chat_logprobs


class Function(msgspec.Struct):
    name: str | UnsetType = UNSET
    arguments: str = ""


class ToolCall(msgspec.Struct):
    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: Function = msgspec.field(default_factory=Function)


class Delta(msgspec.Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None


class ChatStream:
    """The role first, then text as it comes, then the reason; usage, if asked for, and [DONE]."""

    def __init__(self, head: Head, *, n: int = 1, include_usage: bool = False) -> None:
        self._introduced: set[int] = set()
        self._chunks: Chunks[ChunkChoice] = Chunks(
            head, "chat.completion.chunk", Ended(1, n), include_usage=include_usage
        )

    def feed(self, index: int, event: Told) -> bytes:
        if isinstance(event, TextDelta) and not (event.text or event.logprobs):
            return b""
        if index in self._introduced:
            return self._told(index, event)
        self._introduced.add(index)
        role = ChunkChoice(index, Delta(role="assistant", content=""))
        return self._chunks.one(role) + self._told(index, event)

    def _told(self, index: int, event: Told) -> bytes:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                shown = chat_logprobs(logprobs) if logprobs else None
                return self._chunks.one(ChunkChoice(index, Delta(content=text), shown))
            case ReasoningDelta(text):
                return self._chunks.one(ChunkChoice(index, Delta(reasoning_content=text)))
            case ToolCallDelta():
                delta = Delta(tool_calls=[_tool_call(event)])
                return self._chunks.one(ChunkChoice(index, delta))
            case PromptRead():
                return self._chunks.progress(ChunkChoice(index, Delta()), event)
            case SoFar():
                return self._chunks.hear(index, event)
            case Finished():
                return self._chunks.last(ChunkChoice(index, Delta()), event)
            case _:
                assert_never(event)


class ChatMessage(msgspec.Struct):
    role: str = "assistant"
    content: str | None = None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChatChoice(msgspec.Struct):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None


class ChatFold:
    """Nothing until the last event, then the whole answer."""

    def __init__(self, head: Head, *, n: int = 1) -> None:
        self._said = [_Said() for _ in range(n)]
        self._choices = [ChatChoice(i, ChatMessage()) for i in range(n)]
        self._whole = Whole(head, "chat.completion", self._choices, Ended(1, n))

    def feed(self, index: int, event: Told) -> bytes:
        said = self._said[index]
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                said.text.append(text)
                said.logprobs += logprobs
            case ReasoningDelta(text):
                said.reasoning.append(text)
            case ToolCallDelta():
                said.add_call(event)
            case PromptRead() | SoFar():
                pass  # streams tell them
            case Finished():
                choice = self._choices[index]
                choice.message = said.message()
                choice.logprobs = chat_logprobs(said.logprobs) if said.logprobs else None
                return self._whole.last(choice, event)
            case _:
                assert_never(event)
        return b""


class _Said:
    """What an answer has said by now, in the pieces in which it came."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self._calls: list[tuple[ToolCallDelta, list[str]]] = []  # as it began; its arguments

    def add_call(self, delta: ToolCallDelta) -> None:
        if delta.index == len(self._calls):
            self._calls.append((delta, []))
        self._calls[delta.index][1].append(delta.arguments)

    def message(self) -> ChatMessage:
        calls = [_whole_call(first, "".join(arguments)) for first, arguments in self._calls]
        return ChatMessage(
            content="".join(self.text) or (None if calls else ""),
            reasoning_content="".join(self.reasoning) or UNSET,
            tool_calls=calls or UNSET,
        )


def _tool_call(delta: ToolCallDelta) -> ToolCall:
    return ToolCall(
        index=delta.index,
        id=delta.id or UNSET,
        type="function" if delta.id else UNSET,
        function=Function(delta.name or UNSET, delta.arguments),
    )


def _whole_call(first: ToolCallDelta, arguments: str) -> ToolCall:
    call = _tool_call(replace(first, arguments=arguments))
    call.index = UNSET  # a chunk's word only
    return call
