"""Calls as one JSON array of `{"name": ..., "arguments": {...}}` between two marks."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import Format, repeated
from edgellm.chat.tools.json_form import object_rule, read_up_to
from edgellm.chat.tools.marked import marked_format


def listed_format(
    name: str,
    speaks: Callable[[str], bool],
    begins: tuple[str, ...],
    close: str = "",
) -> Format:
    """The first of `begins` is written. Without a `close`, the answer's end is the calls'."""

    def read(source: Source, calls: Calls, start: str) -> Reading[None]:
        yield from read_up_to(source, calls, close)

    def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
        one = rules.either([object_rule(rules, tool) for tool in tools])
        calls = repeated(rules, one, ", ", parallel)
        return rules.add(f"{rules.text(f'{begins[0]}[')} {calls} {rules.text(f']{close}')}")

    def write(called: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        several = [{"name": name, "arguments": arguments} for name, arguments in called]
        return f"{begins[0]}{json.dumps(several, ensure_ascii=False)}{close}"

    markers = (close,) if close else ()
    return marked_format(name, speaks, read, rule, starts=begins, markers=markers, write=write)
