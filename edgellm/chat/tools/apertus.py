"""`<|tools_prefix|>[{"NAME": {...}}, ...]<|tools_suffix|>`: the Swiss Apertus.

It calls in the midst of its thoughts, too. (llama.cpp: models/templates/Apertus-8B-Instruct.jinja)
"""

import json
from collections.abc import Sequence
from functools import partial

from edgellm.chat import json_source
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.json_form import arguments_rule, read_list, read_up_to, tell_call
from edgellm.chat.tools.marked import marked_format

_OPEN, _CLOSE = "<|tools_prefix|>", "<|tools_suffix|>"


def speaks(source: str) -> bool:
    return _OPEN in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from read_up_to(source, calls, _CLOSE, partial(read_list, read_one=_read_call))


def _read_call(source: Source, calls: Calls) -> Reading[None]:
    yield from source.expect("{")
    name = yield from json_source.string(source)
    yield from source.skip()
    yield from source.expect(":")
    yield from tell_call(source, calls, name)
    yield from source.skip()
    yield from source.expect("}")
    source.mark()


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    each = []
    for tool in tools:
        begin, end = rules.plain(f"{{{json.dumps(tool.name)}: "), rules.plain("}")
        each.append(f"{begin} {arguments_rule(rules, tool)} {end}")
    calls = repeated(rules, rules.either(each), ", ", parallel)
    return rules.add(f"{rules.text(f'{_OPEN}[')} {calls} {rules.text(f']{_CLOSE}')}")


FORMAT = marked_format(
    "apertus", speaks, read, rule, starts=(_OPEN,), markers=(_CLOSE,), ends_thought=True
)
