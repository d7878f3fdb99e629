"""OpenAI's harmony, which gpt-oss speaks: an answer is several messages, each on a channel.

    <|channel|>analysis<|message|>thoughts<|end|><|start|>assistant<|channel|>commentary
    to=functions.NAME <|constrain|>json<|message|>{...}<|call|>

The recipient may also stand before the channel, and begin the message. The prompt has written the
answer's first `<|start|>assistant`, and `<|call|>` ends it. (llama.cpp: common/parsers/gpt-oss.cpp)
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from edgellm.chat.events import TextDelta
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Message, Tool
from edgellm.chat.source import Broken, Reading, Source, Waiting
from edgellm.chat.thoughts import Thoughts
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import Format, one_call_each
from edgellm.chat.tools.json_form import arguments_rule, tell_call

ANALYSIS, END = "<|channel|>analysis<|message|>", "<|end|>"

_CHANNEL, _MESSAGE, _ASSISTANT = "<|channel|>", "<|message|>", "<|start|>assistant"
_CONSTRAIN, _TO = "<|constrain|>", " to=functions."
_MARKS = (_CHANNEL, "<|start|>")  # that begin a header, wherever they are
_BEGINS = (*_MARKS, " to=")  # and where a message does; inside of text these are words
_ENDS = (END, "<|call|>", "<|return|>")
_AROUND_NAME = 128  # characters of a header that are not its recipient's name, and more
_RECIPIENT = re.compile(r"\bto=(functions\.)?([\w.:/-]+)")


def speaks(source: str) -> bool:
    return _CHANNEL in source and _MESSAGE in source


def listen(source: Source, calls: Calls, thoughts: Thoughts) -> Reading[None]:
    """The whole answer. A message to anybody but our tools is text, header and all."""
    channels: list[str] = []  # of the messages that were told
    begins: tuple[str, ...] = _BEGINS
    if thoughts.opened or thoughts.text_begun:  # inside a message, whose header the prompt has
        channels.append("analysis" if thoughts.opened else "text")
        yield from source.tell_until(_ENDS, thoughts.tell if thoughts.opened else TextDelta)
    while (yield from source.peek()):
        header = yield from _header(source, begins, calls.max_name + _AROUND_NAME)
        begins = _MARKS if header is None else _BEGINS
        if header is None:
            yield from _tell_text(source)
        elif name := _recipient(header):
            yield from _read_call(source, calls, name)
        else:
            source.unmark()
            yield from _tell_message(source, header, thoughts, channels)


def _header(source: Source, begins: tuple[str, ...], most: int) -> Waiting[str | None]:
    """What stands before a message, taken; the mark is on its start. None where nothing does.

    One that the answer's end cut off is passed over: there was no text yet.
    """
    source.mark()
    is_begun = yield from source.accepts(*begins)
    source.go_back()
    if not is_begun:
        return None
    source.mark()
    try:
        header, _ = yield from source.take_until(_MESSAGE, most=most)
    except Broken:
        source.go_back()
        rest = source.rest()
        if len(rest) <= most and rest.startswith((*_MARKS, _TO)):
            source.take(len(rest))
        return None
    return header


def _tell_text(source: Source) -> Reading[None]:
    """Up to the next mark. The first character may be that of one that begins no header."""
    if text := source.take(1):
        yield TextDelta(text)
        yield from source.tell_run(_MARKS, TextDelta)


def _tell_message(
    source: Source, header: str, thoughts: Thoughts, channels: list[str]
) -> Reading[None]:
    channel = _channel(header)
    if channel == "analysis" and not thoughts.start:
        yield from _tell_marked(source, header)
        return
    tell = thoughts.tell if channel == "analysis" else TextDelta
    if channel in channels:
        yield tell("\n\n")
    channels.append(channel)
    yield from source.tell_until(_ENDS, tell)


def _tell_marked(source: Source, header: str) -> Reading[None]:
    """Thoughts that are not told apart are text, and keep their marks."""
    yield TextDelta(header[header.index(_CHANNEL) :] + _MESSAGE)
    gap, end = yield from source.tell_until(_ENDS, TextDelta)
    if gap or end:
        yield TextDelta(gap + end)


def _read_call(source: Source, calls: Calls, name: str) -> Reading[None]:
    try:
        yield from tell_call(source, calls, name)
    except Broken:
        source.go_back()
        yield from source.tell_until(_ENDS, TextDelta)
    else:
        yield from source.skip()
        yield from source.accepts(*_ENDS)


def _recipient(header: str) -> str | None:
    """Whom the message is for: a tool. An assistant's to itself is for everybody."""
    found = _RECIPIENT.search(header)
    return found[2] if found and found[2] != "assistant" else None


def _channel(header: str) -> str:
    """Text is told on two of them; to a reader they are one."""
    return "analysis" if f"{_CHANNEL}analysis" in header else "text"


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    """One call: the answer ends with it."""
    channel = f"({rules.text(f'{_CHANNEL}commentary')} | {rules.text(f'{_CHANNEL}analysis')})"
    kind = _kind(rules)
    calls = []
    for tool in tools:
        to = rules.plain(_TO + tool.name)
        header = f"({channel} {to} | {to} {channel}) {kind} {rules.text(_MESSAGE)}"
        calls.append(rules.add(f"{header} {arguments_rule(rules, tool)}"))
    return rules.add(f"{rules.text(_ASSISTANT)}? {rules.either(calls)}")


def preface(rules: Rules) -> str:
    final = f"{rules.text(f'{_CHANNEL}final')} {_kind(rules)} {rules.text(_MESSAGE)}"
    return rules.add(f"{rules.text(_ASSISTANT)}? {final}")


def _kind(rules: Rules) -> str:
    space, json, constrained = rules.plain(" "), rules.plain("json"), rules.text(_CONSTRAIN)
    return f"({space}? {constrained} {json} | {space} {json})?"


def adapt(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    """Its template shows one call in a message, and beside it either thoughts or text."""
    return [
        replace(one, text="") if one.tool_calls and one.reasoning else one
        for one in one_call_each(messages)
    ]


FORMAT = Format(
    "harmony",
    speaks,
    listen,
    rule,
    starts=(f"{_CHANNEL}commentary{_TO}", f"{_CHANNEL}analysis{_TO}", f"{_ASSISTANT}{_TO}"),
    opens=(_TO,),
    markers=(_CONSTRAIN, *_ENDS),
    adapt=adapt,
    preface=preface,
)
