import json

import msgspec
import pytest
from pictures import data_url, png

from edgellm.chat.messages import JSONSchema, Message, SamplingParams, ToolCall, ToolChoice
from edgellm.errors import BadRequest
from edgellm.server.responses.requests import response_request
from edgellm.server.responses.store import Store

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}
TEXT = {"type": "input_text", "text": "a"}
CLOCK = {"type": "function", "name": "clock", "description": "The time"}


def asked(input="Hi", **fields):
    return response_request(json.dumps({"input": input} | fields).encode(), "__mark__", Store())


def messages(*items, **fields):
    return asked([*items], **fields).chat.messages


def refused(input="Hi", **fields):
    with pytest.raises(BadRequest) as raised:
        asked(input, **fields)
    return raised.value


def said(role, text, kind="input_text"):
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def call(id, name="weather", arguments="{}"):
    return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}


def output(id, text):
    return {"type": "function_call_output", "call_id": id, "output": text}


def test_a_text_is_the_users_and_instructions_go_before():
    chat = asked("Hi", instructions="Be brief.", model="tiny").chat
    assert chat.model == "tiny"
    assert chat.messages == (Message("system", "Be brief."), Message("user", "Hi"))


def test_what_openais_servers_did_themselves_is_passed_over_in_a_conversation():
    """Codex goes on here with a session that another server began."""
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}}
    drawn = {"type": "image_generation_call", "id": "ig_1", "result": "aGk="}
    found = asked([said("user", "Hi"), searched, drawn, said("assistant", "a", "output_text")])
    assert found.chat.messages == (Message("user", "Hi"), Message("assistant", "a"))
    assert len(found.given) == 2


def test_a_file_of_text_is_shown_and_may_come_back_by_its_response():
    file = {"type": "input_file", "filename": "a.md", "file_data": "data:text/plain;base64,SGk="}
    (message,) = messages({"role": "user", "content": [file, TEXT]})
    assert message.text == "<document>\n<source>a.md</source>\nHi\n</document>\na"
    assert (
        b'"file_data":"data:text/plain;base64,SGk="'
        in asked([{"role": "user", "content": [file]}]).given[0]
    )


def test_what_another_agent_says_is_the_users():
    words = {"type": "input_text", "text": "Message Type: NEW_TASK\nPayload:\n"}
    task = {"type": "encrypted_content", "encrypted_content": "Count the files."}
    told = {"type": "agent_message", "id": "amsg_0", "author": "/root", "recipient": "/root/child"}
    found = messages(said("assistant", "a", "output_text"), told | {"content": [words, task]})
    assert found == (
        Message("assistant", "a"),
        Message("user", "Message Type: NEW_TASK\nPayload:\nCount the files."),
    )


def test_tools_may_be_offered_in_the_input_and_there_more_than_once():
    run = {"type": "custom", "name": "exec"}
    offer = {"type": "additional_tools", "role": "developer", "id": "at_0"}
    more = offer | {"tools": [{"type": "namespace", "name": "functions", "tools": [run]}, WEATHER]}
    found = asked([more, said("user", "Hi"), more, more | {"tools": []}], tools=[WEATHER, CLOCK])
    assert found.chat.messages == (Message("user", "Hi"),)
    assert [one.name for one in found.chat.tools] == ["weather", "clock", "functions__exec"]
    offered = found.tools.offered["functions__exec"]
    assert (offered.kind, offered.name, offered.namespace) == ("custom", "exec", "functions")


def test_messages_are_read_in_all_their_shapes():
    found = messages(
        {"role": "developer", "content": "Be brief."},
        said("user", "Hi"),
        {"role": "user", "content": [TEXT, {"type": "text", "text": "b"}]},
        said("assistant", "Hello", "output_text") | {"id": "msg_1", "status": "completed"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    )  # fmt: skip
    assert found == (
        Message("developer", "Be brief."),
        Message("user", "Hi"),
        Message("user", "ab"),
        Message("assistant", "Hello"),
        Message("assistant", "No."),
    )


def test_a_turn_of_several_items_is_one_message():
    thoughts = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [
        {"type": "reasoning_text", "text": "Hm."}]}  # fmt: skip
    found = messages(
        said("user", "Weather?"),
        thoughts,
        said("assistant", "I look.", "output_text"),
        call("c1", arguments='{"city":"Rome"}'),
        call("c2"),
        output("c1", "sunny"),
        output("c2", [{"type": "input_text", "text": "ra"}, {"type": "input_text", "text": "in"}]),
        thoughts,
        said("assistant", "Sunny.", "output_text"),
    )
    rome, other = ToolCall("c1", "weather", '{"city":"Rome"}'), ToolCall("c2", "weather", "{}")
    assert found == (
        Message("user", "Weather?"),
        Message("assistant", "I look.", reasoning="Hm.", tool_calls=(rome, other)),
        Message("tool", "sunny", tool_call_id="c1"),
        Message("tool", "rain", tool_call_id="c2"),
        Message("assistant", "Sunny.", reasoning="Hm."),
    )


