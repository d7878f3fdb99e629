"""What is no structure, and what of a schema binds nothing."""

import json

import llguidance
import pytest
from mask_fakes import PLAIN

from edgellm.chat.grammars.json_schema import FORMATS
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import GBNF, JSONSchema, Regex
from edgellm.errors import BadRequest


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (Regex("("), "unclosed group"),
        (JSONSchema('{"type": "strin"}'), "Invalid type: strin"),
        (JSONSchema('{"type": "array", "uniqueItems": true}'), 'keys: ["uniqueItems"]'),
        (JSONSchema('{"$ref": "http://x"}'), "http://x"),
        (JSONSchema("[1"), "not a JSON schema"),
        (GBNF('root ::= "a'), "grammar: line 1: the text ends"),
        (Regex("a" * 600_000), "600000 characters are more than"),
        (Regex("(a{1000}){1000}"), "has 1000000 characters; 100000 is the limit"),
        (JSONSchema('{"type": "string", "pattern": "a{200000}"}'), "has 200000 characters"),
    ],
)
def test_what_is_no_structure_is_refused_in_llguidances_words(masks, structure, words):
    with pytest.raises(BadRequest) as raised:
        masks.compile(structure)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "format",
    [
        *sorted(FORMATS), "path", "binary", "password", "int64", "uri-reference", "iri", "regex",
        "json-pointer", "idn-email", "relative-json-pointer", "uri-template", "byte",
    ],
)  # fmt: skip
def test_the_formats_that_bind_are_those_that_llguidance_knows(format):
    schema = {"type": "string", "format": format}
    grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
    is_known = not llguidance.LLMatcher.validate_grammar(grammar)
    assert is_known == (format in FORMATS)


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        ({"type": "string", "format": "path"}, '"a/b"'),
        ({"type": "array", "items": {"enum": [1]}, "uniqueItems": False}, "[1]"),
        ({"type": "object", "properties": {"format": {"format": "binary"}}}, '{"format":"x"}'),
        ({"type": "object", "propertyNames": {"type": "string"}, "maxProperties": 0}, "{}"),
        ({"anyOf": [{"const": {"format": "path"}}]}, '{"format":"path"}'),
    ],
)
def test_what_binds_nothing_in_a_schema_is_passed_over(masks, schema, good):
    mask = masks.compile(JSONSchema(json.dumps(schema)))
    assert PLAIN.allows(mask, good)
    assert PLAIN.may_end(mask)


@pytest.mark.parametrize(
    ("more", "is_allowed"),
    [({}, False), ({"additionalProperties": True}, True), ({"patternProperties": {"b": {}}}, True)],
)
def test_an_object_has_other_properties_only_where_its_schema_says_so(masks, more, is_allowed):
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {}, **more}}}
    mask = masks.compile(JSONSchema(json.dumps(schema)))
    assert PLAIN.allows(mask, '{"a":{"b":1}}') == is_allowed
    assert not PLAIN.allows(masks.compile(JSONSchema(json.dumps(schema))), '{"b":')


@pytest.mark.parametrize(
    "said",
    [
        {"$schema": "http://json-schema.org/schema#"},
        {"$schema": "https://json-schema.org/draft-07/schema#"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"$schema": 7},
        {"minimum": -(2**63), "maximum": 2**63 - 1},
        {"minimum": 0, "maximum": 2**64 - 1},
        {"exclusiveMinimum": -1.7976931348623157e308, "exclusiveMaximum": 3.4028235e38},
    ],
)
@pytest.mark.parametrize("kind", ["integer", "number"])
@pytest.mark.parametrize("is_strict", [True, False])
def test_an_unknown_dialect_and_the_widest_bounds_bind_nothing(masks, said, kind, is_strict):
    schema = {**said, "type": "object", "properties": {"a": {**said, "type": kind}}}
    rules = Rules()
    mask = masks.compile(rules.starting(rules.json(schema, "x", is_strict=is_strict)))
    assert PLAIN.allows(mask, '{"a": 5}')
    assert PLAIN.may_end(mask)
    assert PLAIN.allows(masks.compile(JSONSchema(json.dumps(schema))), '{"a":5}')


@pytest.mark.parametrize(
    "pattern", [r"^(?!a).*$", r"\bfoo\b", r"(a)\1", "a^b", "a{", "[^]", "(?>a)", r"\cA", "[a-z"]
)
def test_a_tools_pattern_that_is_not_read_binds_nothing_and_the_others_do(masks, pattern):
    properties = {"a": {"pattern": pattern}, "b": {"type": "string", "pattern": "^x+$"}}
    tool = {"type": "object", "properties": properties, "patternProperties": {pattern: {}}}
    rules = Rules()
    calls = rules.json(tool, "tool 'x'")
    assert PLAIN.allows(masks.compile(rules.starting(calls)), '{"a": "#", "b": "xx"}')
    assert not PLAIN.allows(masks.compile(rules.starting(calls)), '{"a": "#", "b": "y"}')
    for structure in (
        JSONSchema(json.dumps(tool)),
        rules.starting(f"{rules.json(tool, 'response_format', is_strict=True)} | {calls}"),
    ):
        with pytest.raises(BadRequest, match=r"error|lookarounds"):
            masks.compile(structure)


def test_a_bad_schema_of_a_tool_is_blamed_by_the_tools_name(masks):
    rules = Rules()
    bodies = [rules.json({"type": kind}, f"tool '{kind}'") for kind in ("object", "strin")]
    with pytest.raises(BadRequest, match="tool 'strin': Invalid type: strin"):
        masks.compile(rules.starting(" | ".join(bodies)))


BASE = {"properties": {"a": {"enum": [1]}}, "required": ["a"]}
NAMES_B = {"type": "object", "properties": {"b": {"enum": [2]}}, "required": ["b"]}


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        ({"allOf": [{"$ref": "#/$defs/Base"}, NAMES_B]}, '{"a":1,"b":2}'),
        ({"$ref": "#/$defs/Base", **NAMES_B}, '{"a":1,"b":2}'),
        ({**NAMES_B, "anyOf": [BASE]}, '{"b":2,"a":1}'),
        ({**NAMES_B, "oneOf": [{"$ref": "#/$defs/Base"}]}, '{"b":2,"a":1}'),
    ],
)
def test_what_one_of_combined_schemas_names_the_others_do_not_forbid(masks, schema, good):
    mask = masks.compile(JSONSchema(json.dumps({"$defs": {"Base": BASE}, **schema})))
    assert PLAIN.allows(mask, good)
    assert PLAIN.may_end(mask)
