import base64
import json

import pytest
from pictures import png

from edgellm.chat.messages import JSONSchema, Message, Tool, ToolCall, ToolChoice
from edgellm.errors import BadRequest
from edgellm.server.anthropic.requests import count_request, message_request

PNG = png()
HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "of a city", "input_schema": SCHEMA}


def read(**body):
    values = {"max_tokens": 9, "messages": HI} | body
    return message_request(json.dumps(values).encode(), "MARK")


def chat(**body):
    return read(**body).chat


def talk(*messages, **more):
    given = [{"role": role, "content": content} for role, content in messages]
    return chat(messages=given, **more).messages


def refused(**body):
    with pytest.raises(BadRequest) as caught:
        read(**body)
    return caught.value


def test_the_least_there_is():
    asked = chat()
    assert asked.messages == (Message("user", "Hi"),)
    assert (asked.model, asked.params.max_tokens, asked.stream) == ("", 9, False)
    assert (asked.tools, asked.template_kwargs, asked.reasoning_budget) == ((), {}, None)


def test_an_answer_has_a_length_and_a_count_needs_none():
    body = json.dumps({"messages": HI}).encode()
    with pytest.raises(BadRequest) as caught:
        message_request(body, "MARK")
    assert str(caught.value) == "max_tokens: is missing"
    assert count_request(body, "MARK").messages == (Message("user", "Hi"),)


def test_a_prompt_may_be_read_without_an_answer():
    asked = read(max_tokens=0)
    assert (asked.is_only_read, asked.n_max) == (True, 0)
    assert asked.chat.params.max_tokens == 1, "there is no step without a token"
    assert (read().is_only_read, read().n_max) == (False, 9)
    body = json.dumps({"messages": HI, "max_tokens": 0}).encode()
    assert count_request(body, "MARK").messages == (Message("user", "Hi"),)


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("Be brief.", "Be brief."),
        ([{"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}}], "Be"),
        ([{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}], "Be\nbrief."),
    ],
)
def test_the_system_prompt_comes_first(system, text):
    assert chat(system=system).messages == (Message("system", text), Message("user", "Hi"))


def test_no_system_prompt_is_no_message():
    for nothing in (None, "", []):
        assert chat(system=nothing).messages == (Message("user", "Hi"),)


def test_a_stamp_that_changes_with_each_request_breaks_no_prefix():
    line = "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli; cch={};You are"
    first, second = (chat(system=line.format(stamp)).messages for stamp in ("a5145", "0e9f2"))
    assert first == second
    assert "cch=fffff;" in first[0].text
    assert chat(system="See cch=a5145;").messages[0].text == "See cch=a5145;"


def test_an_agents_talk():
    answer = [
        {"type": "thinking", "thinking": "Rome?", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "toolu_2", "name": "clock", "input": {}},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "toolu_2",
            "content": [{"type": "text", "text": "no "}, {"type": "text", "text": "clock"}],
            "is_error": True,
        },
        {"type": "text", "text": "And "},
        {"type": "text", "text": "now?", "cache_control": {"type": "ephemeral"}},
    ]
    assert talk(("user", "Weather?"), ("assistant", answer), ("user", results)) == (
        Message("user", "Weather?"),
        Message(
            "assistant",
            "I look.",
            reasoning="Rome?",
            tool_calls=(
                ToolCall("toolu_1", "weather", '{"city": "Rome"}'),
                ToolCall("toolu_2", "clock", "{}"),
            ),
        ),
        Message("tool", "sunny", tool_call_id="toolu_1"),
        Message("tool", "Error: no clock", tool_call_id="toolu_2"),
        Message("user", "And now?"),
    )


def test_words_before_a_result_stay_before_it():
    blocks = [
        {"type": "text", "text": "One moment."},
        {"type": "tool_result", "tool_use_id": "a"},
    ]
    assert talk(("user", blocks)) == (
        Message("user", "One moment."),
        Message("tool", "", tool_call_id="a"),
    )


