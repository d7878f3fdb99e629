"""Schemas in a grammar, without what isn't read."""

import re

from chat.hearing import BY_NAME

from edgellm.chat.grammars.json_schema import without_unread
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool

UNREAD = "(?=a)b"


def test_a_literal_that_says_json_is_no_schema():
    members = {
        "mode": {"enum": ["plain", "%json {}", "r_0: %json {}"]},
        "of": {"type": "object", "properties": {"x": {"type": "string", "pattern": UNREAD}}},
    }
    tool = Tool("get", {"type": "object", "properties": members, "required": ["mode", "of"]})
    rules = Rules()
    grammar = rules.starting(BY_NAME["qwen-coder"].rule(rules, (tool,), False)).grammar
    assert UNREAD in grammar
    assert without_unread(grammar, lambda pattern: True) == grammar
    left = without_unread(grammar, lambda pattern: pattern != UNREAD)
    assert left == re.sub(r', "pattern": "[^"]*"', "", grammar)


def test_only_a_strict_schema_loses_the_remarks_that_bind_nothing():
    schema = {"type": "string", "format": "a poem"}
    lenient, strict = Rules(), Rules()
    lenient.json(schema, "x")
    strict.json(schema, "x", is_strict=True)
    assert "a poem" in lenient.starting("r_0").grammar
    assert "lenient" in lenient.starting("r_0").grammar
    assert "a poem" not in strict.starting("r_0").grammar
    assert "lenient" not in strict.starting("r_0").grammar
