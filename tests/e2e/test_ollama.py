"""The real ollama package against a real server with a real model."""

import asyncio
import json

import ollama
import pytest
from live import live_server
from pictures import png
from projector_files import projector_bytes
from real_model import SHARED_MODELS, demo_path, needs_shared_models

pytestmark = pytest.mark.model

HELLO = [{"role": "user", "content": "Hello!"}]
BRIEF = {"temperature": 0, "num_predict": 40}


@pytest.fixture(scope="module")
def live():
    """Split KV and no flash attention: there an answer's numbers depend on nobody else's."""
    with live_server(kv_unified=False) as live:
        yield live


@pytest.fixture(scope="module")
def client(live):
    with ollama.Client(live.url) as client:
        yield client


def chat(client, **more):
    return client.chat(**({"model": "demo", "messages": HELLO, "options": BRIEF} | more))


def test_a_chat_answers_and_counts_in_nanoseconds(client):
    answer = chat(client)
    assert answer.message.role == "assistant"
    assert answer.message.content.strip()
    assert answer.done_reason in ("stop", "length")
    assert answer.prompt_eval_count > 0
    assert 0 < answer.eval_count <= 40
    assert answer.prompt_eval_duration > 0
    assert answer.eval_duration > 0
    assert answer.total_duration >= answer.prompt_eval_duration + answer.eval_duration


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = chat(client)
    parts = list(chat(client, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert [part.done for part in parts].count(True) == 1
    assert parts[-1].eval_count == whole.eval_count


def test_the_async_client_hears_several_at_once(live, client):
    async def scenario():
        async with ollama.AsyncClient(live.url) as client:

            async def told():
                stream = await client.chat("demo", HELLO, stream=True, options=BRIEF)
                return "".join([part.message.content async for part in stream])

            return await asyncio.gather(*(told() for _ in range(3)))

    assert asyncio.run(scenario()) == [chat(client).message.content] * 3


def test_options_bound_the_answer(client):
    whole = chat(client).message.content
    cut = chat(client, options=BRIEF | {"stop": [whole[5:9]]})
    assert cut.message.content == whole[: whole.index(whole[5:9])]
    assert cut.done_reason == "stop"
    short = chat(client, options=BRIEF | {"num_predict": 3, "num_ctx": 256, "num_gpu": 99})
    assert (short.eval_count, short.done_reason) == (3, "length")
    unbound = chat(client, options=BRIEF | {"num_predict": 0, "num_ctx": -1})
    assert (unbound.message.content.startswith(whole), unbound.done_reason) == (True, "stop")


def test_a_seed_repeats_itself(client):
    def story(seed):
        options = {"temperature": 1.0, "seed": seed, "num_predict": 40}
        return client.generate("demo", "Tell me a story about a dragon.", options=options).response

    story(1)  # the prompt is in the cache from here on: what comes from it is rounded alike
    assert story(5) == story(5)
    assert len({story(seed) for seed in range(4)}) > 1


def test_a_prompt_is_answered_as_the_chat_of_one_turn(client):
    answer = client.generate("demo", "Hello!", options=BRIEF)
    assert answer.response == chat(client).message.content
    assert answer.done


def test_a_context_brings_what_was_said_back(client):
    first = client.generate("demo", "Hello!", options=BRIEF)
    more = client.generate("demo", "And now?", context=first.context, options=BRIEF)
    assert more.prompt_eval_count > len(first.context)
    assert list(more.context)[: len(first.context)] == list(first.context)


def test_a_raw_prompt_goes_on_as_text(client):
    answer = client.generate("demo", "Once upon a time", raw=True, options=BRIEF)
    assert answer.response
    assert answer.context is None
    assert answer.prompt_eval_count < client.generate("demo", "Once upon a time").prompt_eval_count


def test_a_format_is_followed(client):
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "maximum": 99}, "pet": {"enum": ["cat", "dog"]}},
        "required": ["age", "pet"],
        "additionalProperties": False,
    }
    data = json.loads(chat(client, format=schema).message.content)
    assert data["pet"] in ("cat", "dog")
    assert data["age"] <= 99
    text = client.generate("demo", "Hello!", format="json", options={"num_predict": 1}).response
    assert text.lstrip().startswith("{")


