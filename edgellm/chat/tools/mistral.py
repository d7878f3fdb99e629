"""`[TOOL_CALLS]`, then a list of objects, or `NAME[ARGS]{...}` for each: Mistral's models.

Ids in their templates are nine letters or digits long. (llama.cpp: common/parsers/ministral3.cpp)
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Message, Tool
from edgellm.chat.source import Broken, Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.json_form import (
    arguments_rule,
    object_rule,
    read_list,
    read_object,
    tell_call,
)
from edgellm.chat.tools.marked import marked_format

_START, _ARGUMENTS, _ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_ID_LENGTH = 9


def speaks(source: str) -> bool:
    return _START in source


def speaks_with_arguments(source: str) -> bool:
    return _START in source and _ARGUMENTS in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    """Whichever way it is written: some models were trained on both."""
    yield from source.skip()
    first = yield from source.peek()
    if first == "{":
        yield from read_object(source, calls)
    elif first == "[":
        yield from read_list(source, calls)
    else:
        name = yield from source.take_while(lambda character: character not in "[{", calls.max_name)
        mark = yield from source.accepts(_ARGUMENTS, _ID)
        if mark == _ID:
            yield from source.take_until(_ARGUMENTS, most=calls.max_name)
        elif not mark and (yield from source.peek()) != "{":
            raise Broken("no arguments")
        yield from tell_call(source, calls, name.strip())


def list_rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    one = rules.either([object_rule(rules, tool) for tool in tools])
    calls = repeated(rules, one, ", ", parallel)
    return rules.add(
        f"{rules.text(_START)} {rules.plain(' ')}? {rules.plain('[')} {calls} {rules.plain(']')}"
    )


def args_rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    calls = [
        rules.add(f"{rules.text(_START + tool.name + _ARGUMENTS)} {arguments_rule(rules, tool)}")
        for tool in tools
    ]
    return repeated(rules, rules.either(calls), "", parallel)


def write_list(called: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    several = [{"name": name, "arguments": arguments} for name, arguments in called]
    return f"{_START} {json.dumps(several, ensure_ascii=False)}"


def write_args(called: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    each = [(name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in called]
    return "".join(f"{_START}{name}{_ARGUMENTS}{arguments}" for name, arguments in each)


def adapt(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    """Other servers' ids become some of nine characters, the same ones each time."""
    return [
        replace(
            message,
            tool_calls=tuple(replace(one, id=_short(one.id)) for one in message.tool_calls),
            tool_call_id=_short(message.tool_call_id) if message.tool_call_id else None,
        )
        for message in messages
    ]


def _short(id: str) -> str:
    if len(id) == _ID_LENGTH and id.isalnum() and id.isascii():
        return id
    return hashlib.sha256(id.encode()).hexdigest()[:_ID_LENGTH]


_STARTS, _MARKERS = (_START,), (_ARGUMENTS, _ID)
LIST = marked_format(
    "mistral",
    speaks,
    read,
    list_rule,
    _STARTS,
    markers=_MARKERS,
    adapt=adapt,
    write=write_list,
)
WITH_ARGUMENTS = marked_format(
    "mistral-args",
    speaks_with_arguments,
    read,
    args_rule,
    _STARTS,
    markers=_MARKERS,
    adapt=adapt,
    write=write_args,
)
