import json

import pytest
from chat.hearing import BY_NAME, hear, heard_every_way

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.errors import BadRequest


def test_gemmas_values_become_json():
    text = (
        '<|tool_call>call:note{text:<|"|>a "b"\n<|"|>,tags:[<|"|>x<|"|>,<|"|>y<|"|>],'
        'where:{room:<|"|>hall<|"|>},loud:true,any:null}<tool_call|>'
    )
    (_, _, arguments) = heard_every_way(BY_NAME["gemma-4"], text)[2][0]
    assert json.loads(arguments) == {
        "text": 'a "b"\n', "tags": ["x", "y"], "where": {"room": "hall"}, "loud": True, "any": None,
    }  # fmt: skip


def test_gemmas_values_may_be_jsons():
    text = (
        '<|tool_call>call:note{"text":"Rome, Italy","tags":["a,b","c:d"],'
        'any:{<|"|>a:b<|"|>:[-1.5e3,null]}}<tool_call|>'
    )
    ((_, _, arguments),) = heard_every_way(BY_NAME["gemma-4"], text)[2]
    expected = {"text": "Rome, Italy", "tags": ["a,b", "c:d"], "any": {"a:b": [-1.5e3, None]}}
    assert json.loads(arguments) == expected


def test_gemmas_values_may_be_deep_but_not_without_end():
    begin = "<|tool_call>call:note{any:"
    deep = "[" * 60 + "]" * 60
    assert hear(BY_NAME["gemma-4"], [f"{begin}{deep}}}<tool_call|>"])[:3] == (
        "", "", [("id1", "note", f'{{"any": {deep}}}')],
    )  # fmt: skip
    for value in ("[", "{a:"):
        text, _, ((_, _, arguments),), _ = hear(BY_NAME["gemma-4"], [begin + value * 5000])
        assert arguments.count(value[0]) + text.count(value[0]) - (value == "{a:") == 5000


def test_what_breaks_off_inside_gemmas_values_goes_on_as_text():
    text = '<|tool_call>call:note{"text" : 1 , "tags" or so'
    heard = heard_every_way(BY_NAME["gemma-4"], text)
    assert heard == (', "tags" or so', "", [("id1", "note", '{"text": 1')], "stop")


def test_what_json_has_only_as_escapes_is_told_as_them():
    text = '<|tool_call>call:note{"\\ud800":"a\nb"}<tool_call|>'
    ((_, _, arguments),) = heard_every_way(BY_NAME["gemma-4"], text)[2]
    assert arguments == '{"\\ud800": "a\\nb"}'


def array_rule(**bounds):
    items = {"type": "array", "items": {"type": "integer"}, **bounds}
    rules = Rules()
    BY_NAME["gemma-4"].rule(rules, (Tool("sum", {"properties": {"of": items}}),), False)
    return rules.starting("x").grammar


@pytest.mark.parametrize(
    ("bounds", "written"),
    [
        ({}, "{0,63}"), ({"minItems": 2}, "{1,63}"), ({"maxItems": 3}, "{0,2}"),
        ({"minItems": 100}, "{99,99}"), ({"maxItems": 2**70}, "{0,65535}"),
    ],
)  # fmt: skip
def test_gemmas_arrays_have_the_schemas_bounds(bounds, written):
    assert written in array_rule(**bounds)


@pytest.mark.parametrize(
    "bounds",
    [
        {"minItems": {}}, {"minItems": 1.5}, {"minItems": -1}, {"minItems": True},
        {"minItems": None}, {"maxItems": "3"}, {"maxItems": []},
        {"minItems": 3, "maxItems": 2},
    ],
)  # fmt: skip
def test_bounds_that_bound_nothing_are_the_clients_fault(bounds):
    with pytest.raises(BadRequest, match=r"tool 'sum'.*Items"):
        array_rule(**bounds)


def test_what_is_optional_or_named_elsewhere_binds_as_its_definition_does():
    color = {"$ref": "#/$defs/Color"}
    properties = {
        "one": {"anyOf": [color, {"type": "null"}]},
        "many": {"type": "array", "items": color},
    }
    parameters = {"$defs": {"Color": {"enum": ["red"]}}, "properties": properties}
    rules = Rules()
    BY_NAME["gemma-4"].rule(rules, (Tool("paint", parameters),), False)
    written = rules.starting("x")
    red = "m_" + str(written.markers.index('<|"|>red<|"|>'))
    lines = dict(line.split(": ", 1) for line in written.grammar.splitlines())
    bodies = {*lines.values()}
    assert {f'{red} | "null"', red} <= bodies
    assert "%json" not in written.grammar, "somewhere any value is allowed"
