"""What every format of tool calls has: one row of the table in tools/__init__.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeAlias

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Message, Tool
from edgellm.chat.source import Reading, Source
from edgellm.chat.thoughts import Thoughts
from edgellm.chat.tools.calls import Calls

Messages: TypeAlias = Sequence[Message]
Tools: TypeAlias = Sequence[Tool]
Write: TypeAlias = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], str]  # names, arguments

_MAX_PARALLEL = 16  # calls in one answer, where a grammar writes them


def as_they_are(messages: Messages, tools: Tools) -> Messages:
    return messages


@dataclass(frozen=True, slots=True)
class Format:
    """How models of one kind write their calls.

    `listen` parses a whole answer; `rule` is the grammar of its calls, from their start mark on.
    """

    name: str
    speaks: Callable[[str], bool]  # whether a chat template's source is of it
    listen: Callable[[Source, Calls, Thoughts], Reading[None]]
    rule: Callable[[Rules, Tools, bool], str]  # of these tools; several calls, or one
    starts: tuple[str, ...]  # where calls begin, anywhere in an answer
    opens: tuple[str, ...] = ()  # where they begin as an answer's first text only
    markers: tuple[str, ...] = ()  # other marks that may be special tokens
    adapt: Callable[[Messages, Tools], Messages] = as_they_are  # a conversation, for its template
    shows_tools: bool = True  # the template lists them; else `adapt` has
    binds: Callable[[Tool], str] | None = None  # a beginning, of `opens`, that only its call has
    preface: Callable[[Rules], str] | None = None  # what must come before an answer's text
    write: Write | None = None  # past calls as the model wrote them, where a template shows none


def repeated(rules: Rules, call: str, separator: str, parallel: bool) -> str:
    """One call; if `parallel`, up to `_MAX_PARALLEL`."""
    if not parallel:
        return call
    between = f"{rules.text(separator)} " if separator else ""
    return rules.add(f"{call} ({between}{call}){{0,{_MAX_PARALLEL - 1}}}")


def in_order(rules: Rules, members: Sequence[tuple[str, bool]], separator: str) -> str:
    """A rule for members (a rule, and whether it is required) in this order; optional ones may be
    left out. "" for none.

    Built from the last one: `first` is what may follow where none is written yet, `later` else.
    """
    first = later = ""
    for member, is_required in reversed(members):
        begun, added = f"{member} {later}", f"{rules.plain(separator)} {member}"
        if is_required:
            first, later = rules.add(begun), rules.add(f"{added} {later}")
        else:
            first = rules.add(f"{begun} | {first}" if first else f"({begun})?")
            later = rules.add(f"({added})? {later}")
    return first


def is_of_a_name(character: str) -> bool:
    return character.isalnum() or character in "_-.:/"


def results_in_order(messages: Messages, tools: Tools) -> list[Message]:
    """For models that tell results by their places: in the order of the calls that they answer."""
    told: list[Message] = []
    places: dict[str, int] = {}
    for are_results, run in groupby(messages, lambda message: message.role == "tool"):
        if are_results:
            told += sorted(run, key=lambda result: places.get(result.tool_call_id or "", 0))
            continue
        for message in run:
            if message.tool_calls:
                places = {call.id: i for i, call in enumerate(message.tool_calls)}
            told.append(message)
    return told


def one_call_each(messages: Messages) -> list[Message]:
    """For templates that show one call in a message: each is followed by its own result."""
    several = [message for message in messages if len(message.tool_calls) > 1]
    moved = {call.id for message in several for call in message.tool_calls}
    results = {id: list[Message]() for id in moved}
    for message in messages:
        if message.role == "tool" and message.tool_call_id in moved:
            results[message.tool_call_id].append(message)
    told: list[Message] = []
    for message in messages:
        if message.role == "tool" and message.tool_call_id in moved:
            continue
        if len(message.tool_calls) < 2:
            told.append(message)
            continue
        for i, call in enumerate(message.tool_calls):
            text, reasoning = ("", None) if i else (message.text, message.reasoning)
            told.append(replace(message, text=text, reasoning=reasoning, tool_calls=(call,)))
            told += results[call.id]
    return told
