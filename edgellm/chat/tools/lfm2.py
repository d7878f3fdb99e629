"""`<|tool_call_start|>[NAME(KEY=VALUE), ...]<|tool_call_end|>`: Liquid's LFM2 and LFM2.5.

Most of their templates show the tools, and of past calls nothing.
(llama.cpp: common/parsers/lfm2.cpp)
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.json_form import read_list, read_object, read_up_to
from edgellm.chat.tools.marked import marked_format
from edgellm.chat.tools.pythonic import call_rule, call_text, read_call

_OPEN, _CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"
_SHOWN_TOOLS = ("<|tool_list_start|>", "List of tools: [")


def speaks(source: str) -> bool:
    return any(text in source for text in (_OPEN, *_SHOWN_TOOLS))


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from read_up_to(source, calls, _CLOSE, partial(read_list, read_one=_read_one))


def _read_one(source: Source, calls: Calls) -> Reading[None]:
    """Or in JSON, where a system message asks for that."""
    is_json = (yield from source.peek()) == "{"
    yield from read_object(source, calls) if is_json else read_call(source, calls)


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    one = rules.either([call_rule(rules, tool) for tool in tools])
    calls = repeated(rules, one, ", ", parallel)
    return rules.add(f"{rules.text(f'{_OPEN}[')} {calls} {rules.text(f']{_CLOSE}')}")


def write(called: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    return f"{_OPEN}[{', '.join(call_text(*one) for one in called)}]{_CLOSE}"


FORMAT = marked_format("lfm2", speaks, read, rule, starts=(_OPEN,), markers=(_CLOSE,), write=write)
