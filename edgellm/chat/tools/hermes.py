"""`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen 2.5 and 3, others.

Qwen 2.5 Coder and small models leave the marks out, or write a fence or the tools' mark instead.
Such a call is one as an answer's first text, if it calls a tool that there is.
(vLLM: tool_parsers/qwen25_coder_tool_parser.py)
"""

from collections.abc import Sequence

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.json_form import object_rule, read_up_to
from edgellm.chat.tools.marked import marked_format

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_INSTEAD = {"```json": "```", "```": "```", "<tools>": "</tools>"}


def speaks(source: str) -> bool:
    return _OPEN in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    if start:
        yield from read_up_to(source, calls, _CLOSE)
    else:
        yield from source.skip()
        begin = yield from source.accepts(*_INSTEAD)
        yield from read_up_to(source, calls, _INSTEAD.get(begin, _CLOSE))


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    one = rules.either([object_rule(rules, tool) for tool in tools])
    begin, end = rules.text(f"{_OPEN}\n"), rules.text(f"\n{_CLOSE}")
    return repeated(rules, rules.add(f"{begin} {one} {end}"), "\n", parallel)


FORMAT = marked_format(
    "hermes",
    speaks,
    read,
    rule,
    starts=(_OPEN,),
    markers=(_CLOSE,),
    unbound=("{", *_INSTEAD),
)
