"""Chat answers in OpenAI's dialect: events in, `chat.completion(.chunk)` bytes out.

No clock and no random: the caller brings the `Head`, so a test can write down the exact bytes.
Not streaming is the same events, folded.
"""

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
        self._text = Delta()  # one, filled anew for each token
        choice = ChunkChoice(0, self._text)
        self._chunks = Chunks(
            head, "chat.completion.chunk", choice, Ended(1, n), include_usage=include_usage
        )

    def feed(self, index: int, event: Event) -> bytes:
        if isinstance(event, TextDelta) and not (event.text or event.logprobs):
            return b""
        if index in self._introduced:
            return self._told(index, event)
        self._introduced.add(index)
        return self._next(index, Delta(role="assistant", content="")) + self._told(index, event)

    def _told(self, index: int, event: Event) -> bytes:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self._text.content = text
                return self._next(index, self._text, logprobs)
            case ReasoningDelta(text):
                return self._next(index, Delta(reasoning_content=text))
            case ToolCallDelta():
                return self._next(index, Delta(tool_calls=[_tool_call(event)]))
            case Finished():
                self._fill(index, Delta())
                return self._chunks.last(event)
            case Failed():
                raise AssertionError("a Failed is raised before it comes here")
            case _:
                assert_never(event)

    def _next(self, index: int, delta: Delta, logprobs: tuple[TokenLogprob, ...] = ()) -> bytes:
        self._fill(index, delta, logprobs)
        return self._chunks.next()

    def _fill(self, index: int, delta: Delta, logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        choice = self._chunks.choice
        choice.index, choice.delta = index, delta
        choice.logprobs = chat_logprobs(logprobs) if logprobs else None


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
        self._parts: list[list[str]] = [[] for _ in range(n)]
        self._choices = [ChatChoice(i, ChatMessage()) for i in range(n)]
        self._whole = Whole(head, "chat.completion", self._choices, Ended(1, n))

    def feed(self, index: int, event: Event) -> bytes:
        choice = self._choices[index]
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self._parts[index].append(text)
                if logprobs:
                    choice.logprobs = choice.logprobs or ChatLogprobs([])
                    choice.logprobs.content.extend(chat_logprobs(logprobs).content)
            case ReasoningDelta(text):
                choice.message.reasoning_content = (choice.message.reasoning_content or "") + text
            case ToolCallDelta():
                _join(choice.message, event)
            case Finished():
                text = "".join(self._parts[index])
                choice.message.content = text or (None if choice.message.tool_calls else "")
                return self._whole.last(choice, event)
            case Failed():
                raise AssertionError("a Failed is raised before it comes here")
            case _:
                assert_never(event)
        return b""


def _tool_call(delta: ToolCallDelta) -> ToolCall:
    return ToolCall(
        index=delta.index,
        id=delta.id or UNSET,
        type="function" if delta.id else UNSET,
        function=Function(delta.name or UNSET, delta.arguments),
    )


def _join(message: ChatMessage, delta: ToolCallDelta) -> None:
    calls = message.tool_calls or []
    message.tool_calls = calls
    if delta.index == len(calls):
        calls.append(_tool_call(delta))
        calls[-1].index = UNSET  # a chunk's word only
    else:
        calls[delta.index].function.arguments += delta.arguments
