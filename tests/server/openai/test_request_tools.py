"""Tools, which of them may be called, and calls of the past."""

import json

import pytest
from openai_bodies import chat, refused

from edgellm.chat.messages import Tool, ToolCall, ToolChoice


def function(name="f", **more):
    return {"type": "function", "function": {"name": name, **more}}


def allowing(*names):
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}


def parameters(schema):
    return {"tools": [function(), function("g", parameters=schema)]}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "web_search"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "is missing"),
        ({"tools": [function("a b")]}, "tools[0].function.name", "'a b' is not"),
        ({"tools": [function("x" * 129)]}, "tools[0].function.name", "128 letters"),
        ({"tools": [function(), function()]}, "tools[1].function.name", "'f' is there twice"),
        ({"tools": [function(f"f{i}") for i in range(257)]}, "tools", "256"),
        (parameters([1]), "tools[1].function.parameters", "object"),
        (parameters({"type": "string"}), "tools[1].function.parameters.type", "object"),
        (parameters({"properties": [1]}), "tools[1].function.parameters.properties", "object"),
        (parameters({"required": "a"}), "tools[1].function.parameters.required", "list"),
        (parameters({"x": "y" * 70_000}), "tools[1].function.parameters", "65536"),
        (
            parameters(json.loads('{"a":' * 33 + "1" + "}" * 33)),
            "tools[1].function.parameters",
            "33 deep",
        ),
        (
            {"tools": [function(f"f{i}", parameters={"x": "y" * 60_000}) for i in range(5)]},
            "tools",
            "262144",
        ),
        ({"tools": [function()], "tool_choice": "maybe"}, "tool_choice", "maybe"),
        ({"tools": [function()], "tool_choice": {"type": "x"}}, "tool_choice.type", "x"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        (
            {"tools": [function()], "tool_choice": allowing()},
            "tool_choice.allowed_tools.tools",
            "must not be empty",
        ),
        ({"tool_choice": allowing("f")}, "tool_choice", "no tools"),
        (
            {"messages": [{"role": "user", "tool_calls": [{"function": {"name": "f"}}]}]},
            "messages[0]",
            "only an assistant",
        ),
    ],
)  # fmt: skip
def test_tools_are_refused_by_their_place(fields, param, words):
    error = refused(chat, **fields)
    assert error.param == param
    assert words in str(error)


def test_empty_tools_are_no_tools():
    asked = chat(tools=[], tool_choice="auto", grammar="")
    assert (asked.tools, asked.params.structure) == ((), None)


def test_tools_travel_with_their_schemas():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked = chat(
        tools=[function("f", description="x", parameters=schema), function("g")],
        tool_choice={"type": "function", "function": {"name": "g"}},
        parallel_tool_calls=False,
    )
    assert asked.tools == (Tool("f", schema, "x"), Tool("g"))
    assert asked.tool_choice == ToolChoice("required", ("g",))
    assert asked.parallel_tool_calls is False


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_some_of_the_tools_may_be_allowed(mode):
    choice = allowing("g", "f", "g")
    choice["allowed_tools"]["mode"] = mode
    asked = chat(tools=[function("f"), function("g"), function("h")], tool_choice=choice)
    assert asked.tool_choice == ToolChoice(mode, ("g", "f"))
    assert len(asked.tools) == 3


def test_a_past_call_and_its_result_are_understood():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    as_object = {"function": {"name": "g", "arguments": {"b": 2}}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call, as_object], "reasoning": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
    ]
    assistant, result = chat(messages=messages).messages
    assert assistant.tool_calls == (
        ToolCall("c1", "f", '{"a": 1}'),
        ToolCall("call_0_1", "g", '{"b": 2}'),
    )
    assert (assistant.text, assistant.reasoning) == ("", "hm")
    assert (result.text, result.tool_call_id) == ("sunny", "c1")


def test_one_function_by_its_name_is_one_call():
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    named = {"type": "function", "function": {"name": "f"}}
    allowed = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [named]},
    }
    assert not chat(tools=tools, tool_choice=named).parallel_tool_calls
    assert chat(tools=tools, tool_choice=allowed).parallel_tool_calls
    assert chat(tools=tools, tool_choice="required").parallel_tool_calls
