"""The Responses API over a real socket: the openai package, and bytes where that is not enough."""

import json
import time
from functools import partial

import httpx2
import openai
import pytest
from pictures import data_url, png
from server.server_fakes import HANG, call_cut_at, live_server, served, words

from edgellm.chat.events import Failed, Finished, ReasoningDelta, TextDelta, ToolCallDelta
from edgellm.errors import Overloaded, WorkerDied
from edgellm.server.door.access import Access

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
CALL = (ToolCallDelta(0, "call_1", "weather", "{}"), Finished("tool_calls", 1, 0, 3))


def ask(client, **more):
    return client.responses.create(**({"model": "tiny", "input": "Hi"} | more))


def test_a_response_is_what_the_packages_types_require(client, engine):
    answer = ask(client, instructions="Be brief.", metadata={"a": "b"})
    assert (answer.output_text, answer.status, answer.model) == ("Hello there", "completed", "tiny")
    assert answer.id.startswith("resp_")
    usage = answer.usage
    assert (usage.input_tokens, usage.input_tokens_details.cached_tokens) == (7, 3)
    assert (usage.output_tokens, usage.total_tokens) == (2, 9)
    assert (answer.instructions, answer.metadata) == ("Be brief.", {"a": "b"})
    assert engine.asked[0][0] == "system: Be brief.\nuser: Hi\nassistant:"


def test_a_call_that_a_stop_string_has_cut_is_incomplete(client, engine):
    engine.scripts = [call_cut_at("\n\n")]
    answer = ask(client, tools=[WEATHER], extra_body={"stop": ["\n\n"]})
    assert [(item.type, item.status) for item in answer.output] == [("function_call", "incomplete")]


@pytest.mark.parametrize("path", ["/responses", "/v1/responses"])
def test_both_paths_are_served(http, path):
    assert http.post(path, json={"input": "Hi"}).json()["output"][0]["type"] == "message"


def test_a_stream_is_checked_by_the_packages_types(client, engine):
    engine.scripts = [[ReasoningDelta("Hm."), TextDelta("I look."), *CALL]]
    with ask(client, stream=True, tools=[WEATHER]) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == [*range(len(events))]
    assert {event.type for event in events} >= {
        "response.reasoning_text.delta",
        "response.output_text.delta",
        "response.function_call_arguments.done",
    }
    assert [item.type for item in events[-1].response.output] == [
        "reasoning", "message", "function_call"
    ]  # fmt: skip


def test_the_packages_stream_helper_ends_with_the_whole_response(client):
    with client.responses.stream(model="tiny", input="Hi") as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert texts == ["Hello", " there"]
    assert final.output_text == "Hello there"


def test_a_worker_that_dies_in_a_stream_fails_the_response_once(client, engine):
    engine.scripts = [[TextDelta("Hel"), Failed("the model's process ended with -9", 502)]]
    with ask(client, stream=True) as stream:
        *_, last = list(stream)
    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert last.response.error.code == "server_error"
    assert "ended with -9" in last.response.error.message
    assert last.response.output[0].content[0].text == "Hel"


def test_the_last_words_of_a_broken_stream_are_its_only_ones(http, engine):
    engine.scripts = [[TextDelta("Hel"), ValueError("secret")]]
    text = http.post("/v1/responses", json={"input": "Hi", "stream": True}).text
    assert text.count("event: response.failed\n") == 1
    assert text.count('"error":{') == 1
    assert "secret" not in text
    assert "[DONE]" not in text


