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
from edgellm.server.openai_wire import (
    DONE,
    ChatLogprobs,
    Ended,
    Head,
    Timings,
    Usage,
    chat_logprobs,
    encode,
    wire_reason,
)
from edgellm.server.sse import frame


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


class Chunk(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class ChatStream:
    """The role first, then text as it comes, then the reason; usage, if asked for, and [DONE]."""

    def __init__(self, head: Head, *, n: int = 1, include_usage: bool = False) -> None:
        self._ended = Ended(1, n)
        self._introduced: set[int] = set()
        self._include_usage = include_usage
        # One chunk and one delta, filled anew for each token.
        self._text = Delta()
        self._choice = ChunkChoice(0, self._text)
        self._chunk = Chunk(
            head.id, "chat.completion.chunk", head.created, head.model, [self._choice]
        )

    def feed(self, index: int, event: Event) -> bytes:
        if isinstance(event, TextDelta) and not (event.text or event.logprobs):
            return b""
        if index in self._introduced:
            return self._told(index, event)
        self._introduced.add(index)
        return self._frame(index, Delta(role="assistant", content="")) + self._told(index, event)

    def _told(self, index: int, event: Event) -> bytes:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self._text.content = text
                return self._frame(index, self._text, logprobs)
            case ReasoningDelta(text):
                return self._frame(index, Delta(reasoning_content=text))
            case ToolCallDelta():
                return self._frame(index, Delta(tool_calls=[_tool_call(event)]))
            case Finished():
                return self._finish(index, event)
            case Failed():
                raise AssertionError("a Failed is raised before it comes here")
            case _:
                assert_never(event)

    def _frame(self, index: int, delta: Delta, logprobs: tuple[TokenLogprob, ...] = ()) -> bytes:
        choice = self._choice
        choice.index, choice.delta = index, delta
        choice.logprobs = chat_logprobs(logprobs) if logprobs else None
        return frame(encode(self._chunk))

    def _finish(self, index: int, finished: Finished) -> bytes:
        is_last = self._ended.add(index, finished)
        timings_here = is_last and not self._include_usage
        self._chunk.timings = self._ended.timings() if timings_here else UNSET
        self._choice.finish_reason = wire_reason(finished.reason)
        data = self._frame(index, Delta())
        self._choice.finish_reason = None
        return data + self._usage() + DONE if is_last else data

    def _usage(self) -> bytes:
        if not self._include_usage:
            return b""
        chunk = self._chunk
        chunk.choices, chunk.usage = [], self._ended.usage()
        chunk.timings = self._ended.timings()
        return frame(encode(chunk))


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
    finish_reason: str = ""


class ChatCompletion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    timings: Timings


class ChatFold:
    """Nothing until the last event, then the whole answer."""

    def __init__(self, head: Head, *, n: int = 1) -> None:
        self._head = head
        self._ended = Ended(1, n)
        self._parts: list[list[str]] = [[] for _ in range(n)]
        self._choices = [ChatChoice(i, ChatMessage()) for i in range(n)]

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
            ChatCompletion(
                id=self._head.id,
                object="chat.completion",
                created=self._head.created,
                model=self._head.model,
                choices=self._choices,
                usage=self._ended.usage(),
                timings=self._ended.timings(),
            )
        )


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
