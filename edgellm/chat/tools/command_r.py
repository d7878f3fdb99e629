"""`<|START_ACTION|>[{"tool_name": ..., "parameters": {...}}]<|END_ACTION|>`: Command R7B and A.

`tool_call_id` counts the calls of an answer; their template numbers past ones anew.
(llama.cpp: common/parsers/cohere2moe.cpp)
"""

from collections.abc import Sequence

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.json_form import object_rule, read_list
from edgellm.chat.tools.marked import marked_format

_OPEN, _CLOSE, _NEWLINE = "<|START_ACTION|>", "<|END_ACTION|>", "\n"


def speaks(source: str) -> bool:
    return _OPEN in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from source.skip()
    yield from read_list(source, calls)
    yield from source.skip()
    yield from source.accepts(_CLOSE)
    source.mark()


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    id, more = rules.plain('"tool_call_id": "'), rules.plain('", ')
    keys = ("tool_name", "parameters", f"{id} /[0-9]{{1,2}}/ {more}")
    one = rules.either([object_rule(rules, tool, *keys) for tool in tools])
    calls = repeated(rules, one, ",\n    ", parallel)
    begin, indent, end = rules.text(f"{_OPEN}["), rules.plain("\n    "), rules.text(f"]{_CLOSE}")
    return rules.add(f"{begin} {indent}? {calls} {rules.plain(_NEWLINE)}? {end}")


_WRAPPERS = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")
FORMAT = marked_format(
    "command-r",
    speaks,
    read,
    rule,
    starts=(_OPEN,),
    markers=(_CLOSE,),
    wrappers=_WRAPPERS,
    ends_thought=True,
)
