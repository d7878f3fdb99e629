"""A message as it is written, and what a stream tells of it."""

from typing import TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from edgellm.chat.events import Finished

encode = msgspec.json.Encoder().encode

# What stands where Anthropic signs a thought. Clients want one, and nobody here looks at it.
SIGNATURE = "edgellm"


class Thinking(msgspec.Struct, tag_field="type", tag="thinking"):
    thinking: str = ""
    signature: str = ""


class Text(msgspec.Struct, tag_field="type", tag="text"):
    text: str = ""


class ToolUse(msgspec.Struct, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: Raw = Raw(b"{}")


Block: TypeAlias = Thinking | Text | ToolUse


class OutputDetails(msgspec.Struct):
    thinking_tokens: int


class Usage(msgspec.Struct):
    """`input_tokens` are those that were read for this message alone, as Anthropic counts them."""

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0  # nobody pays for it here, and so nothing is counted
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    output_tokens_details: OutputDetails | UnsetType = UNSET  # where there were thoughts


class Message(msgspec.Struct, tag_field="type", tag="message"):
    id: str
    model: str
    role: str = "assistant"
    content: list[Block] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Usage = msgspec.field(default_factory=Usage)


class ThinkingDelta(msgspec.Struct, tag_field="type", tag="thinking_delta"):
    thinking: str


class SignatureDelta(msgspec.Struct, tag_field="type", tag="signature_delta"):
    signature: str


class TextDelta(msgspec.Struct, tag_field="type", tag="text_delta"):
    text: str


class InputDelta(msgspec.Struct, tag_field="type", tag="input_json_delta"):
    partial_json: str


class MessageStart(msgspec.Struct, tag_field="type", tag="message_start"):
    message: Message


class BlockStart(msgspec.Struct, tag_field="type", tag="content_block_start"):
    index: int
    content_block: Block


class BlockDelta(msgspec.Struct, tag_field="type", tag="content_block_delta"):
    index: int
    delta: ThinkingDelta | SignatureDelta | TextDelta | InputDelta


class BlockStop(msgspec.Struct, tag_field="type", tag="content_block_stop"):
    index: int


class Ending(msgspec.Struct):
    stop_reason: str | None
    stop_sequence: str | None


class MessageDelta(msgspec.Struct, tag_field="type", tag="message_delta"):
    delta: Ending
    usage: Usage


class MessageStop(msgspec.Struct, tag_field="type", tag="message_stop"):
    pass


Happening: TypeAlias = (
    MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop
)


def usage_of(finished: Finished) -> Usage:
    return Usage(
        input_tokens=finished.n_prompt - finished.n_cached,
        cache_read_input_tokens=finished.n_cached,
        output_tokens=finished.n_output,
        output_tokens_details=OutputDetails(finished.n_reasoning)
        if finished.n_reasoning
        else UNSET,
    )


def ending_of(finished: Finished, stop_sequences: tuple[str, ...], n_max: int | None) -> Ending:
    """A stop string that the model's template brought is its own way to end. An answer that was
    cut shorter than it might have been has filled the context."""
    match finished.end:
        case "calls":
            return Ending("tool_use", None)
        case "length" if n_max is None or finished.n_output < n_max:
            return Ending("model_context_window_exceeded", None)
        case "length" | "deadline":
            return Ending("max_tokens", None)
        case "stop_word" if finished.stop_word in stop_sequences:
            return Ending("stop_sequence", finished.stop_word)
        case _:
            return Ending("end_turn", None)
