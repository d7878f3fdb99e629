"""The real openai package against a live server: chats, whole and as streams."""

import asyncio

import openai
import pytest
from server.server_fakes import call_cut_at, words

from edgellm.chat.events import (
    Finished,
    ReasoningDelta,
    ToolCallDelta,
)

HI = [{"role": "user", "content": "Hi"}]


def test_a_chat_is_answered(client, engine):
    answer = client.chat.completions.create(model="tiny", messages=HI)

    assert answer.choices[0].message.content == "Hello there"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "tiny"
    assert answer.usage.prompt_tokens == 7
    assert answer.usage.completion_tokens == 2
    assert answer.usage.total_tokens == 9
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert engine.asked[0][0] == "user: Hi\nassistant:"


def test_an_answer_that_has_begun_goes_on(client, engine):
    talk = [*HI, {"role": "assistant", "content": "The answer is"}]
    answer = client.chat.completions.create(model="tiny", messages=talk)
    assert answer.choices[0].message.content == "Hello there"
    more = {"continue_final_message": True, "add_generation_prompt": False}
    client.chat.completions.create(model="tiny", messages=talk, extra_body=more)
    prompt = "user: Hi\nassistant: The answer is"
    assert [asked[0] for asked in engine.asked] == [prompt, prompt]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"regex": "a"}, "regex"),
    ],
)
def test_what_binds_a_whole_answer_does_not_bind_the_rest_of_one(client, engine, more, param):
    talk = [*HI, {"role": "assistant", "content": "The answer is"}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=talk, extra_body=more)
    assert caught.value.param == param
    assert engine.asked == []


def test_the_timings_are_llama_servers_and_ours(client):
    timings = client.chat.completions.create(model="tiny", messages=HI).timings

    assert timings == {
        "cache_n": 3, "prompt_n": 4, "prompt_ms": 20.0, "prompt_per_token_ms": 5.0,
        "prompt_per_second": 200.0, "predicted_n": 2, "predicted_ms": 10.0,
        "predicted_per_token_ms": 10.0, "predicted_per_second": 100.0,
        "queue_ms": 1.0, "ttft_ms": 21.0, "itl_p50_ms": None, "itl_p99_ms": None,
    }  # fmt: skip


def test_a_stream_begins_with_the_role_and_ends_with_the_reason(client):
    with client.chat.completions.create(model="tiny", messages=HI, stream=True) as stream:
        chunks = list(stream)

    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello there"
    assert [c.choices[0].finish_reason for c in chunks] == [None, None, None, "stop"]
    assert chunks[-1].timings["predicted_n"] == 2
    assert len({c.id for c in chunks}) == 1


def test_a_stream_ends_with_the_usage_when_asked_for(client):
    with client.chat.completions.create(
        model="tiny", messages=HI, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)

    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 3
    assert chunks[-1].timings["cache_n"] == 3
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_async_client_streams_too(live):
    async def scenario():
        async with (
            openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="none") as client,
            await client.chat.completions.create(model="tiny", messages=HI, stream=True) as stream,
        ):
            return [chunk.choices[0].delta.content async for chunk in stream]

    assert "".join(text or "" for text in asyncio.run(scenario())) == "Hello there"


def test_the_clients_own_stream_helper_works(client):
    with client.chat.completions.stream(model="tiny", messages=HI) as stream:
        texts = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(texts) == "Hello there"
    assert final.choices[0].message.content == "Hello there"


def test_reasoning_comes_beside_the_content(client, engine):
    script = [ReasoningDelta("let me "), ReasoningDelta("see"), *words("4")]
    engine.scripts = [script]
    message = client.chat.completions.create(model="tiny", messages=HI).choices[0].message
    assert (message.reasoning_content, message.content) == ("let me see", "4")

    with client.chat.completions.create(model="tiny", messages=HI, stream=True) as stream:
        deltas = [chunk.choices[0].delta for chunk in stream]
    assert "".join(getattr(d, "reasoning_content", "") for d in deltas) == "let me see"


@pytest.mark.parametrize("streams", [False, True])
def test_a_stop_string_inside_a_call_finishes_no_call(lenient, engine, streams):
    engine.scripts = [call_cut_at("\n\n")]
    tool = {"type": "function", "function": {"name": "weather"}}
    told = lenient.chat.completions.create(
        model="tiny", messages=HI, tools=[tool], stop=["\n\n"], stream=streams
    )
    assert (list(told)[-1] if streams else told).choices[0].finish_reason == "stop"


def test_tool_calls_of_the_engine_are_told_in_openais_shape(client, engine):
    calls = [
        ToolCallDelta(0, "call_1", "weather", '{"city":'),
        ToolCallDelta(0, None, None, '"Rome"}'),
        ToolCallDelta(1, "call_2", "time", "{}"),
    ]
    engine.scripts = [[*calls, Finished("tool_calls", 1, 0, 3)]]
    [choice] = client.chat.completions.create(model="tiny", messages=HI).choices
    assert choice.finish_reason == "tool_calls"
    assert [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls] == [
        ("call_1", "weather", '{"city":"Rome"}'),
        ("call_2", "time", "{}"),
    ]
    with client.chat.completions.create(model="tiny", messages=HI, stream=True) as stream:
        deltas = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(d.index, d.id, d.function.arguments) for d in deltas] == [
        (0, "call_1", '{"city":'),
        (0, None, '"Rome"}'),
        (1, "call_2", "{}"),
    ]
