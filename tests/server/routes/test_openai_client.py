"""The real openai package against a live server."""

import asyncio
import base64
import math
import struct

import openai
import pytest
from server.server_fakes import call_cut_at, live_server, served, served_embedding, words

from edgellm.chat.events import (
    Failed,
    Finished,
    ReasoningDelta,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCallDelta,
)
from edgellm.chat.messages import JSONSchema, Regex
from edgellm.errors import BadRequest, ContextTooLong, Overloaded, WorkerDied
from edgellm.server.door.access import Access

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


def test_a_model_answers_to_the_names_that_it_was_given():
    model = served(aliases=("small",))
    with (
        live_server(model, served_embedding(), aliases=("gpt-4o-mini", "*")) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client,
    ):
        for name in ("gpt-4o-mini", "whatever"):
            assert client.chat.completions.create(model=name, messages=HI).model == "tiny"
        vectors = client.embeddings.create(model="text-embedding-3-small", input="x")
        assert vectors.model == "mini"
        assert [one.id for one in client.models.list()] == ["tiny", "mini"]
        assert client.models.retrieve("gpt-4o-mini").aliases == ["small", "gpt-4o-mini"]


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


def test_the_sampling_arrives_as_it_was_sent(client, engine):
    client.chat.completions.create(
        model="tiny",
        messages=HI,
        temperature=0,
        top_p=0.5,
        presence_penalty=1,
        frequency_penalty=-1,
        logit_bias={"5": -100, "6": 1.5},
        seed=42,
        max_completion_tokens=11,
        stop=["END", ""],
        user="somebody",
        store=False,
        metadata={"a": "b"},
        parallel_tool_calls=True,
        extra_body={"top_k": 3, "min_p": 0.25, "repeat_penalty": 1.25, "cache_prompt": False},
    )
    params = engine.asked[0][1]

    assert params.sampling.temperature == 0.0
    assert params.sampling.top_p == 0.5
    assert params.sampling.top_k == 3
    assert params.sampling.min_p == 0.25
    assert params.sampling.repeat_penalty == 1.25
    assert params.sampling.presence_penalty == 1
    assert params.sampling.frequency_penalty == -1
    assert params.sampling.logit_bias == ((5, -100.0), (6, 1.5))
    assert params.sampling.seed == 42
    assert params.max_tokens == 11
    assert params.cache_prompt is False
    assert params.stop == ("END", "\nuser:")  # the second is the template's own


def test_stop_may_be_one_string(client, engine):
    client.chat.completions.create(model="tiny", messages=HI, stop="\n\n")
    assert engine.asked[0][1].stop[0] == "\n\n"


def test_n_answers_have_indices_and_seeds_of_their_own(client, engine):
    engine.scripts = [words("one"), words("two two"), words("three")]

    answer = client.chat.completions.create(model="tiny", messages=HI, n=3, seed=7)

    assert sorted(params.sampling.seed for _, params in engine.asked) == [7, 8, 9]
    assert sorted(c.message.content for c in answer.choices) == ["one", "three", "two two"]
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert answer.usage.prompt_tokens == 7  # it is one prompt
    assert answer.usage.completion_tokens == 4


