"""`<function_calls>`, then a line `NAME(KEY=VALUE)` for each call: Ai2's OLMo 3.

(vLLM: tool_parsers/olmo3_tool_parser.py)
"""

from collections.abc import Sequence

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.marked import marked_format
from edgellm.chat.tools.pythonic import call_rule, read_call

_OPEN, _CLOSE = "<function_calls>", "</function_calls>"


def speaks(source: str) -> bool:
    return _OPEN in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    while True:
        yield from source.skip()
        yield from read_call(source, calls)
        yield from source.skip()
        if (yield from source.peek()) in ("<", ""):
            break
    yield from source.ends_with(_CLOSE)
    source.mark()


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    one = rules.either([call_rule(rules, tool) for tool in tools])
    calls = repeated(rules, one, "\n", parallel)
    begin, end = rules.text(f"{_OPEN}\n"), rules.text(f"\n{_CLOSE}")
    return rules.add(f"{begin} {calls} {end}")


FORMAT = marked_format("olmo-3", speaks, read, rule, starts=(_OPEN,), markers=(_CLOSE,))
