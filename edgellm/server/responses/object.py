"""The response and what is in it, in OpenAI's shape: every field that its clients' types require.

`timings` is ours, as in a chat.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from edgellm.chat.events import Finished
from edgellm.server.openai.wire import Ended, Head, ShownToken, Timings

Status: TypeAlias = Literal[
    "queued", "in_progress", "completed", "incomplete", "failed", "cancelled"
]


class OutputText(msgspec.Struct, tag_field="type", tag="output_text"):
    text: str
    annotations: tuple[()] = ()
    logprobs: list[ShownToken] = msgspec.field(default_factory=list)


class ReasoningText(msgspec.Struct, tag_field="type", tag="reasoning_text"):
    text: str


class SummaryText(msgspec.Struct, tag_field="type", tag="summary_text"):
    text: str


class Message(msgspec.Struct, tag_field="type", tag="message"):
    id: str
    status: Status = "in_progress"
    role: Literal["assistant"] = "assistant"
    content: list[OutputText] = msgspec.field(default_factory=list)


class Reasoning(msgspec.Struct, tag_field="type", tag="reasoning"):
    id: str
    status: Status = "in_progress"
    summary: list[SummaryText] = msgspec.field(default_factory=list)
    content: list[ReasoningText] = msgspec.field(default_factory=list)


class FunctionCall(msgspec.Struct, tag_field="type", tag="function_call"):
    id: str
    call_id: str
    name: str
    namespace: str | UnsetType = UNSET
    status: Status = "in_progress"
    arguments: str = ""


class CustomCall(msgspec.Struct, tag_field="type", tag="custom_tool_call"):
    id: str
    call_id: str
    name: str
    namespace: str | UnsetType = UNSET
    status: Status = "in_progress"
    input: str = ""


Item: TypeAlias = Message | Reasoning | FunctionCall | CustomCall


class FunctionTool(msgspec.Struct, tag_field="type", tag="function"):
    name: str
    description: str | None
    parameters: Raw
    strict: bool  # always so: calls are bound by the grammar


class CustomTool(msgspec.Struct, tag_field="type", tag="custom"):
    name: str
    description: str | None
    format: Mapping[str, str]


class Namespace(msgspec.Struct, tag_field="type", tag="namespace"):
    name: str
    description: str | None
    tools: list[FunctionTool | CustomTool]


Tool: TypeAlias = FunctionTool | CustomTool | Namespace


class TextFormat(msgspec.Struct):
    type: str
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    schema: Raw | UnsetType = UNSET
    strict: bool | UnsetType = UNSET


class Text(msgspec.Struct):
    format: TextFormat
    verbosity: str | UnsetType = UNSET  # as it was asked for; it changes nothing


class Effort(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class ToolChoice(msgspec.Struct):
    type: str
    name: str | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    tools: list[dict[str, str]] | UnsetType = UNSET


class CachedTokens(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int  # what was computed; all of it can be found again


class ReasoningTokens(msgspec.Struct):
    reasoning_tokens: int


class Usage(msgspec.Struct):
    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class Cut(msgspec.Struct):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class Broken(msgspec.Struct):
    code: Literal[
        "server_error", "rate_limit_exceeded", "invalid_prompt", "context_length_exceeded"
    ]
    message: str


class Response(msgspec.Struct, kw_only=True):
    """As a request asks for it; `begin` it, then let it `end`."""

    id: str = ""
    object: Literal["response"] = "response"
    created_at: int = 0  # Unix seconds
    status: Status = "in_progress"
    background: bool
    completed_at: int | None = None
    error: Broken | None = None
    incomplete_details: Cut | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: Mapping[str, str]
    model: str = ""
    output: list[Item] = msgspec.field(default_factory=list)
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: Effort
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: bool  # whether it is kept, and may be asked for
    temperature: float
    text: Text
    tool_choice: str | ToolChoice
    tools: list[Tool]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: Usage | None = None
    user: str | None
    timings: Timings | UnsetType = UNSET

    def begin(self, head: Head) -> None:
        self.id, self.created_at, self.model = head.id, head.created, head.model

    def end(self, finished: Finished) -> None:
        """With its `output` complete."""
        ended = Ended(1, 1)
        ended.add(0, finished)
        took_s = finished.timings.ttft_s + finished.timings.decode_s
        self.status = status_at(finished)
        if self.status == "completed":
            self.completed_at = self.created_at + int(took_s)
        else:
            self.incomplete_details = Cut()
        self.usage, self.timings = _usage(finished), ended.timings()


def status_at(finished: Finished) -> Status:
    return "incomplete" if finished.is_cut else "completed"


def status_of_last(finished: Finished) -> Status:
    """The last item's: a call may have been cut where the client wanted the answer to end."""
    return "incomplete" if finished.is_in_call else status_at(finished)


def _usage(finished: Finished) -> Usage:
    n_prompt, n_cached, n_output = finished.n_prompt, finished.n_cached, finished.n_output
    return Usage(
        n_prompt,
        CachedTokens(n_cached, n_prompt - n_cached),
        n_output,
        ReasoningTokens(finished.n_reasoning),
        n_prompt + n_output,
    )
