"""Calls as Python writes them, `NAME(KEY=VALUE, ...)`: LFM2's, OLMo 3's. What is told is JSON.

Some templates write strings without escapes, so a quote ends a string only where a value may end;
any other is part of it. What is a value neither in Python nor in JSON is taken as a string.
"""

import json
from collections.abc import Mapping
from typing import Any

from edgellm.chat import schema
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.json_source import inside, is_json, quoted
from edgellm.chat.messages import Tool
from edgellm.chat.schema import Schema
from edgellm.chat.source import Broken, Reading, Source, Tell, Waiting
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import in_order, is_of_a_name

_WORDS = {"True": "true", "False": "false", "None": "null"}
_PYTHONS = {said: word for word, said in _WORDS.items()}
_QUOTES = ("'", '"')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_AS_THEY_ARE = "\\'\"/"
_N_DIGITS = {"x": 2, "u": 4, "U": 8}
_CLOSING = {"[": "]", "(": ")"}
_AFTER_VALUE, _AFTER_KEY = (",", ")", "]", "}"), (":",)
_MAX_DEPTH = 64  # of what is heard: each level reads by itself
_BIND_STRINGS = ("minLength", "maxLength", "pattern", "format")
_SINGLE_QUOTED = r"/'([^'\\]|\\.)*'/"


def read_call(source: Source, calls: Calls) -> Reading[None]:
    """One call. Nothing is told before its first argument's name, or its end."""
    name = yield from source.take_while(is_of_a_name, calls.max_name)
    calls.tool(name)
    yield from source.expect("(")
    is_begun = False
    while True:
        yield from source.skip()
        if (yield from source.accepts(")")):
            break
        key = yield from source.take_while(is_of_a_name)
        yield from source.skip()
        yield from source.expect("=")
        if not is_begun:
            is_begun = True
            yield calls.begin(name)
        yield calls.member(key)
        source.unmark()
        yield from _tell_value(source, calls)
        source.mark()
        yield from _end_item(source, ")")
    if not is_begun:
        yield calls.begin(name)
    yield calls.end_members()
    source.mark()


def _tell_value(source: Source, calls: Calls, depth: int = 0) -> Reading[None]:
    if depth > _MAX_DEPTH:
        raise Broken("values inside values without end")
    yield from source.skip()
    first = yield from source.peek()
    if first in _CLOSING:
        source.take(1)
        yield from _tell_members(source, calls, "[", _CLOSING[first], depth)
    elif first == "{":
        yield from _tell_members(source, calls, source.take(1), "}", depth)
    elif first in _QUOTES:
        yield from _tell_string(source, calls.arguments, _AFTER_VALUE)
    else:
        yield calls.arguments((yield from _scalar(source, _AFTER_VALUE)))


def _tell_members(
    source: Source, calls: Calls, opening: str, closing: str, depth: int
) -> Reading[None]:
    yield calls.arguments(opening)
    separator = ""
    while True:
        yield from source.skip()
        if (yield from source.accepts(closing)):
            break
        yield calls.arguments(separator)
        separator = ", "
        if opening == "{":
            yield from _tell_key(source, calls)
        yield from _tell_value(source, calls, depth + 1)
        yield from _end_item(source, closing)
    yield calls.arguments("]" if opening == "[" else "}")


def _tell_key(source: Source, calls: Calls) -> Reading[None]:
    """Of a JSON object, which has no others than strings."""
    if (yield from source.peek()) in _QUOTES:
        yield from _tell_string(source, calls.arguments, _AFTER_KEY)
    else:
        key = yield from _scalar(source, _AFTER_KEY)
        yield calls.arguments(key if key.startswith('"') else quoted(key))
    yield from source.skip()
    yield from source.expect(":")
    yield calls.arguments(": ")


def _end_item(source: Source, closing: str) -> Waiting[None]:
    """There may be a comma behind the last one."""
    yield from source.skip()
    if (yield from source.peek()) != closing:
        yield from source.expect(",")


def _tell_string(source: Source, tell: Tell, after: tuple[str, ...]) -> Reading[None]:
    quote = source.take(1)
    mark = quote + (yield from source.accepts(quote * 2))  # three of them begin one, too
    yield tell('"')
    while True:
        _, end = yield from source.tell_until(
            (mark, "\\"), lambda text: tell(inside(text)), trims=False
        )
        if not end:
            raise Broken("a string does not end")
        if end == "\\":
            yield tell(inside((yield from _escaped(source))))
        elif (yield from source.is_followed_by(*after)):
            break
        else:
            yield tell(inside(end))
    yield tell('"')


def _escaped(source: Source) -> Waiting[str]:
    """What an escape says, behind its backslash; where it is none, the backslash, too."""
    letter = yield from source.peek()
    source.take(1)
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter and letter in _AS_THEY_ARE:
        return letter
    digits: list[str] = []
    for _ in range(_N_DIGITS.get(letter, 0)):
        if (yield from source.peek()) not in set("0123456789abcdefABCDEF"):
            break
        digits.append(source.take(1))
    code = int("".join(digits), 16) if digits else 0
    if digits and len(digits) == _N_DIGITS[letter] and code <= 0x10FFFF:
        return chr(code)
    return f"\\{letter}{''.join(digits)}"


def _scalar(source: Source, ends: tuple[str, ...]) -> Waiting[str]:
    """JSON of it."""
    source.mark()
    text = (yield from source.take_while(lambda character: character not in ends)).strip()
    if not text:
        raise Broken("no value")
    source.unmark()
    value = _WORDS.get(text, text)
    return value if is_json(value) else quoted(text)


def call_rule(rules: Rules, tool: Tool) -> str:
    """One call of this tool, its arguments in the schema's order."""
    members = [
        (f"{rules.plain(f'{key}=')} {_value_rule(rules, tool, wanted)}", is_required)
        for key, (wanted, is_required) in schema.members(schema.parameters(tool)).items()
    ]
    arguments = in_order(rules, members, ", ")
    return rules.add(f"{rules.plain(f'{tool.name}(')} {arguments} {rules.plain(')')}")


def _value_rule(rules: Rules, tool: Tool, wanted: Schema) -> str:
    """Python's words where it has others; what nests is JSON, which these models know as well."""
    options = schema.options(wanted)
    if options is not None:
        return rules.either([rules.plain(text) for one in options for text in _option(one)])
    value = rules.json(wanted, f"tool {tool.name!r}")
    is_free = not any(keyword in wanted for keyword in _BIND_STRINGS)
    if wanted.get("type") == "string" and is_free:
        return rules.add(f"{value} | {_SINGLE_QUOTED}")
    return value


def _option(option: schema.Scalar) -> list[str]:
    text = json.dumps(option, ensure_ascii=False)
    if not isinstance(option, str):
        return [text, *([_PYTHONS[text]] if text in _PYTHONS else ())]
    is_plain = text == f'"{option}"' and "'" not in option
    return [text, *([f"'{option}'"] if is_plain else ())]


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """A call as these models write it."""
    return f"{name}({', '.join(f'{key}={_value_text(one)}' for key, one in arguments.items())})"


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        members = (f"{_value_text(key)}: {_value_text(one)}" for key, one in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value_text, value))}]"
    text = json.dumps(value, ensure_ascii=False)
    return _PYTHONS.get(text, text)
