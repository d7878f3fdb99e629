"""Tools as the Responses API writes them, to our values, and back to the names that the client has.

Functions are as in a chat. A `custom` tool takes one text that is no JSON: the model is shown a
function of one string, and what it writes there goes back as the tool's input. Functions in a
`namespace` (an MCP server's, an agent's) carry its name before their own.

What OpenAI's servers do themselves is not done here. Agents offer a web search and pictures to
every model, beside the functions that they run themselves: there these are passed over, and the
response's `tools` shows it. Where nothing else is offered, the answer would be a guess that looks
like a finding: they are refused, as all others are wherever they come.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw

from edgellm.chat import messages as chat
from edgellm.errors import BadRequest
from edgellm.server.body import raw_text
from edgellm.server.openai import messages as openai
from edgellm.server.openai.messages import MAX_TOOLS, FunctionBody, Name
from edgellm.server.openai.unserved import NULL
from edgellm.server.responses import object as wire

INPUT = "input"  # what a custom tool's one argument is called

_ITS_INPUT = Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],'
    b'"additionalProperties":false}'
)
_PASSED_OVER = ("web_search", "image_generation")  # and "web_search_preview", and those with dates


class FormatBody(msgspec.Struct):
    type: Literal["text", "grammar"] = "text"
    syntax: Literal["lark", "regex"] | None = None
    definition: Annotated[str, Meta(max_length=64 * 1024)] | None = None


class OwnBody(msgspec.Struct):
    type: Name
    name: Name | None = None
    description: str | None = None
    parameters: Raw = NULL
    format: FormatBody | None = None


class ToolBody(OwnBody):
    tools: Annotated[list[OwnBody], Meta(max_length=MAX_TOOLS)] | None = None


class NamedBody(msgspec.Struct):
    type: Name
    name: Name | None = None
    namespace: Name | None = None


class ChoiceBody(NamedBody):
    mode: Literal["auto", "required"] | None = None
    tools: Annotated[list[NamedBody], Meta(min_length=1, max_length=MAX_TOOLS)] | None = None


Choice: TypeAlias = Literal["auto", "none", "required"] | ChoiceBody


@dataclass(frozen=True, slots=True)
class Offered:
    """What the client calls a tool that the model knows by one name."""

    kind: Literal["function", "custom"]
    name: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    known: tuple[chat.Tool, ...]  # as the model is shown them
    offered: Mapping[str, Offered]  # by the model's names
    shown: list[wire.Tool]  # as the response repeats them


def full_name(name: str, namespace: str | None) -> str:
    """The model's name for it."""
    return f"{namespace.rstrip('_')}__{name}" if namespace else name


def tools(given: Sequence[ToolBody], more: Sequence[ToolBody] = ()) -> Tools:
    """`more`: of items of the input, which may offer the same ones again. Raises BadRequest that
    names the tool's place."""
    offered: dict[str, Offered] = {}
    functions: list[tuple[str, FunctionBody]] = []
    several = [(one, False) for one in _own(given, "tools")]
    several += [(one, True) for one in _own(more, "additional_tools")]
    for (where, tool, namespace), is_more in several:
        kind: Literal["function", "custom"] = "custom" if tool.type == "custom" else "function"
        known_as = full_name(tool.name or "", namespace)
        if is_more and known_as in offered:
            continue
        offered[known_as] = Offered(kind, tool.name or "", namespace)
        functions.append((where, _function(tool, known_as)))
    if not functions:
        for i, tool in enumerate(given):
            if is_passed_over(tool.type):
                raise _unserved(tool.type, f"tools[{i}]")
    if len(functions) > MAX_TOOLS:
        raise BadRequest(f"tools: {len(functions)} are more than {MAX_TOOLS}", param="tools")
    known = openai.tools(functions)
    return Tools(known, offered, [_shown(tool) for tool in given if not is_passed_over(tool.type)])


def tool_choice(given: Choice | None, known: Tools) -> chat.ToolChoice:
    """Raises BadRequest for a choice that there is nothing for."""
    if not isinstance(given, ChoiceBody):
        return openai.tool_choice(given, known.known)
    if given.type != "allowed_tools":
        named = openai.NamedFunction(_chosen(given, "tool_choice"))
        return openai.tool_choice(openai.NamedChoice(named), known.known)
    allowed = [
        _chosen(one, f"tool_choice.tools[{i}]")
        for i, one in enumerate(given.tools or ())
        if not is_passed_over(one.type)
    ]
    if not allowed:
        raise BadRequest("tool_choice: allows no tool that is served here", param="tool_choice")
    functions = [openai.AllowedTool("function", openai.NamedFunction(name)) for name in allowed]
    choice = openai.AllowedTools(given.mode or "auto", functions)
    return openai.tool_choice(openai.AllowedChoice(choice), known.known)


def shown_choice(given: Choice | None) -> str | wire.ToolChoice:
    if not isinstance(given, ChoiceBody):
        return given or "auto"
    allowed = [{"type": one.type, "name": one.name or ""} for one in given.tools or ()]
    if given.type == "allowed_tools":
        return wire.ToolChoice(given.type, mode=given.mode or "auto", tools=allowed)
    return wire.ToolChoice(given.type, given.name or UNSET)


def _own(given: Sequence[ToolBody], field: str) -> Iterator[tuple[str, OwnBody, str | None]]:
    """Those that the client runs itself: where each stands, it, and its namespace."""
    for i, tool in enumerate(given):
        where = f"{field}[{i}]"
        match tool.type:
            case "function" | "custom":
                yield where, tool, None
            case "namespace":
                for n, inner in enumerate(tool.tools or ()):
                    if inner.type not in ("function", "custom"):
                        raise _unserved(inner.type, f"{where}.tools[{n}]")
                    yield f"{where}.tools[{n}]", inner, tool.name
            case other if not is_passed_over(other):
                raise _unserved(other, where)


def is_passed_over(kind: str) -> bool:
    """Of a tool, or of an item that tells what it did."""
    return kind.startswith(_PASSED_OVER)


def _unserved(kind: str, where: str) -> BadRequest:
    return BadRequest(
        f"{where}: a tool of type {kind[:40]!r} is not served: this server runs no tools",
        hint="offer a function, and run it yourself",
        param=where,
    )


def _function(tool: OwnBody, known_as: str) -> FunctionBody:
    if tool.type != "custom":
        return FunctionBody(known_as, tool.description, tool.parameters)
    words = tool.description or ""
    if tool.format and tool.format.definition:
        rule = f"Its input follows this grammar ({tool.format.syntax}):\n{tool.format.definition}"
        words = f"{words}\n\n{rule}" if words else rule
    return FunctionBody(known_as, words, _ITS_INPUT)


def _shown(tool: ToolBody) -> wire.Tool:
    name = tool.name or ""
    if tool.type == "namespace":
        return wire.Namespace(name, tool.description, list(map(_shown_own, tool.tools or ())))
    return _shown_own(tool)


def _shown_own(tool: OwnBody) -> wire.FunctionTool | wire.CustomTool:
    name = tool.name or ""
    if tool.type == "custom":
        fields = msgspec.structs.asdict(tool.format or FormatBody())
        words = {key: value for key, value in fields.items() if value is not None}
        return wire.CustomTool(name, tool.description, words)
    parameters = Raw(raw_text(tool.parameters, "tools").encode())
    return wire.FunctionTool(name, tool.description, parameters, strict=True)


def _chosen(given: NamedBody, where: str) -> str:
    if given.type not in ("function", "custom"):
        raise _unserved(given.type, where)
    return full_name(given.name or "", given.namespace)
