"""`<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}<｜tool▁call▁end｜>`: DeepSeek V3, R1 and V3.1.

V3 and R1 write `function` for the name, then the name on a line and the arguments in a fence.
"""

from collections.abc import Sequence

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.json_form import arguments_rule, tell_call
from edgellm.chat.tools.marked import marked_format
from edgellm.chat.tools.section import Section

_CALL, _SEPARATOR, _END_CALL = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_SECTION = Section("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", _CALL, _END_CALL)
_FENCE, _END_FENCE = "\n```json\n", "\n```"


def speaks(source: str) -> bool:
    return "tool▁call▁begin" in source


def speaks_fenced(source: str) -> bool:
    return speaks(source) and "```json" in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    """Either way."""
    yield from _SECTION.read(source, start, _read_call, calls)


def _read_call(source: Source, calls: Calls) -> Reading[None]:
    name, _ = yield from source.take_until(_SEPARATOR, most=calls.max_name)
    if name.strip() == "function":
        name, _ = yield from source.take_until(_FENCE.rstrip(), most=calls.max_name)
    yield from tell_call(source, calls, name.strip())
    yield from source.skip()
    yield from source.accepts(_END_FENCE.strip())


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    return _rule(rules, tools, parallel, (f"{_CALL}{{}}{_SEPARATOR}", _END_CALL, ""))


def fenced_rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    begin = f"{_CALL}function{_SEPARATOR}{{}}{_FENCE}"
    return _rule(rules, tools, parallel, (begin, _END_FENCE + _END_CALL, "\n"))


def _rule(rules: Rules, tools: Sequence[Tool], parallel: bool, words: tuple[str, str, str]) -> str:
    begin, end, separator = words
    each = []
    for tool in tools:
        name, arguments = rules.text(begin.format(tool.name)), arguments_rule(rules, tool)
        each.append(f"{name} {arguments} {rules.text(end)}")
    return _SECTION.rule(rules, each, separator, parallel)


_STARTS, _MARKERS = _SECTION.starts, (_SEPARATOR, _END_CALL, _SECTION.end)
FENCED = marked_format("deepseek", speaks_fenced, read, fenced_rule, _STARTS, markers=_MARKERS)
BARE = marked_format("deepseek-v3.1", speaks, read, rule, _STARTS, markers=_MARKERS)
