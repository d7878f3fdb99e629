"""`call:NAME{key:<|"|>text<|"|>,other:1}` between marks: Gemma's way, each model's own quotes.

Its values are JSON but for strings and keys; they are told as JSON. In its grammar a schema's
objects, arrays and options bind, and scalars as in JSON; what it combines otherwise (anyOf ...)
binds nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from edgellm.chat import json_source, schema
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.json_source import is_json
from edgellm.chat.messages import Tool
from edgellm.chat.schema import Schema
from edgellm.chat.source import Broken, Reading, Source, Waiting
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import in_order, repeated

_CALL = "call:"
_SCALARS = frozenset({"integer", "number", "boolean", "null"})
_SCALAR_ENDS = ",]}"
_MAX_FREE_DEPTH = 2  # of a value whose schema says nothing
_MAX_DEPTH = 64  # of what is heard: each level reads by itself
_USUAL_ITEMS = 64  # of an array whose schema sets no bound, where a grammar writes it


@dataclass(frozen=True, slots=True)
class Braces:
    """The marks around a call, and those around its strings."""

    open: str
    close: str
    quote: str

    def is_in(self, source: str) -> bool:
        return f"{self.open}{_CALL}" in source

    def read(self, source: Source, calls: Calls, start: str) -> Reading[None]:
        yield from source.expect(_CALL)
        name = yield from source.take_while(lambda character: character not in "{<", calls.max_name)
        if (yield from source.peek()) != "{":
            raise Broken("no arguments")
        yield calls.begin(name.strip())
        source.unmark()
        yield from _tell_value(source, calls, self.quote)
        calls.end()
        source.mark()
        yield from source.skip()
        yield from source.accepts(self.close)
        source.mark()

    def rule(self, rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
        calls = []
        for tool in tools:
            wanted, whose = schema.parameters(tool), f"tool {tool.name!r}"
            arguments = _object_rule(rules, wanted, whose, self.quote)
            calls.append(f"{rules.text(f'{self.open}{_CALL}{tool.name}')} {arguments}")
        block = rules.add(f"{rules.either(calls)} {rules.text(self.close)}")
        return repeated(rules, block, "", parallel)


def _tell_value(source: Source, calls: Calls, quote: str, depth: int = 0) -> Reading[None]:
    if depth > _MAX_DEPTH:
        raise Broken("values inside values without end")
    yield from source.skip()
    opening = yield from source.accepts(quote, "{", "[")
    match opening:
        case "" if (yield from source.peek()) == '"':
            yield from json_source.tell_value(source, calls.arguments)
        case "":
            yield from _tell_scalar(source, calls)
        case "{" | "[":
            yield from _tell_members(source, calls, quote, opening, depth)
        case _:
            yield from json_source.tell_quoted(source, quote, calls.arguments)


def _tell_members(
    source: Source, calls: Calls, quote: str, opening: str, depth: int
) -> Reading[None]:
    closing = "}" if opening == "{" else "]"
    yield calls.arguments(opening)
    separator = ""
    while True:
        yield from source.skip()
        if (yield from source.accepts(closing)):
            break
        source.mark()
        if separator:
            yield from source.expect(",")
            yield from source.skip()
        key = ""
        if opening == "{":
            key = json_source.quoted((yield from _key(source, quote))) + ": "
        yield calls.arguments(separator + key)
        source.unmark()
        yield from _tell_value(source, calls, quote, depth + 1)
        separator = ", "
    yield calls.arguments(closing)


def _key(source: Source, quote: str) -> Waiting[str]:
    """Bare, as the model was taught; or in quotes, its own or JSON's."""
    if (yield from source.accepts(quote)):
        key, _ = yield from source.take_until(quote)
        yield from source.skip()
        yield from source.expect(":")
    elif (yield from source.peek()) == '"':
        key = yield from json_source.string(source)
        yield from source.skip()
        yield from source.expect(":")
    else:
        key, _ = yield from source.take_until(":")
    return key.strip()


def _tell_scalar(source: Source, calls: Calls) -> Reading[None]:
    text = yield from source.take_while(lambda character: character not in _SCALAR_ENDS)
    text = text.strip()
    yield calls.arguments(text if is_json(text) else json.dumps(text, ensure_ascii=False))


def _value_rule(rules: Rules, wanted: Schema, whose: str, quote: str) -> str:
    kinds, options = schema.types(wanted), schema.options(wanted)
    if options is not None:
        return rules.either([_option(rules, option, quote) for option in options])
    if kinds == {"string"}:
        return rules.add(f"{rules.text(quote)} {rules.until(quote)}")
    if kinds and kinds <= _SCALARS:
        return rules.json(wanted, whose)
    if kinds == {"array"}:
        return _array_rule(rules, wanted, whose, quote)
    if kinds == {"object"} and wanted.get("properties"):
        return _object_rule(rules, wanted, whose, quote)
    return _any_rule(rules, quote)


def _option(rules: Rules, option: schema.Scalar, quote: str) -> str:
    if isinstance(option, str):
        return rules.text(f"{quote}{option}{quote}")
    return rules.plain(json.dumps(option))


def _array_rule(rules: Rules, wanted: Schema, whose: str, quote: str) -> str:
    item = _value_rule(rules, schema.items(wanted), whose, quote)
    least, bound = schema.item_bounds(wanted, whose)
    most = max(least, _USUAL_ITEMS) if bound is None else bound
    more = f"{item} ({rules.plain(',')} {item}){{{max(least - 1, 0)},{max(most - 1, 0)}}}"
    inside = more if least else f"({more})?"
    return rules.add(f"{rules.plain('[')} {inside if most else ''} {rules.plain(']')}")


def _object_rule(rules: Rules, wanted: Schema, whose: str, quote: str) -> str:
    """Members in the schema's order."""
    members = [
        (f"{rules.plain(f'{key}:')} {_value_rule(rules, value, whose, quote)}", is_required)
        for key, (value, is_required) in schema.members(wanted).items()
    ]
    return rules.add(f"{rules.plain('{')} {in_order(rules, members, ',')} {rules.plain('}')}")


def _any_rule(rules: Rules, quote: str, depth: int = 0) -> str:
    """Any value, nested as far as it gets here."""
    scalars: Schema = {"type": sorted(_SCALARS)}
    options = [f"{rules.text(quote)} {rules.until(quote)}", rules.json(scalars, "any value")]
    if depth < _MAX_FREE_DEPTH:
        inner = _any_rule(rules, quote, depth + 1)
        for opening, member, closing in (
            ("{", f"/[A-Za-z0-9_-]+/ {rules.plain(':')} {inner}", "}"),
            ("[", inner, "]"),
        ):
            more = f"({member} ({rules.plain(',')} {member})*)?"
            options.append(f"{rules.plain(opening)} {more} {rules.plain(closing)}")
    return rules.either(options)
