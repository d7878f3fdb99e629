"""`<|function_call|>{"name": ..., "arguments": {...}}`, one in an answer: Sber's GigaChat 3.1.

GigaChat 3 calls in a message of its own instead. (llama.cpp: common/parsers/gigachat-v3.cpp)
"""

from collections.abc import Sequence

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Message, Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import one_call_each
from edgellm.chat.tools.json_form import object_rule, read_up_to
from edgellm.chat.tools.marked import marked_format

_END, _ROLE = "<|message_sep|>", "<|role_sep|>"
_MARK, _MESSAGE = "<|function_call|>", f"{_END}\n\nfunction call{_ROLE}\n"


def speaks(source: str) -> bool:
    return _MARK in source and _ROLE in source


def speaks_in_messages(source: str) -> bool:
    return _END in source and _ROLE in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from read_up_to(source, calls, _END)


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    return _rule(rules, tools, _MARK)


def message_rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    return _rule(rules, tools, _MESSAGE)


def _rule(rules: Rules, tools: Sequence[Tool], mark: str) -> str:
    one = rules.either([object_rule(rules, tool) for tool in tools])
    return rules.add(f"{rules.text(mark)} {one}")


def adapt(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    return one_call_each(messages)


FORMAT = marked_format("gigachat", speaks, read, rule, (_MARK,), markers=(_END,), adapt=adapt)
IN_MESSAGES = marked_format(
    "gigachat-3", speaks_in_messages, read, message_rule, (_MESSAGE,), markers=(_END,), adapt=adapt
)
