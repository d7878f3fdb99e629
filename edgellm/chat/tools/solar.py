"""`<|tool_call:begin|>ID<|tool_call:name|>NAME<|tool_call:args|>{...}`: Upstage's Solar Open.

Thoughts, text and calls are messages of their own, and the prompt has written the first one's
begin. (llama.cpp: models/templates/upstage-Solar-Open-100B.jinja)
"""

from collections.abc import Sequence
from dataclasses import replace

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.json_form import arguments_rule, tell_call
from edgellm.chat.tools.marked import marked_format
from edgellm.chat.tools.section import Section

_CALL, _END_CALL = "<|tool_call:begin|>", "<|tool_call:end|>"
_SECTION = Section("<|tool_calls|>", "<|calls|>", _CALL, _END_CALL)
_NAME, _ARGUMENTS = "<|tool_call:name|>", "<|tool_call:args|>"
_BEGIN, _CONTENT, _END = "<|begin|>assistant", "<|content|>", "<|end|>"
_MARKERS = (_NAME, _ARGUMENTS, _END_CALL, _SECTION.end)
_MAX_ID = 64


def speaks(source: str) -> bool:
    return _CALL in source and _NAME in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from _SECTION.read(source, start.removeprefix(_BEGIN), _read_call, calls)


def _read_call(source: Source, calls: Calls) -> Reading[None]:
    yield from source.take_until(_NAME, most=_MAX_ID)
    name, _ = yield from source.take_until(_ARGUMENTS, most=calls.max_name)
    yield from tell_call(source, calls, name.strip())


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    begin, end = rules.text(_CALL), rules.text(_END_CALL)
    each = []
    for tool in tools:
        name = rules.text(f"{_NAME}{tool.name}{_ARGUMENTS}")
        each.append(f"{begin} /[a-z0-9]{{10}}/ {name} {arguments_rule(rules, tool)} {end}")
    calls = repeated(rules, rules.either(each), "", parallel)
    return rules.add(f"{rules.text(_BEGIN)}? {rules.text(_SECTION.begin)} {calls}")


def preface(rules: Rules) -> str:
    return rules.add(f"{rules.text(_BEGIN)}? {rules.text(_CONTENT)}")


FORMAT = replace(
    marked_format(
        "solar",
        speaks,
        read,
        rule,
        starts=(_BEGIN + _SECTION.begin, *_SECTION.starts),
        markers=_MARKERS,
        wrappers=(_BEGIN, _CONTENT, _END),
        ends_thought=True,
    ),
    preface=preface,
)