def test_thoughts_between_text_and_call_are_of_one_turn_and_between_texts_of_the_next():
    def thoughts(text):
        return {"type": "reasoning", "content": [{"type": "reasoning_text", "text": text}]}

    a, b = (said("assistant", text, "output_text") for text in "ab")
    called = (ToolCall("c1", "weather", "{}"),)
    assert messages(thoughts("1"), a, thoughts("2"), call("c1"), b) == (
        Message("assistant", "ab", reasoning="1\n\n2", tool_calls=called),
    )
    assert messages(a, thoughts("2"), b) == (
        Message("assistant", "a"),
        Message("assistant", "b", reasoning="2"),
    )
    assert messages(a, thoughts("2")) == (Message("assistant", "a", reasoning="2"),)


@pytest.mark.parametrize(
    ("item", "thoughts"),
    [
        ({"summary": [{"type": "summary_text", "text": "Short."}]}, "Short."),
        ({"summary": [{"type": "summary_text", "text": "Short."}],
          "content": [{"type": "reasoning_text", "text": "Long."}]}, "Long."),
        ({"summary": [], "content": None, "encrypted_content": "gAAA"}, None),
    ],
)  # fmt: skip
def test_thoughts_come_back_as_they_can_be_read(item, thoughts):
    *_, last = messages({"type": "reasoning"} | item, call("c1"))
    assert last.reasoning == thoughts
    assert len(last.tool_calls) == 1


def test_custom_tools_and_namespaces_are_known_by_the_names_the_model_has():
    found = messages(
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'a "b"\n'},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        call("c2", "log") | {"namespace": "mcp__git__"},
    )
    first, result, second = found
    (patch,), (log,) = first.tool_calls, second.tool_calls
    assert (patch.name, json.loads(patch.arguments)) == ("patch", {"input": 'a "b"\n'})
    assert result == Message("tool", "done", tool_call_id="c1")
    assert log.name == "mcp__git__log"


def test_a_picture_is_seen_where_it_stands():
    picture = {"type": "input_image", "detail": "auto", "image_url": data_url(png())}
    parts = [{"type": "input_text", "text": "This: "}, picture]
    chat = asked([{"role": "user", "content": parts}, output("c1", [picture])]).chat
    assert [one.text for one in chat.messages] == ["This: __mark__", "__mark__"]
    assert chat.params.pictures.names == ("input[0].content[1]", "input[1].output[0]")


def test_tools_become_the_models():
    patch = {"type": "custom", "name": "patch", "description": "Edits.", "format": {
        "type": "grammar", "syntax": "lark", "definition": "start: /a+/"}}  # fmt: skip
    mcp = {"type": "namespace", "name": "git", "description": "Git.", "tools": [CLOCK, patch]}
    found = asked(tools=[WEATHER, patch, mcp]).chat.tools
    assert [tool.name for tool in found] == ["weather", "patch", "git__clock", "git__patch"]
    assert found[0].parameters == CITY
    assert list(found[1].parameters["properties"]) == ["input"]
    assert found[1].description.startswith("Edits.")
    assert "start: /a+/" in found[1].description, "it is not bound, so the model has to be told"


def test_a_namespace_without_tools_offers_nothing():
    empty = {"type": "namespace", "name": "mcp__git", "tools": []}
    assert asked(tools=[empty]).chat.tools == ()
    assert refused(tools=[empty, {"type": "web_search"}]).param == "tools[1]"


def test_numbers_that_are_none_are_refused_in_a_schema_that_is_repeated():
    form = b'{"type": "json_schema", "name": "a", "schema": {"maximum": 1e999}}'
    with pytest.raises(BadRequest, match="out of range") as raised:
        response_request(b'{"input": "Hi", "text": {"format": %b}}' % form, "__mark__", Store())
    assert raised.value.param == "text.format.schema"


def test_what_agents_offer_to_every_model_is_passed_over_beside_their_own_and_not_shown():
    offered = [WEATHER, {"type": "web_search"}, {"type": "image_generation"}]
    found = asked(tools=offered)
    assert [tool.name for tool in found.chat.tools] == ["weather"]
    assert [tool.name for tool in found.response.tools] == ["weather"]


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([{"type": "web_search_preview"}], "tools[0]"),
        ([WEATHER, {"type": "file_search", "vector_store_ids": ["x"]}], "tools[1]"),
        ([{"type": "mcp", "server_label": "x", "server_url": "http://x"}], "tools[0]"),
        ([{"type": "code_interpreter", "container": {"type": "auto"}}], "tools[0]"),
        ([{"type": "computer_use_preview"}], "tools[0]"),
        ([WEATHER, {"type": "local_shell"}], "tools[1]"),
        ([{"type": "namespace", "name": "a", "tools": [{"type": "mcp"}]}], "tools[0].tools[0]"),
    ],
)
def test_what_openais_servers_do_is_refused_by_name(tools, param):
    error = refused(tools=tools)
    assert error.param == param
    assert repr(tools[-1].get("tools", tools)[-1]["type"]) in str(error)
    assert "function" in error.hint


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "weather"}, ToolChoice("required", ("weather",))),
        ({"type": "custom", "name": "patch"}, ToolChoice("required", ("patch",))),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [
                {"type": "function", "name": "weather"}, {"type": "web_search"}]},
            ToolChoice("auto", ("weather",)),
        ),
    ],
)  # fmt: skip
def test_a_choice_is_read(choice, expected):
    found = asked(tools=[WEATHER, {"type": "custom", "name": "patch"}], tool_choice=choice)
    assert found.chat.tool_choice == expected
    assert found.chat.parallel_tool_calls is not (isinstance(choice, dict) and "name" in choice)


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "web_search_preview"}, "tool_choice"),
        ({"type": "mcp", "server_label": "x"}, "tool_choice"),
        ({"type": "allowed_tools", "tools": [{"type": "web_search"}]}, "tool_choice"),
        ({"type": "allowed_tools", "tools": [{"type": "mcp"}]}, "tool_choice.tools[0]"),
    ],
)  # fmt: skip
def test_a_choice_of_what_is_not_served_is_refused(choice, param):
    assert refused(tools=[WEATHER], tool_choice=choice).param == param


