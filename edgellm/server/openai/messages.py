"""Messages and tools as OpenAI's clients send them, to our values.

`reasoning_content` in an assistant's message is DeepSeek's and llama-server's word for its
thoughts, `reasoning` Ollama's; both are taken.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import Message, Tool, ToolCall, ToolChoice
from edgellm.errors import BadRequest
from edgellm.server.body import json_value, raw_text
from edgellm.server.openai import attached
from edgellm.server.openai.images import Gallery, ImageURL, InputAudio
from edgellm.server.openai.structure import schema_text
from edgellm.server.openai.unserved import NULL

MAX_TOOLS, MAX_TOOLS_CHARS = 256, 256 * 1024  # agents offer those of many MCP servers
MAX_PARTS = 4096  # of one message
MAX_MESSAGES = 4096
MAX_ITEMS = 16384  # where an agent's turn is many

Name: TypeAlias = Annotated[str, Meta(max_length=512)]

# What every format can write, and tell from what stands around it.
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")


class FileBody(msgspec.Struct):
    file_data: str | None = None
    filename: Name | None = None


class Part(msgspec.Struct):
    type: Name
    text: str | None = None
    refusal: str | None = None  # of an assistant's
    image_url: ImageURL | str | None = None  # some clients send the URL itself
    input_audio: InputAudio | None = None
    file: FileBody | None = None


class CalledFunction(msgspec.Struct):
    name: Name
    arguments: Raw = NULL  # JSON text in a string; some clients send the object itself


class CallBody(msgspec.Struct):
    function: CalledFunction
    id: Name | None = None
    type: Literal["function"] | None = None


class ChatMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Meta(max_length=MAX_PARTS)] | None = None
    name: Name | None = None
    tool_calls: Annotated[list[CallBody], Meta(max_length=128)] | None = None
    tool_call_id: Name | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class FunctionBody(msgspec.Struct):
    name: Name
    description: str | None = None
    parameters: Raw = NULL


class ToolBody(msgspec.Struct):
    type: Literal["function"]
    function: FunctionBody


class NamedFunction(msgspec.Struct):
    name: Name


class NamedChoice(msgspec.Struct, tag_field="type", tag="function"):
    function: NamedFunction


class AllowedTool(msgspec.Struct):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(msgspec.Struct):
    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1, max_length=MAX_TOOLS)]


class AllowedChoice(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    """All tools stay in the prompt, where they are cached; these may be called."""

    allowed_tools: AllowedTools


Choice: TypeAlias = Literal["auto", "none", "required"] | NamedChoice | AllowedChoice


def message(i: int, given: ChatMessage, gallery: Gallery) -> Message:
    """Raises BadRequest for parts that are neither text, picture, sound nor a file of text."""
    where = f"messages[{i}]"
    if given.tool_calls and given.role != "assistant":
        raise BadRequest(f"{where}.tool_calls: only an assistant calls tools", param=where)
    parts = given.content if isinstance(given.content, list) else []
    written = [_written(part, f"{where}.content[{n}]", gallery) for n, part in enumerate(parts)]
    text = given.content if isinstance(given.content, str) else None
    calls = given.tool_calls or []
    return Message(
        role=given.role,
        text=text if text is not None else "".join(written),
        name=given.name or None,
        reasoning=given.reasoning_content or given.reasoning or None,
        tool_calls=tuple(
            _call(call, f"call_{i}_{n}", f"{where}.tool_calls[{n}].function.arguments")
            for n, call in enumerate(calls)
        ),
        tool_call_id=given.tool_call_id or None,
    )


def _written(part: Part, where: str, gallery: Gallery) -> str:
    if part.type == "image_url" and part.image_url is not None:
        return gallery.add(part.image_url, where)
    if part.type == "input_audio" and part.input_audio is not None:
        return gallery.add_audio(part.input_audio, where)
    if part.type == "refusal" and part.refusal is not None:
        return part.refusal
    if part.type == "file" and part.file is not None:
        return attached.file(part.file.file_data, part.file.filename, where)
    if part.type != "text" or part.text is None:
        raise BadRequest(
            f"{where}: a part of type {part.type[:40]!r} is not served, only text, image_url, "
            "input_audio and file",
            param=where,
        )
    return part.text


def tools(
    given: Iterable[tuple[str, FunctionBody]], *, schema_field: str = "parameters"
) -> tuple[Tool, ...]:
    """Each with its place in the request, and what its schema is called there. Raises BadRequest
    that names it."""
    found: dict[str, Tool] = {}
    n_chars = 0
    for where, one in given:
        name = one.name
        place = f"{where}.{schema_field}"
        schema = schema_text(one.parameters, place) or "{}"
        n_chars += len(schema)
        if n_chars > MAX_TOOLS_CHARS:
            raise BadRequest(
                f"tools: their schemas are longer than {MAX_TOOLS_CHARS} characters", param="tools"
            )
        if not _TOOL_NAME.fullmatch(name):
            raise BadRequest(
                f"{where}.name: {name[:40]!r} is not 1 to 128 letters, digits and _ . : / -",
                param=f"{where}.name",
            )
        if name in found:
            raise BadRequest(f"{where}.name: {name!r} is there twice", param=f"{where}.name")
        parameters = json_value(schema, place)
        _check(parameters, place)
        found[name] = Tool(name, parameters, one.description or "")
    return tuple(found.values())


def tool_choice(given: Choice | None, tools: Sequence[Tool]) -> ToolChoice:
    """Raises BadRequest for a choice that there is nothing for."""
    match given:
        case NamedChoice(function):
            choice = ToolChoice("required", (function.name,))
        case AllowedChoice(allowed):
            names = dict.fromkeys(one.function.name for one in allowed.tools)
            choice = ToolChoice(allowed.mode, tuple(names))
        case mode:
            choice = ToolChoice(mode or "auto")
    if choice.mode == "required" and not tools:
        raise BadRequest("tool_choice: there are no tools to choose from", param="tool_choice")
    return choice


def _call(given: CallBody, fallback_id: str, param: str) -> ToolCall:
    text = raw_text(given.function.arguments, param).strip()
    if text.startswith('"'):
        text = msgspec.json.decode(text, type=str).strip()
    arguments = "{}" if text in ("", "null") else text
    return ToolCall(given.id or fallback_id, given.function.name, arguments)


def _check(parameters: dict[str, Any], where: str) -> None:
    """What all formats need of it. Everything deeper is llguidance's to understand."""
    for key, kind, words in (
        ("type", str, '"object"'),
        ("properties", dict, "an object"),
        ("required", list, "a list"),
    ):
        value = parameters.get(key)
        if value is not None and (
            not isinstance(value, kind) or (key == "type" and value != "object")
        ):
            raise BadRequest(f"{where}.{key}: must be {words}", param=f"{where}.{key}")
