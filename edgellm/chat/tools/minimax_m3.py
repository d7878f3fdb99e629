"""`<invoke name="NAME"><KEY>VALUE</KEY></invoke>` in `<tool_call>`: MiniMax M3.

Each tag has a mark of its own before it, so text may hold what looks like one. What nests is tags
again: an object's by their keys, an array's `item`. (llama.cpp: common/parsers/minimax-m3.cpp)
"""

import json
from collections.abc import Sequence

from edgellm.chat import schema
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.json_source import is_json, quoted, tell_quoted
from edgellm.chat.messages import Tool
from edgellm.chat.schema import Schema
from edgellm.chat.source import Broken, Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import repeated
from edgellm.chat.tools.marked import marked_format

_MARK = "]<]minimax[>["
_OPEN, _CLOSE = f"{_MARK}<tool_call>", f"{_MARK}</tool_call>"
_CALL, _NAMED, _END_CALL = f'{_MARK}<invoke name="', '">', f"{_MARK}</invoke>"
_TAG = f"{_MARK}<"
_ITEM = "item"
_MAX_DEPTH = 64  # of what is heard: each level reads by itself
_NESTED = frozenset({"object", "array"})


def speaks(source: str) -> bool:
    return _MARK in source and "<invoke name=" in source


def read(source: Source, calls: Calls, start: str) -> Reading[None]:
    yield from source.skip()
    yield from source.expect(_CALL)
    while True:
        yield from _read_call(source, calls)
        yield from source.skip()
        found = yield from source.accepts(_CALL, _CLOSE)
        if found != _CALL:
            break
    if not found:
        yield from source.ends_with(_CLOSE)
    source.mark()


def _read_call(source: Source, calls: Calls) -> Reading[None]:
    name, _ = yield from source.take_until(_NAMED, most=calls.max_name)
    yield calls.begin(name)
    source.mark()
    yield from source.skip()
    wanted = schema.parameters(calls.tool(name))
    if (yield from source.expect(_END_CALL, _TAG)) == _END_CALL:
        yield calls.arguments("{}")
    else:
        yield from _tell_members(source, calls, wanted, _END_CALL, 0)
    calls.end()
    source.mark()


def _tell_members(
    source: Source, calls: Calls, wanted: Schema, close: str, depth: int
) -> Reading[None]:
    """Those of an object, or an array's items: from behind the first tag's `<` on."""
    if depth > _MAX_DEPTH:
        raise Broken("values inside values without end")
    tag, _ = yield from source.take_until(">")
    is_array = tag == _ITEM and "object" not in schema.types(wanted)
    known = {} if is_array else schema.members(wanted)
    yield calls.arguments("[" if is_array else "{")
    while True:
        source.unmark()
        if not is_array:
            yield calls.arguments(f"{quoted(tag)}: ")
        inner = schema.items(wanted) if is_array else known.get(tag, ({}, False))[0]
        yield from _tell_value(source, calls, inner, f"{_MARK}</{tag}>", depth)
        source.mark()
        yield from source.skip()
        if (yield from source.expect(close, _TAG)) == close:
            break
        tag, _ = yield from source.take_until(">")
        yield calls.arguments(", ")
    yield calls.arguments("]" if is_array else "}")


def _tell_value(
    source: Source, calls: Calls, wanted: Schema, close: str, depth: int
) -> Reading[None]:
    kinds = schema.types(wanted)
    if kinds == {"string"}:
        yield from tell_quoted(source, close, calls.arguments)
        return
    source.mark()
    text, end = yield from source.take_until(close, _TAG)
    if end == close:
        yield calls.arguments(_value(text, wanted))
    elif text.strip():
        raise Broken("text and tags")
    else:
        yield from _tell_members(source, calls, wanted, close, depth + 1)


def _value(text: str, wanted: Schema) -> str:
    """JSON of what has no tags inside: nothing may be an empty object or array."""
    kinds, value = schema.types(wanted), text.strip()
    if not value and "string" not in kinds:
        for kind, empty in (("array", "[]"), ("object", "{}"), ("null", "null")):
            if kind in kinds:
                return empty
    is_other = is_json(value) and schema.may_be(wanted, json.loads(value))
    return value if is_other else quoted(text)


def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
    each = []
    for tool in tools:
        begin = rules.text(f"{_CALL}{tool.name}{_NAMED}")
        members = _members_rule(rules, schema.parameters(tool), f"tool {tool.name!r}")
        each.append(f"{begin} {members} {rules.text(_END_CALL)}")
    calls = repeated(rules, rules.either(each), "\n", parallel)
    newline = rules.plain("\n")
    return rules.add(f"{rules.text(_OPEN)} {newline} {calls} {newline} {rules.text(_CLOSE)}")


def _members_rule(rules: Rules, wanted: Schema, whose: str) -> str:
    """In the schema's order."""
    parts = []
    for key, (value, is_required) in schema.members(wanted).items():
        rule = rules.add(f"{rules.text(f'{_TAG}{key}>')} {_value_rule(rules, value, whose, key)}")
        parts.append(rule if is_required else f"{rule}?")
    return " ".join(parts)


def _value_rule(rules: Rules, wanted: Schema, whose: str, tag: str) -> str:
    """A value and the tag that ends it."""
    close = f"{_MARK}</{tag}>"
    kinds, options = schema.types(wanted), schema.options(wanted)
    if options is not None:
        texts = [one if isinstance(one, str) else json.dumps(one) for one in options]
        return f"{rules.either([rules.plain(text) for text in texts])} {rules.text(close)}"
    if kinds == {"array"}:
        return f"{_items_rule(rules, wanted, whose)} {rules.text(close)}"
    if kinds == {"object"} and wanted.get("properties"):
        return f"{_members_rule(rules, wanted, whose)} {rules.text(close)}"
    if not kinds or "string" in kinds or kinds & _NESTED:
        return rules.until(close)
    return f"{rules.json(wanted, whose)} {rules.text(close)}"


def _items_rule(rules: Rules, wanted: Schema, whose: str) -> str:
    value = _value_rule(rules, schema.items(wanted), whose, _ITEM)
    item = rules.add(f"{rules.text(f'{_TAG}{_ITEM}>')} {value}")
    least, most = schema.item_bounds(wanted, whose)
    return f"{item}{{{least},{'' if most is None else most}}}"


# A turn without thoughts begins with their end.
FORMAT = marked_format(
    "minimax-m3",
    speaks,
    read,
    rule,
    starts=(_OPEN,),
    markers=(_MARK, _CLOSE, _END_CALL),
    wrappers=("</mm:think>",),
    ends_thought=True,
)
