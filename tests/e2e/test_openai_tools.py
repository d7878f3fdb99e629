"""Tool calls, structure and thoughts: the real openai package, a real server, a real model.

The demo knows no tools; a call that must come is written by the grammar, with the model's choices.
"""

import json

import openai
import pytest
from live import live_server

pytestmark = pytest.mark.model

HELLO = [{"role": "user", "content": "Hello!"}]
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Rome", "Oslo"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city"],
}


def tool(name, parameters=None):
    return {"type": "function", "function": {"name": name, "parameters": parameters or {}}}


TOOLS = [tool("weather", WEATHER), tool("clock")]
NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture(scope="module")
def client():
    choices = {"kv_unified": False, "n_ctx": 8192, "n_ctx_seq": 1024}
    with (
        live_server(**choices) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def ask(client, **more):
    values = {"model": "demo", "messages": HELLO, "temperature": 0, "max_tokens": 200}
    return client.chat.completions.create(**(values | more))


def check(name, arguments):
    if name == "clock":
        assert arguments == {}
    else:
        assert name == "weather"
        assert arguments["city"] in ("Rome", "Oslo")
        assert 1 <= arguments.get("days", 1) <= 9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_a_call_that_must_come_comes_and_is_valid(client, choice, seed):
    more = {"temperature": 1, "seed": seed, "parallel_tool_calls": False}
    answer = ask(client, tools=TOOLS, tool_choice=choice, **more).choices[0]
    [call] = answer.message.tool_calls
    assert (answer.finish_reason, answer.message.content) == ("tool_calls", None)
    check(call.function.name, json.loads(call.function.arguments))
    assert choice == "required" or call.function.name == "weather"


def test_a_streamed_call_is_introduced_once_and_adds_up_to_the_whole_one(client):
    asked = {"tools": TOOLS, "tool_choice": NAMED, "parallel_tool_calls": False}
    [whole] = ask(client, **asked).choices[0].message.tool_calls
    chunks = list(ask(client, **asked, stream=True))
    deltas = [d for chunk in chunks for d in chunk.choices[0].delta.tool_calls or ()]
    assert (deltas[0].index, deltas[0].type, deltas[0].function.name) == (0, "function", "weather")
    assert deltas[0].id
    assert all((d.id, d.function.name) == (None, None) for d in deltas[1:])
    assert "".join(d.function.arguments for d in deltas) == whole.function.arguments
    assert len(deltas) > 5
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_tools_that_are_not_called_change_nothing_of_the_shape(client):
    answer = ask(client, tools=TOOLS).choices[0]
    assert (answer.finish_reason, answer.message.tool_calls) == ("stop", None)
    assert answer.message.content


def test_a_result_goes_back_to_the_model(client):
    first = ask(client, tools=TOOLS, tool_choice=NAMED, parallel_tool_calls=False)
    message = first.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    talk = [*HELLO, message.model_dump(exclude_none=True), result]
    assert ask(client, messages=talk, tools=TOOLS).choices[0].message.content


def test_the_other_structures_are_followed(client):
    def content(**body):
        return ask(client, extra_body=body).choices[0].message.content

    assert content(choices=["yes", "no"]) in ("yes", "no")
    assert content(grammar='root ::= "a" [0-9]{3} ("b" | "c")')[0] == "a"
    closed = WEATHER | {"additionalProperties": False}
    check("weather", json.loads(content(json_schema=closed)))


@pytest.mark.parametrize(
    ("more", "param", "words"),
    [
        ({"tool_choice": "maybe"}, "tool_choice", "maybe"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", "'x'"),
        ({"tools": [tool("a b")]}, "tools[0].function.name", "letters"),
        (
            {"tools": [tool("f", {"properties": {"x": {"type": "strin"}}})]},
            "tools",
            "tool 'f': Invalid type: strin",
        ),
        ({"extra_body": {"grammar": "root = 1"}}, "grammar", "line 1"),
        ({"extra_body": {"regex": "("}}, "regex", "unclosed group"),
    ],
    ids=["choice", "unknown tool", "name", "schema", "grammar", "regex"],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_by_its_field(client, more, param, words):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, **({"tools": TOOLS} if "extra_body" not in more else {}) | more)
    assert words in raised.value.body["message"]
    assert raised.value.param == param
