"""Answers in Ollama's dialect: events in, lines of JSON out.

No clock: the caller brings it, so a test can write down the exact bytes. Not streaming is the same
events, kept until the last and told in one line.
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
from edgellm.server.ollama.calls import Calls, ToolCall
from edgellm.server.ollama.wire import Head, NowNs, done_reason, encode, spent, stamp
from edgellm.server.openai.wire import ShownToken, chat_logprobs


class Message(msgspec.Struct, kw_only=True):
    role: str = "assistant"
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class Line(msgspec.Struct, kw_only=True):
    """A chat's has a message, a prompt's a response. Of durations see wire.Spent."""

    model: str
    created_at: str
    message: Message | UnsetType = UNSET
    response: str | UnsetType = UNSET
    thinking: str | UnsetType = UNSET
    logprobs: list[ShownToken] | UnsetType = UNSET
    done: bool = False
    done_reason: str | UnsetType = UNSET
    context: list[int] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class _Said:
    """Since the last line."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []
        self.logprobs: list[TokenLogprob] = []

    def __bool__(self) -> bool:
        return bool(any(self.text) or any(self.thoughts) or self.calls or self.logprobs)

    def told(self, line: Line, *, is_chat: bool) -> Line:
        text, thinking = "".join(self.text), "".join(self.thoughts) or UNSET
        if self.logprobs:
            line.logprobs = chat_logprobs(self.logprobs).content
        if is_chat:
            calls = self.calls or UNSET
            line.message = Message(content=text, thinking=thinking, tool_calls=calls)
        else:
            line.response, line.thinking = text, thinking
        return line


class Lines:
    """Of one answer. The last one has no text when it streams, but what was spent.

    `context`: set before the last event, the tokens with which a prompt could go on.
    """

    def __init__(self, head: Head, now_ns: NowNs, *, is_chat: bool, streams: bool) -> None:
        self._head, self._now_ns = head, now_ns
        self._is_chat, self._streams = is_chat, streams
        self._said, self._calls = _Said(), Calls()
        self.context: list[int] | None = None

    def feed(self, index: int, event: Event) -> bytes:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self._said.text.append(text)
                self._said.logprobs += logprobs
            case ReasoningDelta(text):
                self._said.thoughts.append(text)
            case ToolCallDelta():
                self._said.calls += self._calls.add(event)
            case Finished():
                self._said.calls += self._calls.end()
                return self._flushed() + self._last(event)
            case Failed():
                raise AssertionError("a Failed is raised before it comes here")
            case _:
                assert_never(event)
        return self._flushed()

    def _flushed(self) -> bytes:
        if not (self._streams and self._said):
            return b""
        line = encode(self._told(Line(model=self._head.model, created_at=stamp(self._now_ns()))))
        return line + b"\n"

    def _last(self, finished: Finished) -> bytes:
        now_ns = self._now_ns()
        of = spent(finished, now_ns - self._head.begun_ns)
        line = Line(
            model=self._head.model,
            created_at=stamp(now_ns),
            done=True,
            done_reason=done_reason(finished.reason),
            context=UNSET if self.context is None else self.context,
            **msgspec.structs.asdict(of),
        )
        return encode(self._told(line)) + (b"\n" if self._streams else b"")

    def _told(self, line: Line) -> Line:
        said, self._said = self._said, _Said()
        return said.told(line, is_chat=self._is_chat)


def nothing_asked(head: Head, now_ns: int, *, is_chat: bool, streams: bool) -> bytes:
    """The answer to a request without a text, which only wants the model to be there."""
    line = Line(model=head.model, created_at=stamp(now_ns), done=True, done_reason="load")
    return encode(_Said().told(line, is_chat=is_chat)) + (b"\n" if streams else b"")
