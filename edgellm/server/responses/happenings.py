"""What a stream tells of a response, each with its place in it. Their numbers are the stream's."""

import msgspec

from edgellm.server.openai.wire import ShownToken
from edgellm.server.responses.object import (
    Item,
    OutputText,
    ReasoningText,
    Response,
    SummaryText,
)


class Happening(msgspec.Struct, tag_field="type", kw_only=True):
    sequence_number: int = 0


class Created(Happening, tag="response.created", kw_only=True):
    response: Response


class Queued(Happening, tag="response.queued", kw_only=True):
    response: Response


class InProgress(Happening, tag="response.in_progress", kw_only=True):
    response: Response


class Completed(Happening, tag="response.completed", kw_only=True):
    response: Response


class Incomplete(Happening, tag="response.incomplete", kw_only=True):
    response: Response


class Failed(Happening, tag="response.failed", kw_only=True):
    response: Response


class OfItem(Happening, kw_only=True):
    output_index: int


class ItemAdded(OfItem, tag="response.output_item.added", kw_only=True):
    item: Item


class ItemDone(OfItem, tag="response.output_item.done", kw_only=True):
    item: Item


class Inside(OfItem, kw_only=True):
    item_id: str


class OfContent(Inside, kw_only=True):
    content_index: int = 0


class PartAdded(OfContent, tag="response.content_part.added", kw_only=True):
    part: OutputText | ReasoningText


class PartDone(OfContent, tag="response.content_part.done", kw_only=True):
    part: OutputText | ReasoningText


class TextDelta(OfContent, tag="response.output_text.delta", kw_only=True):
    delta: str
    logprobs: list[ShownToken]


class TextDone(OfContent, tag="response.output_text.done", kw_only=True):
    text: str
    logprobs: list[ShownToken]


class ReasoningDelta(OfContent, tag="response.reasoning_text.delta", kw_only=True):
    delta: str


class ReasoningDone(OfContent, tag="response.reasoning_text.done", kw_only=True):
    text: str


class OfSummary(Inside, kw_only=True):
    summary_index: int = 0


class SummaryAdded(OfSummary, tag="response.reasoning_summary_part.added", kw_only=True):
    part: SummaryText


class SummaryDelta(OfSummary, tag="response.reasoning_summary_text.delta", kw_only=True):
    delta: str


class SummaryTextDone(OfSummary, tag="response.reasoning_summary_text.done", kw_only=True):
    text: str


class SummaryDone(OfSummary, tag="response.reasoning_summary_part.done", kw_only=True):
    part: SummaryText


class ArgumentsDelta(Inside, tag="response.function_call_arguments.delta", kw_only=True):
    delta: str


class ArgumentsDone(Inside, tag="response.function_call_arguments.done", kw_only=True):
    arguments: str


class InputDelta(Inside, tag="response.custom_tool_call_input.delta", kw_only=True):
    delta: str


class InputDone(Inside, tag="response.custom_tool_call_input.done", kw_only=True):
    input: str
