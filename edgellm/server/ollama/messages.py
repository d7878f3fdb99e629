"""Messages and tools as Ollama's clients send them, to our values.

Tools are OpenAI's. What differs in messages: a call's arguments are an object, a result names its
tool (`tool_name`), thoughts are `thinking`, and pictures are base64 beside the text.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import Message, Tool, ToolCall
from edgellm.chat.pictures import MAX_PICTURES
from edgellm.errors import BadRequest
from edgellm.server.body import object_text
from edgellm.server.openai.images import Gallery
from edgellm.server.openai.messages import FunctionBody, Name, tools
from edgellm.server.openai.unserved import NULL

Images = Annotated[list[str], Meta(max_length=MAX_PICTURES)]


class CalledFunction(msgspec.Struct):
    name: Name
    arguments: Raw = NULL


class CallBody(msgspec.Struct):
    function: CalledFunction
    id: Name | None = None


class ChatMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: Images | None = None
    tool_calls: Annotated[list[CallBody], Meta(max_length=128)] | None = None
    tool_name: Name | None = None
    tool_call_id: Name | None = None


class ToolOffer(msgspec.Struct):
    """OpenAI's, whose `type` may be absent."""

    function: FunctionBody
    type: Literal["function"] | None = None


def message(i: int, given: ChatMessage, gallery: Gallery) -> Message:
    """Raises BadRequest that names the message."""
    where = f"messages[{i}]"
    if given.tool_calls and given.role != "assistant":
        raise BadRequest(f"{where}.tool_calls: only an assistant calls tools", param=where)
    return Message(
        role=given.role,
        text=with_pictures(given.content or "", given.images or (), gallery, where),
        name=given.tool_name or None,
        reasoning=given.thinking or None,
        tool_calls=tuple(
            _call(call, f"call_{i}_{n}", f"{where}.tool_calls[{n}].function.arguments")
            for n, call in enumerate(given.tool_calls or ())
        ),
        tool_call_id=given.tool_call_id or None,
    )


def with_pictures(text: str, images: Sequence[str], gallery: Gallery, where: str) -> str:
    """The text behind its pictures, as Ollama places them. Raises BadRequest."""
    marks = (
        gallery.add(image if image[:5].lower() == "data:" else f"data:;base64,{image}", place)
        for place, image in ((_image_at(where, n), image) for n, image in enumerate(images))
    )
    return "".join(marks) + text


def offered(given: Sequence[ToolOffer]) -> tuple[Tool, ...]:
    """Raises BadRequest that names the tool's place."""
    return tools((f"tools[{i}].function", one.function) for i, one in enumerate(given))


def _image_at(where: str, n: int) -> str:
    return f"{where}.images[{n}]" if where else f"images[{n}]"


def _call(given: CallBody, fallback_id: str, param: str) -> ToolCall:
    arguments = object_text(given.function.arguments, param) or "{}"
    return ToolCall(given.id or fallback_id, given.function.name, arguments)
