"""`<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}`: Kimi K2.

The id is the name and the call's number in the conversation; its template shows no other name.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Message, Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.json_form import arguments_rule, tell_call
from edgellm.chat.tools.marked import marked_format
from edgellm.chat.tools.section import Section

_CALL, _END_CALL = "<|tool_call_begin|>", "<|tool_call_end|>"
_SECTION = Section("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", _CALL, _END_CALL)
_ARGUMENTS = "<|tool_call_argument_begin|>"
_MARKERS = (_ARGUMENTS, _END_CALL, _SECTION.end)
_PREFIX = "functions."


def speaks(source: str) -> bool:
    return _SECTION.begin in source and _CALL in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from _SECTION.read(source, start, _read_call, calls)


def _read_call(source: Source, calls: Calls) -> Reading[None]:
    id, _ = yield from source.take_until(_ARGUMENTS, most=calls.max_name)
    name = id.strip().removeprefix(_PREFIX).rpartition(":")[0] or id.strip()
    yield from tell_call(source, calls, name)


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    each, mark, end = [], rules.text(_ARGUMENTS), rules.text(_END_CALL)
    for tool in tools:
        name = rules.text(f"{_CALL}{_PREFIX}{tool.name}:")
        each.append(f"{name} /[0-9]{{1,3}}/ {mark} {arguments_rule(rules, tool)} {end}")
    return _SECTION.rule(rules, each, "", parallel)


def adapt(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    """Every id as the model would have written it."""
    called = [call for message in messages for call in message.tool_calls]
    ids = {call.id: f"{_PREFIX}{call.name}:{n}" for n, call in enumerate(called)}
    return [
        replace(
            message,
            tool_calls=tuple(replace(call, id=ids[call.id]) for call in message.tool_calls),
            tool_call_id=ids.get(message.tool_call_id or "", message.tool_call_id),
        )
        for message in messages
    ]


FORMAT = marked_format(
    "kimi", speaks, read, rule, _SECTION.starts, markers=_MARKERS, ends_thought=True, adapt=adapt
)
