"""`{"name": ..., "parameters": {...}}` as the whole answer: Llama 3.1 to 3.3.

Nothing marks it, so it counts as an answer's first text only, and a name of ours must be in it:
from there on it is bound, as any other JSON may be the answer itself.
`<|python_tag|>` may stand before, or before a built-in's call, `brave_search.call(query="...")`.
Their template takes one call in a message, so a grammar writes one, and past ones are told apart.
"""

import json
from collections.abc import Sequence

from edgellm.chat import json_source
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Message, Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import one_call_each
from edgellm.chat.tools.json_form import object_rule, read_all
from edgellm.chat.tools.marked import marked_format

_TAG = "<|python_tag|>"


def speaks(source: str) -> bool:
    return _TAG in source or '"parameters": dictionary of argument name and its value' in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from source.skip()
    if (yield from source.peek()) in ("{", "["):
        yield from read_all(source, calls, between=";,")
    else:
        yield from _read_built_in(source, calls)


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    return rules.either([object_rule(rules, tool, arguments="parameters") for tool in tools])


def adapt(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    return one_call_each(messages)


def _read_built_in(source: Source, calls: Calls) -> Reading[None]:
    name, _ = yield from source.take_until(".call(", most=calls.max_name)
    yield calls.begin(name)
    source.unmark()
    while not (yield from source.accepts(")")):
        key, _ = yield from source.take_until("=")
        yield calls.member(key.strip())
        yield from json_source.tell_value(source, calls.arguments)
        yield from source.skip(", ")
    yield calls.end_members()
    source.mark()


def binds(tool: Tool) -> str:
    """A JSON object is a call from its name on; before, it may be an answer."""
    return f'{{"name": {json.dumps(tool.name)}'


FORMAT = marked_format(
    "llama-3", speaks, read, rule, starts=(_TAG,), opens=("{", "["), binds=binds, adapt=adapt
)
