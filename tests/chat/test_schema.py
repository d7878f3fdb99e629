import pytest

from edgellm.chat import schema
from edgellm.chat.messages import Tool


def closed(**parameters):
    return schema.parameters(Tool("f", parameters))


def test_a_tool_without_parameters_takes_an_empty_object():
    expected = {"type": "object", "properties": {}, "additionalProperties": False}
    assert schema.parameters(Tool("f")) == expected


def test_objects_are_closed_at_every_depth():
    inner = {"type": "object", "properties": {"b": {"type": "string"}}}
    found = closed(properties={"a": inner, "c": {"type": "array", "items": inner}})
    for place in (found, found["properties"]["a"], found["properties"]["c"]["items"]):
        assert place["additionalProperties"] is False


@pytest.mark.parametrize("more", [{}, {"additionalProperties": False}])
def test_what_is_required_and_described_nowhere_may_be_anything(more):
    inner = {"properties": {"x": {"type": "string"}}, "required": ["x", "y"]}
    found = closed(properties={"a": inner | more}, required=["a", "q"], **more)
    assert found["properties"]["q"] == {}
    assert found["properties"]["a"]["properties"] == {"x": {"type": "string"}, "y": {}}


def test_an_object_that_says_what_else_it_takes_keeps_its_word():
    found = closed(properties={"a": {"properties": {}, "additionalProperties": True}})
    assert found["properties"]["a"]["additionalProperties"] is True


def test_combined_schemas_stay_open():
    part = {"properties": {"x": {}}, "allOf": [{"properties": {"y": {}}}]}
    assert "additionalProperties" not in closed(properties={"a": part})["properties"]["a"]


NAMES_B = {"properties": {"b": {"type": "string"}}, "required": ["b"]}
BASE = {"$ref": "#/$defs/Base"}


@pytest.mark.parametrize(
    "whole",
    [
        {"allOf": [BASE, NAMES_B]},
        {**BASE, **NAMES_B},
        {**NAMES_B, "anyOf": [BASE, {"$ref": "#/$defs/Other"}]},
        {"allOf": [{"anyOf": [BASE, {"type": "object"}]}, NAMES_B]},
        {"allOf": [{"$ref": "#/$defs/Alias"}, NAMES_B]},
        {"properties": {"deep": {"oneOf": [{"allOf": [BASE, NAMES_B]}, {"type": "null"}]}}},
    ],
)
def test_definitions_that_are_combined_stay_open_too(whole):
    base = {"properties": {"a": {"properties": {"x": {}}}}}
    defined = {"Base": base, "Alias": BASE, "Other": {"properties": {}}, "Alone": base}
    found = schema.closed({"$defs": defined, **whole})["$defs"]
    assert "additionalProperties" not in found["Base"]
    assert found["Base"]["properties"]["a"]["additionalProperties"] is False
    assert found["Alone"]["additionalProperties"] is False


def test_a_branch_stays_open_where_others_name_properties_and_is_closed_where_none_do():
    branch = {"properties": {"x": {}}}
    beside = schema.closed({"anyOf": [branch], "properties": {"k": {}}, "required": ["k"]})
    assert beside["anyOf"] == [branch]
    for apart in ({"anyOf": [branch, {"type": "null"}]}, {"properties": {}, "oneOf": [branch]}):
        (kind,) = {"anyOf", "oneOf"} & apart.keys()
        assert schema.closed(apart)[kind][0]["additionalProperties"] is False


def test_a_definition_that_only_has_a_remark_beside_it_is_closed():
    whole = {"properties": {"a": {"allOf": [BASE], "description": "as pydantic writes it"}}}
    found = schema.closed({**whole, "$defs": {"Base": {"properties": {"x": {}}}}})
    assert found["$defs"]["Base"]["additionalProperties"] is False


def test_a_property_may_be_called_like_a_keyword():
    found = closed(properties={"properties": {"type": "object"}, "items": {"type": "string"}})
    assert found["properties"] == {"properties": {"type": "object"}, "items": {"type": "string"}}


def test_what_is_a_value_is_not_taken_for_a_schema():
    value = {"properties": {"x": 1}}
    found = closed(properties={"a": {"enum": [value], "default": value, "const": value}})
    assert found["properties"]["a"] == {"enum": [value], "default": value, "const": value}


def test_members_stand_alone_with_the_definitions_they_name():
    found = schema.members(
        {
            "properties": {"a": {"$ref": "#/$defs/A"}, "b": True},
            "required": ["a"],
            "$defs": {"A": {"type": "string"}},
        }
    )
    assert schema.types(found["a"][0]) == {"string"}
    assert [required for _, required in found.values()] == [True, False]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "string"}, {"string"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"enum": ["a", 1, None]}, {"string", "number", "null"}),
        ({"enum": [True, [], {}]}, {"boolean", "array", "object"}),
        ({"const": 1.5}, {"number"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"integer", "null"}),
        ({"anyOf": [{"type": "integer"}, {}]}, set()),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}}, {"object"}),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, set()),
        ({"$ref": "http://elsewhere"}, set()),
        ({}, set()),
    ],
)
def test_types_are_what_the_schema_says_or_nothing(given, expected):
    assert schema.types(given) == expected


DEFINED = {"$defs": {"Color": {"enum": ["red", "blue"]}}}
COLOR = {"$ref": "#/$defs/Color"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"enum": ["a", "b"]}, ("a", "b")),
        ({"const": "a"}, ("a",)),
        ({"const": None}, (None,)),
        ({"enum": ["a", 1, 1.5, True]}, ("a", 1, 1.5, True)),
        ({"type": ["string", "null"], "enum": ["a", None, 7]}, ("a", None)),
        ({"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}, ("a", None)),
        ({"oneOf": [{"const": "a"}, {"type": "boolean"}]}, ("a", True, False)),
        ({"anyOf": [COLOR, {"type": "null"}], **DEFINED}, ("red", "blue", None)),
        ({"allOf": [COLOR], "default": "red", **DEFINED}, ("red", "blue")),
        ({**COLOR, **DEFINED}, ("red", "blue")),
        ({"allOf": [COLOR, {"const": "red"}], **DEFINED}, None),
        ({"anyOf": [{"const": "a"}, {"type": "string"}]}, None),
        ({"anyOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"anyOf": [COLOR]}}}, None),
        ({"enum": ["a", {}]}, None),
        ({"enum": []}, None),
        ({"type": "string"}, None),
    ],
)
def test_options_are_the_values_that_a_schema_counts_up(given, expected):
    assert schema.options(given) == expected


def test_the_items_of_an_array_stand_alone_with_the_definitions_they_name():
    assert schema.options(schema.items({"items": COLOR, **DEFINED})) == ("red", "blue")
    assert schema.items({"items": True, **DEFINED}) == {}