def test_what_a_search_for_tools_has_found_is_their_names():
    found = [{"type": "tool_reference", "tool_name": name} for name in ("weather", "clock")]
    [said] = talk(("user", [{"type": "tool_result", "tool_use_id": "a", "content": found}]))
    assert said == Message("tool", "weather\nclock\n", tool_call_id="a")


def test_pictures_stand_where_they_stood_also_in_a_result():
    data = base64.b64encode(PNG).decode()
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": data},
    }
    by_url = {
        "type": "image",
        "source": {"type": "url", "url": f"data:image/png;base64,{data}"},
    }
    result = {"type": "tool_result", "tool_use_id": "a", "content": [image]}
    asked = chat(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "See: "}, image, by_url, result]}
        ]
    )
    assert [one.text for one in asked.messages] == ["See: MARKMARK", "MARK"]
    assert asked.params.pictures.files == (PNG, PNG, PNG)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (
            {"type": "document", "source": {"type": "base64", "data": "aa"}},
            "messages[0].content[0].source: a document of type 'base64' is not read here, only "
            "text and content",
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "document"}]}},
            "messages[0].content[0].source.content[0]: a block of type 'document' is not served "
            "here",
        ),
        (
            {
                "type": "search_result",
                "source": "a",
                "title": "b",
                "content": [],
                "citations": {"enabled": True},
            },
            "messages[0].content[0].citations: are not served, the answer would be without",
        ),
        ({"type": "text"}, "messages[0].content[0].text: is missing"),
        (
            {"type": "image", "source": {"type": "file", "file_id": "x"}},
            "messages[0].content[0].source: one of type 'file' is not served, only base64 and url",
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/"}},
            "messages[0].content[0]: 'http://169.254.169.254/' is not fetched: this server reads "
            "no address and no file for a client",
        ),
        (
            {"type": "tool_result", "content": [{"type": "search_result"}]},
            "messages[0].content[0].content[0]: a block of type 'search_result' is not served here",
        ),
    ],
)
def test_what_is_not_served_is_refused_by_name(block, words):
    assert str(refused(messages=[{"role": "user", "content": [block]}])) == words


def test_documents_are_shown_between_marks_with_their_names():
    text = {"type": "text", "media_type": "text/plain", "data": "One."}
    parts = [{"type": "text", "text": "Two"}, {"type": "text", "text": "."}]
    blocks = [
        {"type": "document", "source": text, "title": "T", "context": "Old."},
        {"type": "document", "source": {"type": "content", "content": parts}},
        {"type": "document", "source": {"type": "content", "content": "Three."}},
        {"type": "search_result", "source": "http://a", "title": "B", "content": parts[:1]},
        {"type": "text", "text": "Which?"},
    ]
    shown = (
        "<document>\n<source>T</source>\nOld.\n\nOne.\n</document>\n"
        "<document>\nTwo.\n</document>\n<document>\nThree.\n</document>\n"
        "<document>\n<source>B, http://a</source>\nTwo\n</document>\n"
    )
    assert talk(("user", blocks)) == (Message("user", f"{shown}Which?"),)
    result = {"type": "tool_result", "tool_use_id": "t", "content": blocks[:4]}
    assert talk(("user", [result]))[0].text == shown


def test_a_call_needs_a_name_and_an_object():
    def answer(**block):
        talk = [*HI, {"role": "assistant", "content": [{"type": "tool_use"} | block]}, *HI]
        return str(refused(messages=talk))

    assert answer() == "messages[1].content[0].name: is missing"
    assert answer(name="f", input=[1]) == "messages[1].content[0].input: must be an object"