def test_n_answers_stream_side_by_side(client, engine):
    engine.scripts = [words("a b c"), words("d e")]
    with client.chat.completions.create(
        model="tiny", messages=HI, n=2, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)

    text = {0: "", 1: ""}
    for chunk in chunks[:-1]:
        text[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert sorted(text.values()) == ["a b c", "d e"]
    reasons = [c.choices[0].finish_reason for c in chunks[:-1]]
    assert reasons.count("stop") == 2
    assert chunks[-1].usage.completion_tokens == 5


def test_when_one_of_n_answers_fails_all_are_ended(client, engine):
    engine.scripts = [words("a b c"), [TextDelta("d"), Failed("out of memory", 507)]]
    with pytest.raises(openai.InternalServerError, match="out of memory"):
        client.chat.completions.create(model="tiny", messages=HI, n=2)


def shown():
    return TokenLogprob(5, b"Hi", -0.25, ((5, b"Hi", -0.25), (9, b"\xf0\x9f", -math.inf)))


def test_logprobs_come_with_their_rivals(client, engine):
    engine.scripts = [[TextDelta("Hi", 1, (shown(),)), Finished("length", 1, 0, 1)]]

    answer = client.chat.completions.create(
        model="tiny", messages=HI, logprobs=True, top_logprobs=2
    )

    assert engine.asked[0][1].logprobs == 2
    [token] = answer.choices[0].logprobs.content
    assert (token.token, token.logprob, token.bytes) == ("Hi", -0.25, [72, 105])
    assert token.top_logprobs[1].bytes == [0xF0, 0x9F]
    assert token.top_logprobs[1].logprob == -9999.0
    assert answer.choices[0].finish_reason == "length"


def test_logprobs_stream_with_their_text(client, engine):
    engine.scripts = [[TextDelta("Hi", 1, (shown(),)), Finished("stop", 1, 0, 1)]]
    with client.chat.completions.create(
        model="tiny", messages=HI, logprobs=True, stream=True
    ) as stream:
        chunks = list(stream)
    assert engine.asked[0][1].logprobs == 0
    assert [c.choices[0].logprobs is not None for c in chunks] == [False, True, False]


def test_completions_show_logprobs_in_their_older_shape(client, engine):
    half = TokenLogprob(6, b"\xf0\x9f", -1.0)
    engine.scripts = [[TextDelta("Hi", 2, (shown(), half)), Finished("stop", 1, 0, 2)]]

    [choice] = client.completions.create(model="tiny", prompt="x", logprobs=2).choices

    assert choice.text == "Hi"
    assert choice.logprobs.tokens == ["Hi", "bytes:\\xf0\\x9f"]
    assert choice.logprobs.token_logprobs == [-0.25, -1.0]
    assert choice.logprobs.top_logprobs[0] == {"Hi": -0.25, "bytes:\\xf0\\x9f": -9999.0}
    assert choice.logprobs.text_offset == [0, 2]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def test_a_json_schema_arrives_at_the_engine_as_it_was_sent(client, engine):
    engine.scripts = [words('{"a":1}')]
    answer = client.chat.completions.create(
        model="tiny",
        messages=HI,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
        },
    )
    structure = engine.asked[0][1].structure
    assert isinstance(structure, JSONSchema)
    assert '"required":["a"]' in structure.schema.replace(" ", "")
    assert answer.choices[0].message.content == '{"a":1}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"response_format": {"type": "json_object"}}, JSONSchema('{"type":"object"}')),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object", "schema": {}}}, JSONSchema("{}")),
        ({"json_schema": {}}, JSONSchema("{}")),
        ({"json_schema": None}, None),
        ({"regex": "[0-9]+"}, Regex("[0-9]+")),
    ],
)
def test_the_other_ways_to_ask_for_structure(client, engine, body, expected):
    client.chat.completions.create(model="tiny", messages=HI, extra_body=body)
    assert engine.asked[0][1].structure == expected


def test_a_completion_takes_every_shape_of_prompt(client, engine):
    for prompt, n_choices in (("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1], [2, 3]], 2)):
        engine.scripts = [words("x")]
        answer = client.completions.create(model="tiny", prompt=prompt)
        assert [choice.index for choice in answer.choices] == list(range(n_choices))
        assert answer.usage.prompt_tokens == 7 * n_choices
    assert [prompt for prompt, _ in engine.asked] == ["a", "a", "b", (1, 2), (1,), (2, 3)]


def test_a_completion_has_n_answers_to_each_of_its_prompts(client, engine):
    engine.scripts = [words("x")]
    answer = client.completions.create(model="tiny", prompt=["a", "b"], n=2, echo=True)
    assert [choice.text for choice in answer.choices] == ["ax", "ax", "bx", "bx"]
    assert answer.usage.prompt_tokens == 14


def test_a_completion_streams(lenient, engine):
    stream = lenient.completions.create(
        model="tiny", prompt="Once", echo=True, stream=True, stream_options={"include_usage": True}
    )
    with stream:
        chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks[:-1]) == "OnceHello there"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens == 9
    assert engine.asked[0][1].stop == ()  # the template's stop strings are the chat's


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


def test_embeddings_come_as_base64_and_as_numbers(lenient):
    as_default = lenient.embeddings.create(model="mini", input="hello")  # the client asks base64
    as_numbers = lenient.embeddings.create(model="mini", input="hello", encoding_format="float")
    as_base64 = lenient.embeddings.create(model="mini", input="hello", encoding_format="base64")

    assert as_default.data[0].embedding == [0.5, 0.5, -0.5, 0.5]
    assert as_numbers.data[0].embedding == [0.5, 0.5, -0.5, 0.5]
    raw = base64.b64decode(as_base64.data[0].embedding)
    assert struct.unpack("<4f", raw) == (0.5, 0.5, -0.5, 0.5)
    assert as_numbers.usage.prompt_tokens == 3


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_cut_embeddings_have_length_one_again(lenient, encoding):
    [item] = lenient.embeddings.create(
        model="mini", input="hello", dimensions=2, encoding_format=encoding
    ).data
    vector = item.embedding
    if encoding == "base64":
        vector = struct.unpack("<2f", base64.b64decode(vector))
    assert vector == pytest.approx([math.sqrt(0.5)] * 2)


def test_embeddings_come_in_batches_and_of_token_ids(lenient, live):
    answer = lenient.embeddings.create(model="mini", input=["a", "b", "c"])
    assert [item.index for item in answer.data] == [0, 1, 2]
    lenient.embeddings.create(model="mini", input=[[1, 2], [3]])
    assert live.models.find("mini").engine.asked[-1][0] == ((1, 2), (3,))


def test_the_models_are_listed_and_shown(client):
    assert [model.id for model in client.models.list()] == ["tiny", "mini"]
    model = client.models.retrieve("small")
    assert model.id == "tiny"
    assert model.meta["n_ctx"] == 512


@pytest.mark.parametrize("name", ["tiny", "TINY", "tiny:latest", "small", "tiny-q8_0.gguf",
                                  "/models/tiny-q8_0.gguf", "tiny-q8_0"])  # fmt: skip
def test_a_model_answers_to_all_its_names(client, name):
    assert client.chat.completions.create(model=name, messages=HI).model == "tiny"


def test_an_unknown_model_is_404_with_the_command_that_would_load_it(client):
    with pytest.raises(openai.NotFoundError, match="edgellm serve qwen3:8b") as raised:
        client.chat.completions.create(model="qwen3:8b", messages=HI)
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"


def test_a_model_of_the_other_kind_is_400(client):
    with pytest.raises(openai.BadRequestError, match="is an embedding model"):
        client.chat.completions.create(model="mini", messages=HI)
    with pytest.raises(openai.BadRequestError, match="not an embedding model"):
        client.embeddings.create(model="tiny", input="x")


def test_a_full_queue_is_a_rate_limit_and_the_client_comes_back(live, engine):
    engine.scripts = [Overloaded("64 requests wait already"), words("now")]
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=1) as client:
        began = engine.asked
        answer = client.chat.completions.create(model="tiny", messages=HI)
    assert answer.choices[0].message.content == "now"
    assert len(began) == 2


