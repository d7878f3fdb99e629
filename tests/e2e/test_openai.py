"""The real openai package against a real server with a real model."""

import json

import openai
import pytest
from live import live_server
from real_model import SHARED_MODELS, needs_shared_models

pytestmark = pytest.mark.model

HELLO = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def client():
    """Split KV and no flash attention: there an answer's numbers depend on nobody else's."""
    with (
        live_server(kv_unified=False) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def chat(client, **more):
    values = {"model": "demo", "messages": HELLO, "temperature": 0, "max_tokens": 60}
    return client.chat.completions.create(**(values | more))


def test_chat_answers_and_counts(client):
    answer = chat(client)
    assert answer.choices[0].message.content.strip()
    assert answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = chat(client).choices[0].message.content
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole
    assert chunks[-1].usage.completion_tokens > 0


def test_the_second_turn_finds_the_first_in_the_cache(client):
    first = chat(client)
    turns = [
        *HELLO,
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "Tell me a story about a fox."},
    ]
    second = chat(client, messages=turns)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens


def test_a_stop_string_ends_the_answer_and_is_not_shown(client):
    whole = chat(client).choices[0].message.content
    stop = whole[5:9]
    cut = chat(client, stop=[stop]).choices[0]
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_a_seed_repeats_itself_and_another_does_not(client):
    def story(seed):
        words = [{"role": "user", "content": "Tell me a story about a dragon."}]
        fresh = {"cache_prompt": False}  # a prompt from the cache is rounded a little differently
        answer = chat(
            client, messages=words, temperature=1.0, seed=seed, max_tokens=80, extra_body=fresh
        )
        return answer.choices[0].message.content

    assert story(5) == story(5)
    assert len({story(seed) for seed in range(5)}) > 1


def test_n_answers_differ_and_share_their_prompt(client):
    words = [{"role": "user", "content": "Tell me a story about a cat."}]
    answer = chat(client, messages=words, n=3, temperature=1.0, seed=1, max_tokens=60)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1


def test_logprobs_are_those_of_the_tokens_shown(client):
    answer = chat(client, logprobs=True, top_logprobs=3).choices[0]
    tokens = answer.logprobs.content
    assert "".join(token.token for token in tokens) == answer.message.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens)
    assert all(token.top_logprobs[0].logprob == pytest.approx(token.logprob) for token in tokens)


def test_a_json_schema_is_followed(client):
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "maximum": 99}, "pet": {"enum": ["cat", "dog"]}},
        "required": ["age", "pet"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "pet", "schema": schema, "strict": True}}
    data = json.loads(chat(client, response_format=form).choices[0].message.content)
    assert data["pet"] in ("cat", "dog")
    assert data["age"] <= 99


def test_a_logit_bias_forbids_a_token(client):
    def first(**more):
        asked = {"model": "demo", "prompt": "Once upon a time", "max_tokens": 1, "temperature": 0}
        return client.completions.create(**asked, **more).choices[0].text

    text = first()
    root = str(client.base_url).removesuffix("/v1/")
    tokenized = client.post(f"{root}/tokenize", body={"content": text}, cast_to=object)
    assert first(logit_bias={str(tokenized["tokens"][-1]): -100}) != text


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (openai.NotFoundError, {"model": "gpt-4o"}),
        (openai.BadRequestError, {"temperature": -1}),
        (openai.BadRequestError, {"messages": []}),
        (openai.BadRequestError, {"messages": [{"role": "user", "content": "word " * 2000}]}),
        (openai.BadRequestError, {"extra_body": {"regex": "("}}),
    ],
    ids=["unknown model", "out of bounds", "no message", "context too long", "bad regex"],
)
def test_a_bad_request_is_the_clients_own_error(client, error, more):
    with pytest.raises(error) as caught:
        chat(client, **more)
    assert caught.value.body["message"]
    assert chat(client).choices[0].message.content  # and nobody else's


@needs_shared_models
def test_embeddings_tell_alike_from_unlike():
    """The first two are a published pair: 0.7553 (sentence-transformers' semantic search)."""

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    words = [
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "The stock fell sharply.",
    ]
    choices = {"embedding": True, "n_ctx": 512, "n_batch": 512, "flash_attention": None}
    path = SHARED_MODELS / "all-minilm-l6-v2-q8_0.gguf"
    with (
        live_server(path, "minilm", **choices) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as client,
    ):
        asked = {"model": "minilm", "input": words, "encoding_format": "float"}
        rows = client.embeddings.create(**asked).data
    food, bread, stock = (row.embedding for row in rows)
    assert cosine(food, bread) == pytest.approx(0.7553, abs=0.005)
    assert abs(cosine(food, stock)) < 0.2
