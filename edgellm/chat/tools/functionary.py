"""MeetKai's Functionary on Llama 3: v3.1 and v3.2.

v3.1 writes `<function=NAME>{...}</function>`, as Llama 3.1 does where its prompt tells it to. In
v3.2 an answer is several messages, each begun by whom it is for: `>>>all` or `>>>NAME`, and a new
line. The prompt has written the first `>>>`. (llama.cpp: common/parsers/functionary-v3-2.cpp)
"""

from collections.abc import Sequence

from edgellm.chat.events import TextDelta
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.source import Broken, Reading, Source
from edgellm.chat.thoughts import Thoughts
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import Format, repeated
from edgellm.chat.tools.json_form import arguments_rule, tell_call
from edgellm.chat.tools.marked import marked_format

_OPEN, _CLOSE = "<function=", "</function>"
_NEXT, _ALL = ">>>", "all\n"


def speaks(source: str) -> bool:
    return _OPEN in source and _CLOSE in source and "<parameter" not in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    name, _ = yield from source.take_until(">", most=calls.max_name)
    calls.tool(name)
    yield from tell_call(source, calls, name)
    yield from source.skip()
    yield from source.ends_with(_CLOSE)
    source.mark()


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    each = []
    for tool in tools:
        begin, end = rules.text(f"{_OPEN}{tool.name}>"), rules.text(_CLOSE)
        each.append(f"{begin} {arguments_rule(rules, tool)} {end}")
    return repeated(rules, rules.either(each), "", parallel)


def speaks_to_recipients(source: str) -> bool:
    return f"{_NEXT}all" in source and f"{_NEXT}${{recipient}}" in source


def listen_to_recipients(source: Source, calls: Calls, thoughts: Thoughts) -> Reading[None]:
    """The whole answer. A message to anybody but our tools is text; `>>>` may be in it."""
    separator = ""
    if thoughts.text_begun:
        separator = yield from _tell_text(source)
    while (yield from source.peek()):
        n_before = calls.n
        if (yield from _attempt(source, calls)):
            separator = _NEXT
            continue
        is_for_all = yield from source.accepts(_ALL)
        if separator and not is_for_all and calls.n == n_before:
            yield TextDelta(separator)
        separator = yield from _tell_text(source)


def _tell_text(source: Source) -> Reading[str]:
    """Up to the next `>>>`. Returns that, and the white space before it."""
    gap, end = yield from source.tell_until((_NEXT,), TextDelta)
    if gap and not end:
        yield TextDelta(gap)
    return gap + end if end else ""


def _attempt(source: Source, calls: Calls) -> Reading[bool]:
    """Whether a call came, and what separates it from the next message."""
    source.mark()
    try:
        name, _ = yield from source.take_until("\n", most=calls.max_name)
        calls.tool(name.strip())
        yield from tell_call(source, calls, name.strip())
    except Broken:
        source.go_back()
        return False
    yield from source.skip()
    yield from source.ends_with(_NEXT)
    source.unmark()
    return True


def recipients_rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    each = [f"{rules.plain(binds(tool))} {arguments_rule(rules, tool)}" for tool in tools]
    return repeated(rules, rules.either(each), _NEXT, parallel)


def binds(tool: Tool) -> str:
    return f"{tool.name}\n"


def preface(rules: Rules) -> str:
    return rules.plain(_ALL)


FORMAT = marked_format("functionary", speaks, read, rule, starts=(_OPEN,), markers=(_CLOSE,))
TO_RECIPIENTS = Format(
    "functionary-3.2",
    speaks_to_recipients,
    listen_to_recipients,
    recipients_rule,
    starts=(),
    binds=binds,
    preface=preface,
)
