"""`<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}`: Kimi K2.

The id is the name and the call's number in the conversation; its template shows no other name.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgellm.chat.lark import Rules
from edgellm.chat.messages import Message, Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.json_form import arguments_rule, tell_call
from edgellm.chat.tools.marked import marked_format

_CALLS, _END_CALLS = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_CALL, _END_CALL = "<|tool_call_begin|>", "<|tool_call_end|>"
_ARGUMENTS = "<|tool_call_argument_begin|>"
_MARKERS = (_ARGUMENTS, _END_CALL, _END_CALLS)
_PREFIX = "functions."


def speaks(source: str) -> bool:
    return _CALLS in source and _CALL in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from source.skip()
    if start == _CALLS:
        yield from source.expect(_CALL)
    while True:
        id, _ = yield from source.take_until(_ARGUMENTS)
        name = id.strip().removeprefix(_PREFIX).rpartition(":")[0] or id.strip()
        yield from tell_call(source, calls, name)
        yield from source.skip()
        yield from source.accepts(_END_CALL)
        yield from source.skip()
        source.mark()
        if not (yield from source.accepts(_CALL)):
            break
    yield from source.accepts(_END_CALLS)
    source.mark()


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    each = []
    for tool in tools:
        name, mark = rules.text(f"{_CALL}{_PREFIX}{tool.name}:"), rules.text(_ARGUMENTS)
        each.append(f"{name} /[0-9]{{1,3}}/ {mark} {arguments_rule(rules, tool)}")
    call = rules.add(f"{rules.either(each)} {rules.text(_END_CALL)}")
    calls = repeated(rules, call, "", parallel)
    return rules.add(f"{rules.text(_CALLS)} {calls} {rules.text(_END_CALLS)}")


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
    "kimi", speaks, read, rule, starts=(_CALLS, _CALL), markers=_MARKERS, adapt=adapt
)
