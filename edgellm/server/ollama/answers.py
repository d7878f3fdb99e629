"""Answers in Ollama's dialect: events in, lines of JSON out.

No clock: the caller brings it, so a test can write down the exact bytes. Not streaming is the same
events, kept until the last and told in one line.
"""

from collections.abc import Sequence
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
from edgellm.server.ollama.calls import Calls, ToolCall
from edgellm.server.ollama.wire import Head, NowNs, done_reason, encode, spent, stamp
from edgellm.server.openai.wire import ShownToken, chat_logprobs


class Message(msgspec.Struct, kw_only=True):
    role: str = "assistant"
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class Line(msgspec.Struct, kw_only=True):
    """A chat's has a message, a prompt's a response."""

    model: str
    created_at: str
    message: Message | UnsetType = UNSET
    response: str | UnsetType = UNSET
    thinking: str | UnsetType = UNSET
    logprobs: list[ShownToken] | UnsetType = UNSET
    done: bool = False


class LastLine(Line, kw_only=True):
    """Of durations see wire.Spent."""

    done_reason: str
    context: list[int] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class Lines:
    """Of one answer. The last one has no text when it streams, but what was spent.

    `context`: set before the last event, the tokens with which a prompt could go on.
    """

    def __init__(self, head: Head, now_ns: NowNs, *, is_chat: bool, streams: bool) -> None:
        self._head, self._now_ns = head, now_ns
        self._is_chat, self._streams = is_chat, streams
        self._said, self._calls = _Said(), Calls()
        self.context: list[int] | None = None

    def feed(self, index: int, event: Told) -> bytes:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                return self._told(text, logprobs=logprobs) if text or logprobs else b""
            case ReasoningDelta(text):
                return self._told("", text)
            case ToolCallDelta():
                calls = self._calls.add(event)
                return self._told("", calls=calls) if calls else b""
            case PromptRead() | SoFar():
                return b""  # Ollama has no words for them
            case Finished():
                calls = self._calls.end()
                return (self._told("", calls=calls) if calls else b"") + self._last(event)
            case _:
                assert_never(event)

    def _told(
        self,
        text: str,
        thought: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: Sequence[TokenLogprob] = (),
    ) -> bytes:
        if not self._streams:
            self._said.add(text, thought, calls, logprobs)
            return b""
        line = Line(model=self._head.model, created_at=stamp(self._now_ns()))
        _say(line, text, thought, calls, logprobs, is_chat=self._is_chat)
        return encode(line) + b"\n"

    def _last(self, finished: Finished) -> bytes:
        now_ns = self._now_ns()
        of = spent(finished, now_ns - self._head.begun_ns)
        line = LastLine(
            model=self._head.model,
            created_at=stamp(now_ns),
            done=True,
            done_reason=done_reason(finished),
            context=UNSET if self.context is None else self.context,
            **msgspec.structs.asdict(of),
        )
        _say(line, *self._said.whole(), is_chat=self._is_chat)
        return encode(line) + (b"\n" if self._streams else b"")


class _Said:
    """What an answer that is told whole has said by now, in the pieces in which it came."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []
        self._logprobs: list[TokenLogprob] = []

    def add(
        self,
        text: str,
        thought: str,
        calls: Sequence[ToolCall],
        logprobs: Sequence[TokenLogprob],
    ) -> None:
        self._text.append(text)
        self._thoughts.append(thought)
        self._calls += calls
        self._logprobs += logprobs

    def whole(self) -> tuple[str, str, list[ToolCall], list[TokenLogprob]]:
        return "".join(self._text), "".join(self._thoughts), self._calls, self._logprobs


def nothing_asked(
    head: Head, now_ns: int, *, is_chat: bool, streams: bool, unloads: bool = False
) -> bytes:
    """The answer to a request without a text, which only wants the model to be there, or to go."""
    reason = "unload" if unloads else "load"
    line = LastLine(model=head.model, created_at=stamp(now_ns), done=True, done_reason=reason)
    _say(line, is_chat=is_chat)
    return encode(line) + (b"\n" if streams else b"")


def _say(
    line: Line,
    text: str = "",
    thought: str = "",
    calls: Sequence[ToolCall] = (),
    logprobs: Sequence[TokenLogprob] = (),
    *,
    is_chat: bool,
) -> None:
    if logprobs:
        line.logprobs = chat_logprobs(logprobs).content
    if is_chat:
        line.message = Message(
            content=text, thinking=thought or UNSET, tool_calls=list(calls) or UNSET
        )
    else:
        line.response, line.thinking = text, thought or UNSET