@pytest.mark.parametrize(
    ("script", "error", "code"),
    [
        (WorkerDied("signal 9"), openai.InternalServerError, "worker_died"),
        (Overloaded("64 wait"), openai.RateLimitError, "queue_full"),
        ([Failed("900 tokens are more than 512", 400, "messages")], openai.BadRequestError, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_fails_before_the_first_word_has_a_status_of_its_own(
    client, engine, script, error, code, stream
):
    engine.scripts = [script]
    with pytest.raises(error) as raised:
        ask(client, stream=stream)
    assert raised.value.code == code
    if error is openai.BadRequestError:
        assert raised.value.param == "input"


def test_a_client_that_leaves_cancels_its_response(client, engine):
    engine.scripts = [[TextDelta("Hel"), HANG]]
    with ask(client, stream=True) as stream:
        next(iter(stream))
    assert engine.cancelled.wait(60)


def test_the_input_is_counted_as_the_model_would_read_it(client, engine):
    asked = {"model": "tiny", "input": [{"role": "user", "content": "Hi"}], "instructions": "Yo"}
    counted = client.responses.input_tokens.count(**asked)
    assert counted.object == "response.input_tokens"
    assert engine.asked == [], "nothing is computed"
    ask(client, **asked)
    [(prompt, _)] = engine.asked
    assert counted.input_tokens == len(prompt.encode()) + 1


@pytest.mark.parametrize("path", ["/responses", "/responses/input_tokens"])
def test_pictures_are_refused_where_nobody_sees_them(http, path):
    part = {"type": "input_image", "image_url": data_url(png())}
    answer = http.post(path, json={"input": [{"role": "user", "content": [part]}]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "input"


@pytest.mark.parametrize(
    ("verb", "path"),
    [("GET", "/v1/responses/resp_1"), ("DELETE", "/v1/responses/resp_1"),
     ("POST", "/v1/responses/resp_1/cancel"), ("POST", "/v1/responses/compact")],
)  # fmt: skip
def test_what_would_have_to_be_kept_is_not_there(http, verb, path):
    answer = http.request(verb, path, json={})
    assert answer.status_code in (404, 405)
    assert answer.json()["error"]["type"]


def test_an_agents_request_is_served(http, engine):
    """What Codex sends, shortened: tools of all kinds, its own fields, and thoughts given back."""
    engine.scripts = [[*CALL]]
    body = {
        "model": "tiny",
        "instructions": "You are an agent.",
        "input": [
            {"type": "message", "role": "developer",
             "content": [{"type": "input_text", "text": "<permissions>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ls"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}],
             "encrypted_content": None},
            {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}',
             "call_id": "call_0"},
            {"type": "function_call_output", "call_id": "call_0", "output": "a.txt"},
        ],
        "tools": [
            {"type": "function", "name": "shell", "description": "Runs.", "strict": False,
             "parameters": {"type": "object", "properties": {"command": {"type": "array"}}}},
            {"type": "custom", "name": "apply_patch", "description": "Edits.",
             "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
            {"type": "namespace", "name": "mcp__web", "description": "Web.",
             "tools": [WEATHER | {"defer_loading": True}]},
            {"type": "web_search", "external_web_access": False},
            {"type": "image_generation", "output_format": "png"},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0197",
        "text": {"verbosity": "low"},
        "client_metadata": {"x": "y"},
    }  # fmt: skip
    answer = http.post("/v1/responses", json=body)
    assert answer.status_code == 200
    blocks = answer.text.removesuffix("\n\n").split("\n\n")
    final = json.loads(blocks[-1].partition("data: ")[2])
    assert final["type"] == "response.completed"
    assert [tool["type"] for tool in final["response"]["tools"]] == [
        "function", "custom", "namespace"
    ]  # fmt: skip
    assert final["response"]["output"][0]["type"] == "function_call"


def test_a_conversation_that_is_too_long_fails_in_the_stream_where_agents_look_for_it(
    lenient, engine
):
    engine.scripts = [[Failed("prompt is too long", 400, "messages", "ContextTooLong")]]
    with ask(lenient, stream=True) as stream:  # of its types this code is none
        *_, last = stream
    assert last.type == "response.failed"
    assert last.response.error.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as raised:
        ask(lenient)
    assert raised.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("talk", "more", "is_told"),
    [
        ("user assistant user", {}, True),
        ("user assistant", {}, False),
        ("user assistant user", {"truncation": "auto"}, False),
    ],
)
def test_who_has_outgrown_the_context_is_told_what_leaves_turns_out(
    lenient, engine, talk, more, is_told
):
    engine.scripts = [[Failed("prompt is too long", 400, "messages", "ContextTooLong")]]
    talk = [{"role": role, "content": "Hi"} for role in talk.split()]
    with pytest.raises(openai.BadRequestError) as raised:
        ask(lenient, input=talk, **more)
    assert ('truncation: "auto"' in raised.value.message) is is_told
    with ask(lenient, input=talk, **more, stream=True) as stream:
        *_, last = stream
    assert ('truncation: "auto"' in last.response.error.message) is is_told


@pytest.mark.slow
def test_a_client_that_counts_events_hears_of_a_long_prompt_before_its_first_token(client, engine):
    engine.scripts = [[HANG]]
    with ask(client, stream=True) as stream:
        told = [next(stream) for _ in range(2)]
    assert [one.type for one in told] == ["response.created", "response.in_progress"]


@pytest.mark.parametrize("stream", [False, True])
def test_items_may_come_back_by_their_ids_alone(client, engine, stream):
    engine.scripts = [[ReasoningDelta("Hm."), TextDelta("I look."), *CALL], [*CALL]]
    if stream:
        with ask(client, stream=True, tools=[WEATHER]) as events:
            answer = list(events)[-1].response
    else:
        answer = ask(client, tools=[WEATHER])
    known = [{"type": "item_reference", "id": item.id} for item in answer.output]
    result = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
    talk = [{"role": "user", "content": "Hi"}, *known, result]
    ask(client, input=talk, tools=[WEATHER])
    whole = [talk[0], *(item.model_dump(exclude_none=True) for item in answer.output), result]
    ask(client, input=whole, tools=[WEATHER])
    assert "I look." in engine.asked[1][0]
    assert engine.asked[1][0] == engine.asked[2][0]


def test_who_says_that_nothing_shall_be_stored_gets_nothing_back_by_its_id(client):
    answer = ask(client, store=False)
    known = {"type": "item_reference", "id": answer.output[0].id}
    with pytest.raises(openai.BadRequestError, match="not found"):
        ask(client, input=[known])


def until_told(ask_again, limit_s=60.0):
    """What was broken off is kept a moment after its client has left."""
    last_s = time.monotonic() + limit_s
    while True:
        try:
            return ask_again()
        except openai.BadRequestError:
            if time.monotonic() > last_s:
                raise
            time.sleep(0.01)


@pytest.mark.parametrize(
    "ending", [HANG, Failed("the model's process ended with -9", 502)], ids=["left", "failed"]
)
def test_what_was_said_of_an_answer_that_broke_off_may_come_back_too(client, engine, ending):
    engine.scripts = [[TextDelta("Hel"), ending], words("Hello there")]
    with ask(client, stream=True) as stream:
        told = next(event for event in stream if event.type == "response.output_text.delta")
    known = {"type": "item_reference", "id": told.item_id}
    talk = [{"role": "user", "content": "Hi"}, known, {"role": "user", "content": "Go on"}]
    until_told(lambda: ask(client, input=talk))
    assert engine.asked[-1][0] == "user: Hi\nassistant: Hel\nuser: Go on\nassistant:"


def test_what_is_recalled_counts_as_if_it_had_been_sent():
    access = Access.of(all_bodies_bytes=100_000)
    with live_server(served(), access=access) as live:
        engine = live.models.find("tiny").engine
        engine.scripts = [[TextDelta("a" * 100_000), Finished("stop", 7, 3, 5)]]
        ask_it = partial(httpx2.post, f"{live.url}/v1/responses", timeout=30)
        [item] = ask_it(json={"input": "Hi"}).json()["output"]
        answer = ask_it(json={"input": [{"type": "item_reference", "id": item["id"]}]})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "bodies_full"