def test_what_bounds_and_binds_an_answer_is_read():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "a", "schema": schema, "strict": True}
    chat = asked(
        max_output_tokens=9,
        temperature=0,
        top_p=0.5,
        top_logprobs=3,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        text={"format": form, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        parallel_tool_calls=False,
        stream=True,
        top_k=7,
    ).chat
    assert chat.params.max_tokens == 9
    assert chat.params.sampling == SamplingParams(temperature=0, top_p=0.5, top_k=7)
    assert chat.params.logprobs == 3
    assert json.loads(chat.params.structure.schema) == schema
    assert chat.structure_field == "text.format"
    assert chat.template_kwargs == {"reasoning_effort": "low"}
    assert not chat.parallel_tool_calls
    assert chat.stream


@pytest.mark.parametrize(
    ("fields", "logprobs"),
    [
        ({}, None),
        ({"top_logprobs": 0}, None),
        ({"top_logprobs": 2}, 2),
        ({"include": ["message.output_text.logprobs"]}, 0),
    ],
)
def test_logprobs_are_told_to_who_asks_for_them(fields, logprobs):
    assert asked(**fields).chat.params.logprobs == logprobs


def test_other_formats_and_an_effort_of_none():
    assert asked(text={"format": {"type": "text"}}).chat.params.structure is None
    found = asked(text={"format": {"type": "json_object"}}).chat.params.structure
    assert found == JSONSchema('{"type":"object"}')
    kwargs = asked(reasoning={"effort": "none"}).chat.template_kwargs
    assert kwargs["enable_thinking"] is False


def test_the_response_repeats_what_is_done():
    response = asked(
        instructions="Be brief.",
        metadata={"a": "b"},
        store=True,
        truncation="auto",
        service_tier="priority",
        max_output_tokens=9,
        temperature=0.25,
        prompt_cache_key="k",
        safety_identifier="s",
        user="u",
        reasoning={"effort": "low", "summary": "detailed"},
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        text={"verbosity": "low"},
        stream_options={"include_obfuscation": False},
    ).response
    assert (response.instructions, response.metadata) == ("Be brief.", {"a": "b"})
    assert (response.store, response.truncation, response.service_tier) == (
        True, "auto", "default"
    )  # fmt: skip
    assert (response.max_output_tokens, response.temperature) == (9, 0.25)
    assert (response.prompt_cache_key, response.safety_identifier, response.user) == ("k", "s", "u")
    assert (response.reasoning.effort, response.reasoning.summary) == ("low", "detailed")
    assert response.tool_choice.name == "weather"
    assert json.loads(bytes(response.tools[0].parameters)) == CITY
    allowed = {"type": "allowed_tools", "tools": [{"type": "function", "name": "weather"}]}
    shown = asked(tools=[WEATHER], tool_choice=allowed).response.tool_choice
    assert json.loads(msgspec.json.encode(shown)) == allowed | {"mode": "auto"}
    assert not response.parallel_tool_calls
    assert response.text.verbosity == "low"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True, "store": False}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"n": 2}, "n"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"truncation": "middle"}, "truncation"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_object"}}, "regex": "a"}, "text.format"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tools": [WEATHER | {"parameters": []}]}, "tools[0].parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": []}, "input"),
        ({"input": [{"content": "Hi"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "file_search_call", "id": "fs_1"}]}, "input[0]"),
        ({"input": [said("user", "a", "input_file")]}, "input[0].content[0]"),
        ({"input": [said("user", None, "input_image")]}, "input[0].content[0]"),
        ({"input": [call(None)]}, "input[0].call_id"),
        ({"input": [{"type": "custom_tool_call", "call_id": "a"}]}, "input[0].name"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
    ],
)
def test_what_is_not_served_or_wrong_is_refused_by_its_field(fields, param):
    error = refused(**fields)
    assert error.param == param
    assert str(error)


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": None, "conversation": None, "background": False, "prompt": None},
        {"previous_response_id": "", "context_management": []},
        {"store": False, "client_metadata": {"a": "b"}, "include": ["web_search_call.results"]},
    ],
)
def test_what_asks_for_nothing_is_passed_over(fields):
    assert asked(**fields).chat == asked().chat
