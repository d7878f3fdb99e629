"""Structures made to hurt: small to write, large to compile, or exploding while they are followed.

`bombs()` are 200 of them as fields of a request. Some are refused by rules, some by llguidance's
limits, some are followed to their bound: which is which is nobody's promise.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

Fields = dict[str, Any]

_ANY_CHARACTER = r"[\U00000000-\U0010FFFF]"


def bombs() -> list[tuple[str, Fields]]:
    """A name and the fields, each different."""
    families = (_grammars(), _regexes(), _schemas(), _choices(), _tools())
    found = [(name, fields) for family in families for name, fields in family]
    assert len({name for name, _ in found}) == len(found)
    return found


# ── GBNF ─────────────────────────────────────────────────────────────────────


def _grammars() -> Iterator[tuple[str, Fields]]:
    for n in (20, 50, 60, 64, 200, 1000, 5000, 30_000):
        yield f"gbnf: {n} groups in one another", _gbnf("(" * n + '"a"' + ")" * n)
    for n in (10, 20, 30, 50, 100, 500, 2000):
        yield f"gbnf: {n} optional choices", _gbnf('("a"|"b")? ' * n)
        yield f"gbnf: {n} optional words", _gbnf('"a"? ' * n + '"a" ' * min(n, 500))
    for n in (10, 50, 500):
        yield f"gbnf: {n} stars", _gbnf('"a"* ' * n + '"b"')
        yield f"gbnf: {n} stars of stars", _gbnf('("a"* "b"*)* ' * n)
    for n, m in ((2000, 1), (100, 100), (2000, 2000), (0, 2000)):
        yield f"gbnf: {n} times {m}", _gbnf(f'(("a" | "b"){{{n}}}){{{m}}}')
        yield f"gbnf: up to {n} times up to {m}", _gbnf(f'(("a" | "b"){{0,{n}}} "c"?){{0,{m}}}')
    for body in ('root root | "a"', 'root root root | "a"?', 'root "a" | "a" root | root', "root"):
        yield f"gbnf: root ::= {body}", _gbnf(body)
    yield (
        "gbnf: rules in a ring",
        {
            "grammar": "root ::= r0\n"
            + "\n".join(f'r{i} ::= r{(i + 1) % 900} "a"? | "b"' for i in range(900))
        },
    )
    for n in (10, 20, 40):
        doubled = "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(n))
        yield f"gbnf: doubled {n} times", {"grammar": f'root ::= r0\n{doubled}\nr{n} ::= "a"?'}
    for n in (100, 1000, 3000):
        words = " | ".join(f'"w{i}x"' for i in range(n))
        yield f"gbnf: {n} words", _gbnf(f"({words})+")
        yield (
            f"gbnf: {n} words that may follow each other",
            _gbnf(f"({words})? " * 3),
        )
    for n in (5, 15, 30, 60):
        yield f"gbnf: {n} optional groups in one another", _gbnf('("a" ' * n + ")?" * n)
        yield f"gbnf: {n} repeats in one another", _gbnf("(" * n + '"a"' + "){1,2}" * n)
        yield f"gbnf: {n} names of one rule", {
            "grammar": "root ::= " + " | ".join(f"r{i}" for i in range(n)) + "\n"
            + "\n".join(f'r{i} ::= "a"* "b"? "c"*' for i in range(n))
        }  # fmt: skip
    for n in (1, 50, 1000):
        yield f"gbnf: {n} of any character", _gbnf(f"{_ANY_CHARACTER}{{{n}}}")
        yield f"gbnf: {n} of any but one", _gbnf(f"([^a] | [^b] | [^c]){{0,{n}}}")
    yield (
        "gbnf: many ranges",
        _gbnf("[" + "".join(f"\\U{i:08X}" for i in range(256, 5000, 2)) + "]+"),
    )


def _gbnf(body: str) -> Fields:
    return {"grammar": f"root ::= {body}"}


# ── regular expressions ──────────────────────────────────────────────────────


def _regexes() -> Iterator[tuple[str, Fields]]:
    fixed = (
        r"(a+)+$", r"(a|aa)+", r"(a|a?)+", r"(.*a){20}", r"(.*)(.*)(.*)(.*)(.*)(.*)x",
        r"(x+x+)+y", r"([a-z]+)*[0-9]", r"(a*)*", r"((a*)*)*", r"(((a?)?)?)?", r"(?=a)b",
        r"(?!a).*", r"(?<=a)b", r"(?<!a)b", r"(a)\1", r"(?P<x>a)(?P=x)", r"\p{L}{1,400}",
        r"[\p{L}\p{N}\p{P}]{300}", r"\p{Han}{1,500}\p{Greek}*", r"(\p{L}|\p{M}|\p{S}){0,200}",
        r"[^\x00-\x7F]{500}", r"\w{500}", r"(\w+\s?){100}", r"(\d{1,9}[.,]?){90}",
        r"[\s\S]{1000000}", r"a{1000000}", r"(a{1000}){1000}", r"((a{100}){100}){100}",
        r"(a{0,100}){0,100}", r"((ab?){50}c?){50}", r"(?i)(straße|ﬃ|İ){50}", r"\b\w+\b{50}",
        r"^$^$^$", r"a**", r"(?:a{2147483647})", r"[z-a]", r"(?#" + "x" * 400 + ")a",
        r"(.{1,30}){1,30}", r"(.?){200}", r".*(a.{25}|b.{25}).*", r"(a|b)*a(a|b){40}",
        r"(0|1)*1(0|1){100}", r"(?s:.)*foo(?s:.)*bar(?s:.)*baz",
    )  # fmt: skip
    for pattern in fixed:
        yield f"regex: {pattern[:40]}", {"regex": pattern}
    for n in (5, 12, 20, 25):
        yield f"regex: {n} optional, then {n}", {"regex": f"(a?){{{n * 10}}}a{{{n * 10}}}"}
        yield f"regex: {n} back from the end", {"regex": f"[ab]*a[ab]{{{n * 4}}}"}
    for n in (50, 100, 200):
        yield f"regex: {n} groups in one another", {"regex": "(" * n + "a" + ")" * n}
        yield f"regex: {n} stars in one another", {"regex": "(" * n + "a" + ")*" * n}
    yield "regex: 170 alternatives", {"regex": "|".join(f"w{i % 10}" for i in range(170))}
    yield "regex: 120 optional letters", {"regex": "".join(f"({c}|{c}b)?" for c in "abcdefgh" * 7)}


# ── JSON schemas ─────────────────────────────────────────────────────────────


def _schemas() -> Iterator[tuple[str, Fields]]:
    for name, schema in itertools.chain(_sizes(), _references(), _combinations(), _strings()):
        yield f"schema: {name}", {"json_schema": schema}


def _sizes() -> Iterator[tuple[str, Any]]:
    for n in (500, 5000):
        yield f"enum of {n}", {"enum": [f"word {i}" for i in range(n)]}
        yield f"enum of {n} numbers", {"enum": list(range(n))}
    for n in (100, 10_000, 2**31, 10**30):
        yield f"at least {n} items", {"type": "array", "items": {}, "minItems": n}
        yield f"at most {n} items", {"type": "array", "items": {"type": "integer"}, "maxItems": n}
        yield f"text of {n}", {"type": "string", "minLength": n, "maxLength": n}
    for n in (50, 500, 1500):
        names = [f"p{i}" for i in range(n)]
        yield f"{n} properties", {"type": "object", "properties": {name: {} for name in names}}
        yield f"{n} required", {
            "type": "object", "properties": {name: {"type": "integer"} for name in names},
            "required": names,
        }  # fmt: skip
    nested: Any = {"type": "integer"}
    for _ in range(14):
        nested = {"type": "object", "properties": {"a": nested, "b": nested}}
        if len(json.dumps(nested)) > 60_000:
            break
        last = nested
    yield "objects doubled as deep as fits", last
    for low, high in ((0, 10**300), (-(10**18), 10**18), (0.1, 0.1000001)):
        yield f"number from {low:g} to {high:g}", {
            "type": "number", "minimum": low, "maximum": high, "multipleOf": 1e-7,
        }  # fmt: skip
    yield "a long constant", {"const": "x" * 60_000}
    yield "at least a million properties", {"type": "object", "minProperties": 1_000_000}


def _references() -> Iterator[tuple[str, Any]]:
    yield "a reference to itself", {"$ref": "#"}
    yield "a ring of two", {"$defs": {"a": _ref("b"), "b": _ref("a")}, "$ref": "#/$defs/a"}
    yield (
        "a tree",
        {
            "$defs": {"t": {"type": "object", "properties": {c: _ref("t") for c in "abcdefgh"}}},
            "$ref": "#/$defs/t",
        },
    )
    for kind in ("allOf", "anyOf", "oneOf"):
        for n in (8, 16, 30):
            defs: dict[str, Any] = {
                f"d{i}": {kind: [_ref(f"d{i + 1}"), _ref(f"d{i + 1}")]} for i in range(n)
            }
            defs[f"d{n}"] = {"type": "object", "properties": {"a": {"type": "string"}}}
            yield f"{kind} doubled {n} times", {"$defs": defs, "$ref": "#/$defs/d0"}
    chain: dict[str, Any] = {f"d{i}": _ref(f"d{i + 1}") for i in range(800)}
    yield "a chain of 800", {"$defs": chain | {"d800": {}}, "$ref": "#/$defs/d0"}
    yield "a reference to nowhere", _ref("nowhere")
    yield "a reference to the world", {"$ref": "http://localhost:1/schema.json"}


def _ref(name: str) -> Any:
    return {"$ref": f"#/$defs/{name}"}


def _combinations() -> Iterator[tuple[str, Any]]:
    for n in (5, 30, 200):
        options = [
            {"type": "object", "properties": {f"k{i}": {"type": "integer"}, "z": {"const": i}}}
            for i in range(n)
        ]
        yield f"anyOf {n} objects", {"anyOf": options}
        yield f"oneOf {n} objects", {"oneOf": options}
        yield f"allOf {n} objects", {"allOf": options}
    for n in (4, 8, 11):
        pairs = [
            {"anyOf": [{"properties": {f"a{i}": {}}}, {"properties": {f"b{i}": {}}}]}
            for i in range(n)
        ]
        yield f"{n} times either", {"type": "object", "allOf": pairs}
    yield "not", {"not": {"not": {"not": {"type": "string"}}}}
    yield "if then else", {"if": {"type": "string"}, "then": {"minLength": 5}, "else": {}}
    yield "items that are unique", {"type": "array", "uniqueItems": True, "minItems": 500}


def _strings() -> Iterator[tuple[str, Any]]:
    for pattern in (
        "(a+)+$", "(a?){300}a{300}", "[ab]*a[ab]{200}", r"\p{L}{1,2000}", "(.{1,60}){1,60}",
        "(?=a)b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(" * 300 + "a" + ")" * 300, "a{100000}",
    ):  # fmt: skip
        yield f"pattern {pattern[:24]}", {"type": "string", "pattern": pattern}
    yield "pattern and length", {"type": "string", "pattern": "[ab]*a[ab]{30}", "maxLength": 4000}
    yield "names by pattern", {
        "type": "object", "patternProperties": {f"^(a?){{{n}}}b": {} for n in range(10, 200, 10)},
    }  # fmt: skip


# ── choices and tools ────────────────────────────────────────────────────────


def _choices() -> Iterator[tuple[str, Fields]]:
    yield "choices: 1,024 of 60 letters", {"choices": [f"{i:060d}" for i in range(1024)]}
    yield "choices: 1,024 that go on", {"choices": ["a" * n for n in range(1, 1025)]}
    yield "choices: 1,024 of any letters", {"choices": [chr(0x4E00 + i) * 100 for i in range(1024)]}


def _tools() -> Iterator[tuple[str, Fields]]:
    schemas = [
        ("items", {"type": "object", "properties": {"a": {"type": "array", "minItems": 10**6}}}),
        ("pattern", {"type": "object", "properties": {"a": {"pattern": "[ab]*a[ab]{99}"}}}),
        ("tree", {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}),
        ("many", {"type": "object", "properties": {f"p{i}": {} for i in range(900)}}),
    ]  # fmt: skip
    for name, schema in schemas:
        tools = [
            {"type": "function", "function": {"name": f"f{i}", "parameters": schema}}
            for i in range(8)
        ]
        yield f"tools: {name}", {"tools": tools, "tool_choice": "required"}
