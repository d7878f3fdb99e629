"""Kimi K3: an answer's sections, and values that say of which type they are."""

import json

import pytest
from chat.hearing import BY_NAME, heard_every_way
from mask_fakes import PLAIN

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.runner.sampling.masks import Masks


def section(name, inside):
    return f"<|open|>{name}<|sep|>{inside}<|close|>{name.split()[0]}<|sep|>"


def argument(key, kind, value):
    return section(f'argument key="{key}" type="{kind}"', value)


def called(*arguments):
    return section("tools", section('call tool="note" index="1"', "".join(arguments)))


THOUGHT, END = section("think", "hm"), "<|close|>message<|sep|>"


@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        (THOUGHT + section("response", "Hi") + END, ("Hi", "hm", [], "stop")),
        (
            THOUGHT + section("response", "") + called(argument("text", "string", "x")) + END,
            ("", "hm", [("id1", "note", '{"text": "x"}')], "tool_calls"),
        ),
        (
            section("response", "I note.") + called(argument("text", "string", "x")) + END,
            ("I note.", "", [("id1", "note", '{"text": "x"}')], "tool_calls"),
        ),
    ],
)
def test_sections_are_told_without_their_marks(answer, heard):
    assert heard_every_way(BY_NAME["kimi-k3"], answer, style="<|end_of_msg|>") == heard


VALUES = [
    ("string", 'a "b"\n<c>', 'a "b"\n<c>'),
    ("string", "5", "5"),
    ("number", "5", 5),
    ("boolean", "true", True),
    ("null", "null", None),
    ("array", '["a", 1]', ["a", 1]),
    ("object", '{"k": "v"}', {"k": "v"}),
    ("number", "five", "five"),
]


@pytest.mark.parametrize(("kind", "written", "value"), VALUES)
def test_values_are_of_the_type_that_they_say(kind, written, value):
    text = called(argument("any", kind, written))
    calls = heard_every_way(BY_NAME["kimi-k3"], text)[2]
    assert json.loads(calls[0][2]) == {"any": value}


@pytest.mark.parametrize(
    ("schema", "kind", "good", "bad"),
    [
        ({"type": "string"}, "string", "x y", None),
        ({"type": "integer"}, "number", "5", "x"),
        ({"enum": ["a", 1]}, "string", "a", "b"),
        ({"enum": ["a", 1]}, "number", "1", "a"),
        ({"type": ["integer", "null"]}, "null", "null", "x"),
        ({"type": "array", "items": {"type": "integer"}}, "array", "[1]", '["a"]'),
    ],
)
def test_a_grammar_writes_types_and_values_by_the_schema(schema, kind, good, bad):
    tool = Tool("note", {"type": "object", "properties": {"a": schema}, "required": ["a"]})
    rules = Rules()
    grammar = rules.starting(BY_NAME["kimi-k3"].rule(rules, (tool,), False))

    def takes(value):
        mask = Masks(PLAIN.tokenizer, PLAIN.n_vocab).compile(grammar)
        return PLAIN.allows(mask, called(argument("a", kind, value)))

    assert takes(good)
    assert bad is None or not takes(bad)
