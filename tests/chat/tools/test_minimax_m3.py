"""MiniMax M3: values are tags inside tags, each with a mark of its own."""

import json

import pytest
from chat.hearing import BY_NAME, NOTE, hear, heard_every_way
from mask_fakes import PLAIN

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.runner.sampling.masks import Masks

MARK = "]<]minimax[>["
BEGIN = f'{MARK}<tool_call>\n{MARK}<invoke name="note">'
END = f"{MARK}</invoke>\n{MARK}</tool_call>"


def tags(text):
    return text.replace("<", f"{MARK}<")


VALUES = [
    ("<text>a <b>c</b>\n</text>", {"text": "a <b>c</b>\n"}),
    ("<tags><item>x</item><item>y</item></tags>", {"tags": ["x", "y"]}),
    ("<tags>\n<item>x</item>\n</tags>\n", {"tags": ["x"]}),
    ("<tags></tags>", {"tags": []}),
    ('<tags>["x", "y"]</tags>', {"tags": ["x", "y"]}),
    ("<where><room>hall</room></where>", {"where": {"room": "hall"}}),
    ("<where></where>", {"where": {}}),
    ("<loud>true</loud><text>x</text>", {"loud": True, "text": "x"}),
    ("<any>5</any>", {"any": "5"}),
    ("<any><k><item>1</item></k><l>a</l></any>", {"any": {"k": ["1"], "l": "a"}}),
    ("<unknown>x</unknown>", {"unknown": "x"}),
]


@pytest.mark.parametrize(("written", "arguments"), VALUES)
def test_tags_become_json(written, arguments):
    inside = tags(written).replace(f"{MARK}<b>", "<b>").replace(f"{MARK}</b>", "</b>")
    text, _, calls, reason = heard_every_way(BY_NAME["minimax-m3"], BEGIN + inside + END)
    assert (text, reason) == ("", "tool_calls")
    assert json.loads(calls[0][2]) == arguments


def test_an_array_may_hold_objects_and_an_object_an_item():
    number = {"type": "object", "properties": {"n": {"type": "integer"}}}
    bag = {"type": "object", "properties": {"item": {"type": "string"}}}
    schema = {"properties": {"of": {"type": "array", "items": number}, "bag": bag}}
    written = "<of><item><n>1</n></item><item><n>2</n></item></of><bag><item>x</item></bag>"
    text = BEGIN + tags(written) + END
    calls = heard_every_way(BY_NAME["minimax-m3"], text, tools=(Tool("note", schema),))[2]
    assert json.loads(calls[0][2]) == {"of": [{"n": 1}, {"n": 2}], "bag": {"item": "x"}}


def test_thoughts_that_were_not_begun_end_without_a_word():
    heard = heard_every_way(BY_NAME["minimax-m3"], "</mm:think>Hi.", style="</mm:think>")
    assert heard == ("Hi.", "", [], "stop")


def test_values_inside_values_without_end_break_off():
    text = BEGIN + tags("<any>" + "<k>" * 500)
    said, _, calls, reason = hear(BY_NAME["minimax-m3"], [text])
    assert calls[0][2].startswith('{"any": {"k": {"k": ')
    assert (said.count("<k>") > 400, reason) == (True, "stop")


@pytest.mark.parametrize(
    ("written", "may_be"),
    [
        ("<text>x</text>", True),
        ("<text>x</text><tags><item>a</item><item>b</item></tags>", True),
        ("<text>x</text><where><room>attic</room></where><loud>true</loud>", True),
        ("<text>x</text><where><room>cellar</room></where>", False),
        ("<text>x</text><loud>maybe</loud>", False),
        ("<tags></tags>", False),
    ],
)
def test_a_grammar_writes_tags_by_the_schema(written, may_be):
    rules = Rules()
    grammar = rules.starting(BY_NAME["minimax-m3"].rule(rules, (NOTE,), False))
    mask = Masks(PLAIN.tokenizer, PLAIN.n_vocab).compile(grammar)
    assert PLAIN.allows(mask, BEGIN + tags(written) + END) == may_be
