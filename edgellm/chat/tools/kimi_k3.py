"""`<|open|>call tool="NAME" index="1"<|sep|>` and an `argument` for each parameter: Kimi K3.

Thoughts, text and calls are sections of one message. A value says itself of which type it is.
(llama.cpp: common/parsers/kimi-k3.cpp)
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from edgellm.chat import schema
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.json_source import is_json, quoted, tell_quoted
from edgellm.chat.messages import Tool
from edgellm.chat.schema import Schema
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.marked import marked_format

_SEPARATOR = "<|sep|>"
_TOOLS, _END_TOOLS = f"<|open|>tools{_SEPARATOR}", f"<|close|>tools{_SEPARATOR}"
_CALL, _END_CALL = '<|open|>call tool="', f"<|close|>call{_SEPARATOR}"
_ARGUMENT, _END_ARGUMENT = '<|open|>argument key="', f"<|close|>argument{_SEPARATOR}"
_TEXT, _END_TEXT = f"<|open|>response{_SEPARATOR}", f"<|close|>response{_SEPARATOR}"
_END_MESSAGE = f"<|close|>message{_SEPARATOR}"
_STRING = 'type="string"'
_MAX_ATTRIBUTES = 64  # characters


def speaks(source: str) -> bool:
    return all(mark in source for mark in ("<|open|>", "<|close|>", "<|end_of_msg|>"))


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from source.skip()
    found = yield from source.expect(_CALL)
    while found == _CALL:
        yield from _read_call(source, calls)
        yield from source.skip()
        found = yield from source.accepts(_CALL, _END_TOOLS)
    if not found:
        yield from source.ends_with(_END_TOOLS)
    source.mark()


def _read_call(source: Source, calls: Calls) -> Reading[None]:
    name, _ = yield from source.take_until('"', most=calls.max_name)
    yield from source.take_until(_SEPARATOR, most=_MAX_ATTRIBUTES)
    yield calls.begin(name)
    source.mark()
    while True:
        yield from source.skip()
        if (yield from source.expect(_ARGUMENT, _END_CALL)) == _END_CALL:
            break
        key, _ = yield from source.take_until('"')
        attributes, _ = yield from source.take_until(_SEPARATOR, most=_MAX_ATTRIBUTES)
        yield calls.member(key)
        source.unmark()
        if _STRING in attributes:
            yield from tell_quoted(source, _END_ARGUMENT, calls.arguments)
        else:
            source.mark()
            text, _ = yield from source.take_until(_END_ARGUMENT)
            yield calls.arguments(text if is_json(text) else quoted(text))
        source.mark()
    yield calls.end_members()
    source.mark()


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    each = []
    for tool in tools:
        begin, named = rules.text(f'{_CALL}{tool.name}" index="'), rules.text(f'"{_SEPARATOR}')
        arguments = " ".join(
            rule if is_required else f"{rule}?"
            for rule, is_required in (
                (_argument_rule(rules, tool, key, wanted), is_required)
                for key, (wanted, is_required) in schema.members(schema.parameters(tool)).items()
            )
        )
        each.append(f"{begin} /[0-9]{{1,3}}/ {named} {arguments} {rules.text(_END_CALL)}")
    calls = repeated(rules, rules.either(each), "", parallel)
    return rules.add(f"{rules.text(_TOOLS)} {calls} {rules.text(_END_TOOLS)}")


def _argument_rule(rules: Rules, tool: Tool, key: str, wanted: Schema) -> str:
    kinds, options = schema.types(wanted), schema.options(wanted)
    end = rules.text(_END_ARGUMENT)
    if options is not None:
        ways = [
            f"{_begin(rules, key, schema.type_of(one))} {rules.plain(_written(one))} {end}"
            for one in options
        ]
        return rules.either(ways)
    if not kinds or "string" in kinds:
        return rules.add(f"{_begin(rules, key, 'string')} {rules.until(_END_ARGUMENT)}")
    begins = [_begin(rules, key, kind) for kind in sorted({_word(kind) for kind in kinds})]
    value = rules.json(wanted, f"tool {tool.name!r}, parameter {key!r}")
    return rules.add(f"{rules.either(begins)} {value} {end}")


def _begin(rules: Rules, key: str, kind: str) -> str:
    return rules.text(f'{_ARGUMENT}{key}" type="{_word(kind)}"{_SEPARATOR}')


def _word(kind: str) -> str:
    return "number" if kind == "integer" else kind


def _written(option: schema.Scalar) -> str:
    return option if isinstance(option, str) else json.dumps(option)


def preface(rules: Rules) -> str:
    return rules.add(f"{rules.text(_TEXT)}?")


FORMAT = replace(
    marked_format(
        "kimi-k3",
        speaks,
        read,
        rule,
        starts=(_TOOLS,),
        markers=(_CALL, _END_CALL, _ARGUMENT, _END_ARGUMENT, _END_TOOLS),
        wrappers=(_TEXT, _END_TEXT, _END_MESSAGE),
        ends_thought=True,
    ),
    preface=preface,
)