def test_an_answers_beginning_is_gone_on_with():
    begun = [*HI, {"role": "assistant", "content": "The best is ("}]
    assert chat(messages=begun).continues
    assert chat(messages=begun).messages[-1].text == "The best is ("
    assert not chat(messages=HI).continues


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        (None, ToolChoice("auto"), True),
        ({"type": "auto"}, ToolChoice("auto"), True),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice("auto"), False),
        ({"type": "any"}, ToolChoice("required"), True),
        ({"type": "tool", "name": "weather"}, ToolChoice("required", ("weather",)), False),
        ({"type": "none"}, ToolChoice("none"), True),
    ],
)
def test_tools_and_which_are_to_be_called(choice, expected, parallel):
    asked = chat(tools=[WEATHER | {"type": "custom", "strict": True}], tool_choice=choice)
    assert asked.tools == (Tool("weather", SCHEMA, "of a city"),)
    assert asked.tool_choice == expected
    assert asked.parallel_tool_calls is parallel


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            "tools[0]: a tool of type 'web_search_20250305' is not served, only those that bring "
            "their input_schema",
        ),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name: is missing"),
        (
            {"tools": [WEATHER | {"input_schema": [1]}]},
            "tools[0].input_schema: must be an object",
        ),
        ({"tool_choice": {"type": "any"}}, "tool_choice: there are no tools to choose from"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "tool"}},
            "tool_choice.name: is missing",
        ),
        (
            {"mcp_servers": [{"type": "url", "url": "http://x"}]},
            "mcp_servers: is not served, and without it the answer would be another",
        ),
        (
            {"container": "c"},
            "container: is not served, and without it the answer would be another",
        ),
        ({"n": 2}, "n: a message has one answer"),
        ({"max_tokens": -1}, "max_tokens: -1 is not a whole number from 0 to 2147483647"),
        ({"temperature": 11}, "temperature: 11 is not a number from 0 to 10"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens: is missing"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 0}},
            "thinking.budget_tokens: is missing",
        ),
        (
            {"output_config": {"format": {"type": "json_schema"}}},
            "output_config.format.schema: is missing",
        ),
    ],
)
def test_a_refusal_names_its_field(body, words):
    assert str(refused(**body)) == words


def test_sampling_and_stop_sequences():
    asked = chat(temperature=0.5, top_p=0.9, top_k=7, stop_sequences=["END", ""])
    sampling = asked.params.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 7)
    assert asked.params.stop == ("END",)
    many = [f"\nBob {i}:" for i in range(128)]
    assert chat(stop_sequences=many).params.stop == tuple(many)
    assert refused(stop_sequences=[*many, "x"]).param == "stop_sequences"


@pytest.mark.parametrize(
    ("thinking", "thinks", "budget", "shows"),
    [
        (None, None, None, True),
        ({"type": "enabled", "budget_tokens": 2048}, True, 2048, True),
        ({"type": "adaptive", "budget_tokens": 0}, True, None, True),
        ({"type": "disabled", "budget_tokens": 0}, False, None, True),
        ({"type": "adaptive"}, True, None, True),
        ({"type": "between_tools"}, True, None, True),
        ({"type": "adaptive", "display": "omitted"}, True, None, False),
        ({"type": "disabled"}, False, None, True),
    ],
)
def test_thoughts(thinking, thinks, budget, shows):
    asked = read(thinking=thinking)
    assert asked.chat.template_kwargs.get("enable_thinking") is thinks
    assert asked.chat.reasoning_budget == budget
    assert asked.shows_thoughts is shows


def test_effort_and_format():
    asked = chat(
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
    )
    assert asked.template_kwargs == {"reasoning_effort": "low"}
    assert asked.params.structure == JSONSchema(json.dumps(SCHEMA))
    assert asked.structure_field == "output_config.format"
    older = chat(output_format={"type": "json_schema", "schema": SCHEMA})
    assert older.params.structure == asked.params.structure
    assert older.structure_field == "output_format"


def test_what_changes_nothing_is_passed_over():
    given = {
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "cache_control": {"type": "ephemeral"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
        "betas": ["x"],
        "container": None,
        "mcp_servers": [],
    }
    assert chat(**given) == chat()
