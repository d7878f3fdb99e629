"""Tools as Anthropic's clients write them, to ours.

Those that its servers run (web_search_…), and those whose schema only its models know (bash_…,
text_editor_…), have a type of their own: they are refused by it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import Raw

from edgellm.chat.messages import Tool, ToolChoice
from edgellm.errors import BadRequest
from edgellm.server.openai import messages as openai
from edgellm.server.openai.messages import FunctionBody, Name
from edgellm.server.openai.unserved import NULL


class ToolBody(msgspec.Struct):
    name: Name | None = None
    type: Name | None = None
    description: str | None = None
    input_schema: Raw = NULL


class ChoiceBody(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


def tools(given: Sequence[ToolBody]) -> tuple[Tool, ...]:
    """Raises BadRequest that names the tool's place."""
    return openai.tools(_functions(given), schema_field="input_schema")


def tool_choice(given: ChoiceBody | None, tools: Iterable[Tool]) -> ToolChoice:
    """Raises BadRequest for a choice that there is nothing for."""
    if given is None or given.type == "auto":
        return ToolChoice("auto")
    if given.type == "none":
        return ToolChoice("none")
    if not tools:
        raise BadRequest("tool_choice: there are no tools to choose from", param="tool_choice")
    if given.type == "any":
        return ToolChoice("required")
    if not given.name:
        raise BadRequest("tool_choice.name: is missing", param="tool_choice.name")
    return ToolChoice("required", (given.name,))


def may_call_several(given: ChoiceBody | None) -> bool:
    """One tool by its name: one call."""
    return given is None or not (given.type == "tool" or given.disable_parallel_tool_use)


def _functions(given: Sequence[ToolBody]) -> Iterator[tuple[str, FunctionBody]]:
    for i, one in enumerate(given):
        where = f"tools[{i}]"
        if one.type not in (None, "custom"):
            raise BadRequest(
                f"{where}: a tool of type {one.type[:40]!r} is not served, only those that bring "
                "their input_schema",
                param=where,
            )
        if one.name is None:
            raise BadRequest(f"{where}.name: is missing", param=f"{where}.name")
        yield where, FunctionBody(one.name, one.description, one.input_schema)
