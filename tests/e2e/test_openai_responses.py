"""The Responses API: the real openai package, a real server, a real model."""

import json
import os
import signal
from dataclasses import replace
from typing import Literal

import openai
import pytest
from live import live_server
from pydantic import BaseModel, Field

from edgellm.chat.templating.template import ChatTemplate

pytestmark = pytest.mark.model

WEATHER = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
NAMED = {"type": "function", "name": "weather"}


class Pet(BaseModel):
    kind: Literal["cat", "dog"]
    age: int = Field(ge=0, le=99)


@pytest.fixture(scope="module")
def client():
    """Split KV: there an answer's numbers depend on nobody else's."""
    choices = {"kv_unified": False, "n_ctx": 8192, "n_ctx_seq": 1024}
    with (
        live_server(**choices) as live,
        openai.OpenAI(
            base_url=f"{live.url}/v1",
            api_key="none",
            max_retries=0,
            _strict_response_validation=True,
        ) as client,
    ):
        yield client


ASKED = {"model": "demo", "input": "Hello!", "temperature": 0, "max_output_tokens": 200}


def ask(client, **more):
    return client.responses.create(**(ASKED | more))


def said(response):
    """Without what differs from one asking to the next (ids, times, what the cache had), and what
    the package itself reads into it."""
    shown = response.model_dump(exclude={"id", "created_at", "completed_at", "timings", "usage"})
    for item in shown["output"]:
        item.pop("id")
        for key in ("call_id", "parsed_arguments"):
            item.pop(key, None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return shown


def test_a_response_answers_and_counts(client):
    answer = ask(client)
    assert answer.output_text.strip()
    assert (answer.status, answer.error, answer.incomplete_details) == ("completed", None, None)
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert answer.completed_at >= answer.created_at


def test_it_says_what_a_chat_says(client):
    chat = client.chat.completions.create(
        model="demo",
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello!"}],
        temperature=0,
        max_tokens=60,
    )
    answer = ask(client, instructions="Be kind.", max_output_tokens=60)
    assert answer.output_text == chat.choices[0].message.content
    assert answer.usage.input_tokens == chat.usage.prompt_tokens


def test_a_stream_ends_with_the_response_that_is_not_streamed(client):
    whole = ask(client)
    with client.responses.stream(**ASKED) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert said(final) == said(whole)
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == (
        whole.output_text
    )
    assert [event.sequence_number for event in events] == [*range(len(events))]
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]


def test_a_conversation_goes_on_with_the_items_that_came(client):
    talk = [{"role": "user", "content": "Hello!"}]
    first = ask(client, input=talk)
    talk += [item.model_dump(exclude_none=True) for item in first.output]
    talk += [{"role": "user", "content": "Tell me a story about a fox."}]
    second = ask(client, input=talk)
    assert second.output_text.strip()
    assert second.usage.input_tokens_details.cached_tokens >= first.usage.input_tokens


@pytest.mark.parametrize("background", [False, True])
def test_one_that_follows_another_finds_what_was_computed_of_that(client, background):
    first = ask(client, input="Hello, you there!", instructions="Be kind.", background=background)
    if background:
        while first.status in ("queued", "in_progress"):
            first = client.responses.retrieve(first.id)
        assert first.status == "completed"
    more = {"input": "Tell me a story.", "instructions": "Be kind."}
    second = ask(client, **more, previous_response_id=first.id)
    talked = first.usage.input_tokens + first.usage.output_tokens
    assert second.usage.input_tokens > talked
    assert second.usage.input_tokens_details.cached_tokens >= talked - 1
    whole = [
        {"role": "user", "content": "Hello, you there!"},
        *(item.model_dump(exclude_none=True) for item in first.output),
        {"role": "user", "content": "Tell me a story."},
    ]
    assert said(ask(client, **more | {"input": whole})) == said(second) | {
        "previous_response_id": None
    }


def test_a_conversation_outgrows_the_context_where_its_beginning_may_go(client):
    more = {"truncation": "auto", "max_output_tokens": 40, "extra_body": {"ignore_eos": True}}
    told, n_shared = ask(client, input="word " * 100, **more), 0
    for _ in range(12):
        last, told = told, ask(client, input="word " * 100, previous_response_id=told.id, **more)
        n_shared += told.usage.input_tokens_details.cached_tokens >= last.usage.input_tokens - 1
    assert told.usage.input_tokens <= 1024 - 40
    assert n_shared >= 6, "most turns find what was computed"
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, input="word " * 100, previous_response_id=told.id)
    assert raised.value.code == "context_length_exceeded"


def test_a_schema_is_followed_and_parsed(client):
    answer = client.responses.parse(**ASKED, text_format=Pet)
    assert isinstance(answer.output_parsed, Pet)
    assert json.loads(answer.output_text) == answer.output_parsed.model_dump()
    assert answer.text.format.name == "Pet"


