"""Calls written as JSON objects: `{"name": ..., "arguments": {...}}`, or the same by other keys.

Models keep to the keys they know more than to their order, so a name that comes late is waited for.
"""

import json
from collections.abc import Callable
from typing import TypeAlias

from edgellm.chat import json_source
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.schema import parameters
from edgellm.chat.source import SPACE, Broken, Reading, Source, Waiting
from edgellm.chat.tools.calls import Calls

ReadCall: TypeAlias = Callable[[Source, Calls], Reading[None]]
_NAMES = frozenset({"name", "tool_name", "function_name", "function"})
_ARGUMENTS = frozenset({"arguments", "parameters", "args"})
_OTHERS = frozenset({"type", "id", "tool_call_id", "call_id", "index"})
_OF_A_TOOL = "description"  # a tool's own description has its name and "parameters", too


def read_object(source: Source, calls: Calls, *, is_inner: bool = False) -> Reading[None]:
    """One call. Nothing of it is told before its name is known.

    OpenAI's own form nests it once, as `{"function": {...}}`: `is_inner`.
    """
    name = held = None
    has_others = False
    yield from source.expect("{")
    while True:
        key = yield from json_source.string(source)
        yield from _expect_spaced(source, ":")
        if key == "function" and not is_inner and (yield from source.peek()) == "{":
            yield from read_object(source, calls, is_inner=True)
            break
        if key in _NAMES and name is None:
            name = yield from json_source.string(source)
            calls.tool(name)
        elif key in _ARGUMENTS and held is None and name is not None:
            yield from tell_call(source, calls, name)
            break
        elif key in _ARGUMENTS and held is None:
            held = yield from arguments_text(source)
        elif key == _OF_A_TOOL or (name is None and key not in _ARGUMENTS | _OTHERS):
            raise Broken(f"{key[:20]!r} is of no call")
        elif key in _OTHERS and (yield from source.peek()) in ("{", "["):
            raise Broken(f"{key[:20]!r} of a call is a word or a number")
        else:
            has_others = has_others or key not in _OTHERS
            yield from json_source.value_text(source)
        if (yield from _expect_spaced(source, ",", "}")) == "}":
            if has_others and held is None:
                raise Broken("a name and other things, but no arguments")
            yield calls.begin(name or "")
            yield calls.arguments(held or "{}")
            calls.end()
            source.mark()
            return
    yield from _pass_over_rest(source)
    source.mark()


def _pass_over_rest(source: Source) -> Waiting[None]:
    """What else the object of a told call has."""
    while (yield from _expect_spaced(source, ",", "}")) == ",":
        yield from json_source.string(source)
        yield from _expect_spaced(source, ":")
        yield from json_source.value_text(source)


def tell_call(source: Source, calls: Calls, name: str) -> Reading[None]:
    """A call of this name, whose arguments are told as they come."""
    yield from source.skip()
    if (yield from source.peek()) == "{":
        yield calls.begin(name)
        source.unmark()
        yield from json_source.tell_value(source, calls.arguments)
    else:
        text = yield from arguments_text(source)
        yield calls.begin(name)
        yield calls.arguments(text)
    calls.end()
    source.mark()


def arguments_text(source: Source) -> Waiting[str]:
    """An object's text. Some models write it into a string; null or "" for none at all."""
    yield from source.skip()
    if (yield from source.peek()) == "[":  # known before it is read to its end
        raise Broken("the arguments are an array")
    text = yield from json_source.value_text(source)
    if text.startswith('"'):
        text = yield from _text_within(text)
    if text in ("null", ""):
        return "{}"
    if not (text.startswith("{") and json_source.is_json(text)):
        raise Broken("the arguments are no object")
    return text


def _text_within(quoted: str) -> Waiting[str]:
    """The JSON value that a JSON string holds, with what its own strings lack escaped."""
    inner = Source()
    inner.add(json_source.unquoted(quoted).strip())
    inner.close()
    if not inner.rest():
        return ""
    return (yield from json_source.value_text(inner)) + inner.rest()


def read_all(source: Source, calls: Calls, between: str = "") -> Reading[None]:
    """An array of calls, or calls one after the other, with one of these characters `between`."""
    if (yield from source.peek()) == "[":
        yield from read_list(source, calls)
        return
    while True:
        yield from read_object(source, calls)
        yield from source.skip(SPACE + between)
        if (yield from source.peek()) != "{":
            source.go_back()  # what was passed over separates nothing
            source.mark()
            return


def read_up_to(
    source: Source, calls: Calls, close: str, read: ReadCall = read_all
) -> Reading[None]:
    """All calls up to a closing mark. An answer may end without it, or in the midst of it."""
    yield from source.skip()
    yield from read(source, calls)
    yield from source.skip()
    yield from source.ends_with(close)
    source.mark()


def read_list(source: Source, calls: Calls, read_one: ReadCall = read_object) -> Reading[None]:
    """Several calls with commas between, in brackets: JSON objects, unless `read_one` differs."""
    separator = yield from source.expect("[")
    while separator != "]":
        yield from source.skip()
        yield from read_one(source, calls)
        yield from source.skip()
        separator = yield from source.expect(",", "]")
        source.mark()


def arguments_rule(rules: Rules, tool: Tool) -> str:
    return rules.json(parameters(tool), f"tool {tool.name!r}")


def object_rule(
    rules: Rules, tool: Tool, name: str = "name", arguments: str = "arguments", lead: str = ""
) -> str:
    """A rule for one call of this tool. `lead`: what the format writes before the name."""
    before = rules.plain(f'"{name}": {json.dumps(tool.name)}, "{arguments}": ')
    inside = f"{before} {arguments_rule(rules, tool)}"
    return rules.add(f"{rules.plain('{')} {lead} {inside} {rules.plain('}')}")


def _expect_spaced(source: Source, *literals: str) -> Waiting[str]:
    yield from source.skip()
    found = yield from source.expect(*literals)
    yield from source.skip()
    return found