def test_a_full_queue_is_429_with_retry_after(client, engine):
    engine.scripts = [Overloaded("64 requests wait already", hint="try later")]
    with pytest.raises(openai.RateLimitError, match="64 requests") as raised:
        client.chat.completions.create(model="tiny", messages=HI, stream=True)
    assert raised.value.response.headers["retry-after"] == "1"
    assert raised.value.code == "queue_full"


@pytest.mark.parametrize("stream", [False, True])
def test_an_early_failure_has_its_own_status(client, engine, stream):
    engine.scripts = [[Failed("900 tokens are more than 512", 400, "messages")]]
    with pytest.raises(openai.BadRequestError, match="900 tokens") as raised:
        client.chat.completions.create(model="tiny", messages=HI, stream=stream)
    assert raised.value.param == "messages"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_is_blamed_by_its_own_name(client, engine, stream):
    sizes = (900, 512)
    too_long = ContextTooLong("900 tokens are more than 512", param="messages", sizes=sizes)
    for script in ([Failed(str(too_long), 400, "messages", "ContextTooLong", sizes)], too_long):
        engine.scripts = [script]
        with pytest.raises(openai.BadRequestError) as raised:
            client.completions.create(model="tiny", prompt="Hi", stream=stream)
        assert raised.value.param == "prompt"
        assert raised.value.code == "context_length_exceeded"
        assert (raised.value.body["n_prompt_tokens"], raised.value.body["n_ctx"]) == sizes


@pytest.mark.parametrize("stream", [False, True])
def test_errors_that_the_engine_raises_have_their_status(client, engine, stream):
    for error, kind, code in (
        (ContextTooLong("too long"), openai.BadRequestError, "context_length_exceeded"),
        (WorkerDied("signal 9"), openai.InternalServerError, "worker_died"),
        (BadRequest("no", param="regex"), openai.BadRequestError, None),
    ):
        engine.scripts = [error]
        with pytest.raises(kind) as raised:
            client.chat.completions.create(model="tiny", messages=HI, stream=stream)
        assert raised.value.code == code


def test_a_failure_midway_raises_in_the_client(client, engine):
    engine.scripts = [[TextDelta("Hel"), Failed("the model's process ended with -9", 502)]]
    with client.chat.completions.create(model="tiny", messages=HI, stream=True) as stream:
        seen = []
        with pytest.raises(openai.APIError, match="ended with -9"):
            seen.extend(iter(stream))
    assert not seen or seen[0].choices[0].delta.role == "assistant"


def test_a_wrong_key_is_401_and_a_right_one_works():
    with live_server(served(), access=Access.of(keys=["right", "other"])) as live:
        with (
            openai.OpenAI(base_url=f"{live.url}/v1", api_key="wrong") as stranger,
            pytest.raises(openai.AuthenticationError) as raised,
        ):
            stranger.models.list()
        assert raised.value.code == "invalid_api_key"
        with openai.OpenAI(base_url=f"{live.url}/v1", api_key="other") as friend:
            assert friend.models.list().data


def test_a_swapped_model_takes_over_the_next_request():
    old, new = served("demo", demo=True), served("real")
    new.engine.scripts = [words("I am real", timings=Timings(0, 0, 0))]
    with (
        live_server(old, served_embedding()) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as client,
    ):
        assert client.chat.completions.create(model="", messages=HI).model == "demo"
        live.models.swap(old, new)
        answer = client.chat.completions.create(model="", messages=HI)
        assert (answer.model, answer.choices[0].message.content) == ("real", "I am real")
        assert [model.id for model in client.models.list()] == ["real", "mini"]
        assert answer.timings["predicted_per_second"] is None