def test_a_forced_call_comes_and_its_output_goes_back(client):
    talk = [{"role": "user", "content": "Hello!"}]
    first = ask(client, input=talk, tools=[WEATHER], tool_choice=NAMED)
    [call] = first.output
    assert (call.type, call.name, call.status) == ("function_call", "weather", "completed")
    assert json.loads(call.arguments)["city"] in ("Rome", "Oslo")

    talk += [call.model_dump(exclude_none=True)]
    talk += [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = ask(client, input=talk, tools=[WEATHER])
    assert second.output_text.strip()


def test_a_streamed_call_adds_up_to_the_whole_one(client):
    forced = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    whole = ask(client, **forced)
    with client.responses.stream(**ASKED, **forced) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert said(final)["output"] == said(whole)["output"]
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert len(deltas) > 1
    assert "".join(deltas) == whole.output[0].arguments


def test_a_custom_tool_gets_its_text_as_it_is(client):
    tool = {"type": "custom", "name": "note", "description": "Takes a note."}
    [call] = ask(
        client, tools=[tool], tool_choice={"type": "custom", "name": "note"}, max_output_tokens=400
    ).output
    assert (call.type, call.name) == ("custom_tool_call", "note")
    assert isinstance(call.input, str)


THINKS = (
    "{% for m in messages %}{{ m.role }}: {% if m.reasoning_content %}<think>"
    "{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}\n{% endfor %}assistant: <think>"
)


@pytest.mark.parametrize("summary", [None, "auto"])
def test_thoughts_are_an_item_that_is_counted_and_may_be_given_back(summary):
    asked = {"extra_body": {"reasoning_budget": 12}, "reasoning": {"summary": summary}}
    with live_server(n_ctx=4096, n_ctx_seq=2048, kv_unified=False) as live:
        (demo,) = live.models
        live.models.swap(demo, replace(demo, template=ChatTemplate(THINKS)))
        client = openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)
        first = ask(client, **asked)
        thoughts, message = first.output
        talk = [
            {"role": "user", "content": ASKED["input"]},
            *(item.model_dump(exclude_none=True) for item in first.output),
            {"role": "user", "content": "Tell me a story about a fox."},
        ]
        prompt = ask(client, input=talk, **asked).usage
        without = ask(client, input=[talk[0], *talk[2:]], **asked).usage
        client.close()
    assert (thoughts.type, message.type) == ("reasoning", "message")
    (part,) = thoughts.summary if summary else thoughts.content
    assert part.text.strip()
    assert not (thoughts.content if summary else thoughts.summary)
    assert 0 < first.usage.output_tokens_details.reasoning_tokens <= 12
    assert prompt.input_tokens > without.input_tokens, "the template shows them to the model"


def test_an_answer_that_is_cut_is_incomplete(client):
    answer = ask(client, max_output_tokens=3)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output[0].status == "incomplete"
    assert answer.usage.output_tokens == 3
    with ask(client, max_output_tokens=3, stream=True) as stream:
        *_, last = list(stream)
    assert last.type == "response.incomplete"
    assert said(last.response) == said(answer)


def test_logprobs_are_those_of_the_tokens_shown(client):
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    [part] = ask(client, **asked).output[0].content
    assert "".join(token.token for token in part.logprobs) == part.text
    assert all(len(token.top_logprobs) == 2 for token in part.logprobs)


def test_the_input_is_counted_before_it_is_sent(client):
    asked = {"model": "demo", "input": "Hello!", "instructions": "Be kind.", "tools": [WEATHER]}
    counted = client.responses.input_tokens.count(**asked)
    assert counted.input_tokens == ask(client, **asked).usage.input_tokens


@pytest.mark.parametrize(
    ("error", "more", "param"),
    [
        (openai.NotFoundError, {"model": "gpt-4o"}, "model"),
        (openai.BadRequestError, {"temperature": -1}, "temperature"),
        (openai.BadRequestError, {"input": []}, "input"),
        (openai.BadRequestError, {"input": "word " * 2000}, "input"),
        (openai.BadRequestError, {"previous_response_id": "resp_1"}, "previous_response_id"),
        (openai.BadRequestError, {"background": True, "store": False}, "background"),
        (openai.BadRequestError, {"tools": [{"type": "web_search"}]}, "tools[0]"),
        (openai.BadRequestError, {"tools": [{"type": "custom", "name": "a b"}]}, "tools[0].name"),
        (
            openai.BadRequestError,
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}},
            "tool_choice",
        ),
        (
            openai.BadRequestError,
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "strin"}}}},
            "text.format",
        ),
    ],
)
def test_what_cannot_be_done_is_the_clients_own_error(client, error, more, param):
    with pytest.raises(error) as raised:
        ask(client, **more)
    assert raised.value.param == param
    assert raised.value.body["message"]


def test_what_is_not_kept_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")


def test_a_worker_killed_mid_stream_fails_the_response_once():
    with live_server(n_ctx=4096, n_ctx_seq=2048) as live:
        client = openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)
        story = {"input": "Tell me a long story.", "extra_body": {"ignore_eos": True}}
        with ask(client, **story, max_output_tokens=2000, stream=True) as stream:
            seen = []
            for event in stream:
                seen.append(event)
                if event.type == "response.output_text.delta" and event.delta.strip():
                    break
            os.kill(live.engine.pid, signal.SIGKILL)
            seen += list(stream)
        client.close()
    failed = [event for event in seen if event.type == "response.failed"]
    assert failed == [seen[-1]]
    response = failed[0].response
    assert (response.status, response.error.code) == ("failed", "server_error")
    assert response.output_text, "what was said by then is not lost"