def test_a_tool_can_be_offered_as_a_python_function(client):
    def get_weather(city: str) -> str:
        """Tell the weather.

        Args:
          city: where
        """
        return f"rain in {city}"

    message = chat(client, tools=[get_weather]).message
    assert message.content or message.tool_calls
    for call in message.tool_calls or ():
        assert get_weather(**call.function.arguments).startswith("rain in ")
    results = [
        *HELLO,
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Rome"}}}],
        },
        {"role": "tool", "content": "rain in Rome", "tool_name": "get_weather"},
    ]
    assert chat(client, messages=results, tools=[get_weather]).prompt_eval_count > 30


def test_logprobs_are_those_of_the_tokens_shown(client):
    answer = chat(client, logprobs=True, top_logprobs=3)
    assert "".join(one.token for one in answer.logprobs) == answer.message.content
    assert all(one.logprob <= 0 and len(one.top_logprobs) == 3 for one in answer.logprobs)


def test_the_model_is_listed_runs_and_is_shown(client):
    [listed], [running] = client.list().models, client.ps().models
    assert listed.model == running.model == "demo:latest"
    assert listed.digest == running.digest
    assert running.context_length == 512
    shown = client.show(listed.model)
    assert shown.capabilities == ["completion", "tools"]
    assert "num_ctx" in shown.parameters
    assert "message" in shown.template


def test_a_request_without_a_text_only_wants_the_model(client):
    assert client.generate("demo").done_reason == "load"
    assert client.chat("demo").done_reason == "load"


@pytest.mark.parametrize(
    ("status", "more"),
    [
        (404, {"model": "llama3.2"}),
        (400, {"options": {"temperature": -1}}),
        (400, {"messages": [{"role": "user", "content": "word " * 2000}]}),
        (400, {"format": {"type": "nonsense"}}),
        (400, {"think": True}),
    ],
    ids=["unknown model", "out of bounds", "context too long", "bad schema", "no thoughts"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_request_is_the_clients_own_error(client, status, more, stream):
    with pytest.raises(ollama.ResponseError) as raised:
        list(chat(client, stream=stream, **more))
    assert raised.value.status_code == status
    assert raised.value.error
    assert chat(client).message.content  # and nobody else's


def test_pictures_are_seen_by_a_model_with_a_projector(tmp_path, client):
    """Of random weights: another answer for another picture is all that can be said of it."""
    projector = tmp_path / "mmproj.gguf"
    projector.write_bytes(projector_bytes())
    red, blue = png(colour=(255, 0, 0)), png(colour=(0, 0, 255))
    with (
        live_server(demo_path(), "sees", projector=str(projector), kv_unified=False) as live,
        ollama.Client(live.url) as seer,
    ):

        def answer(picture, **more):
            asked = {"model": "sees", "images": [picture], "options": BRIEF} | more
            return seer.generate(prompt="What is it?", **asked)

        turn = {"role": "user", "content": "What is it?", "images": [red]}
        seen = answer(red)
        assert seer.chat("sees", [turn], options=BRIEF).message.content == seen.response
        assert answer(blue).response != seen.response
        assert answer(red, raw=True).response != answer(blue, raw=True).response
        assert "vision" in seer.show("sees").capabilities
        assert seen.context is None  # tokens can't bring a picture back
    with pytest.raises(ollama.ResponseError, match="--mmproj") as raised:
        chat(client, messages=[turn])
    assert raised.value.status_code == 400


@needs_shared_models
def test_embeddings_are_cut_as_asked_and_long_texts_to_the_context():
    choices = {"embedding": True, "n_ctx": 512, "n_batch": 512, "flash_attention": None}
    path = SHARED_MODELS / "all-minilm-l6-v2-q8_0.gguf"
    with live_server(path, "minilm", **choices) as live, ollama.Client(live.url) as client:
        found = client.embed("minilm", ["A man is eating food.", "The stock fell sharply."])
        assert [len(one) for one in found.embeddings] == [384, 384]
        assert sum(x * x for x in found.embeddings[0]) == pytest.approx(1, abs=1e-5)
        assert found.prompt_eval_count > 8
        short = client.embed("minilm", "A man is eating food.", dimensions=64).embeddings[0]
        assert sum(x * x for x in short) == pytest.approx(1, abs=1e-5)
        old = client.embeddings("minilm", "A man is eating food.").embedding
        assert old == pytest.approx(found.embeddings[0])

        long = "A man is eating food. " * 400
        assert client.embed("minilm", long).prompt_eval_count <= 512
        with pytest.raises(ollama.ResponseError, match="tokens") as raised:
            client.embed("minilm", long, truncate=False)
        assert raised.value.status_code == 400
        with pytest.raises(ollama.ResponseError, match="writes no text"):
            client.generate("minilm", "Hello!")
        assert client.show("minilm").capabilities == ["embedding"]
