"""Seeds, samplers and logprobs through the whole program: a real server with a real model."""

import asyncio
import math

import httpx2
import pytest
from live import live_server

pytestmark = pytest.mark.model

WARM = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.02}


@pytest.fixture(scope="module")
def url():
    with live_server(flash_attention=False) as live:
        yield live.url


def run(url, *bodies):
    """All at once."""

    async def scenario():
        async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
            asked = [client.post("/v1/completions", json=body) for body in bodies]
            return [answer.json() for answer in await asyncio.gather(*asked)]

    return asyncio.run(scenario())


def body(**fields):
    return {"prompt": "Once upon a time", "max_tokens": 40, "ignore_eos": True} | fields


def texts(answer):
    return [choice["text"] for choice in answer["choices"]]


@pytest.mark.parametrize(
    "samplers",
    [WARM, {}, {"xtc_probability": 0.5, "xtc_threshold": 0.05, "repeat_penalty": 1.2},
     {"mirostat": 2}, {"dry_multiplier": 0.8, "typical_p": 0.9}],
    ids=["warm", "defaults", "XTC", "mirostat", "DRY"],
)  # fmt: skip
def test_a_seed_gives_the_same_text_alone_and_in_a_crowd(url, samplers):
    [alone] = run(url, body(seed=7, **samplers))
    crowd = [body(seed=i, **WARM) for i in range(6)]
    first, *_, last = run(url, body(seed=7, **samplers), *crowd, body(seed=7, **samplers))
    assert texts(alone) == texts(first) == texts(last)


def test_each_choice_has_a_seed_of_its_own_the_next_number(url):
    [three] = run(url, body(seed=20, n=3, **WARM))
    singles = run(url, *(body(seed=20 + i, **WARM) for i in range(3)))
    assert texts(three) == [text for one in singles for text in texts(one)]
    assert len(set(texts(three))) == 3


def test_without_a_seed_texts_differ(url):
    answers = run(url, *(body(**WARM) for _ in range(4)))
    assert len({text for one in answers for text in texts(one)}) == 4


def test_logprobs_are_the_models_own_whatever_samples(url):
    plain, warm = run(
        url,
        body(temperature=0, logprobs=3, max_tokens=1),
        body(temperature=0, logprobs=3, max_tokens=1, repeat_penalty=1.5, logit_bias={"5": 90}),
    )
    first, other = (one["choices"][0]["logprobs"] for one in (plain, warm))
    [best], [and_drawn] = first["top_logprobs"], other["top_logprobs"]
    assert and_drawn == best | {other["tokens"][0]: other["token_logprobs"][0]}
    assert first["token_logprobs"] != other["token_logprobs"]  # the bias made it unlikely


def test_logprobs_may_be_what_the_samplers_left(url):
    fields = {"temperature": 1.0, "top_k": 2, "top_p": 1.0, "min_p": 0.0, "seed": 1}
    [answer] = run(url, body(n_probs=5, post_sampling_probs=True, max_tokens=3, **fields))
    for top in answer["choices"][0]["logprobs"]["top_logprobs"]:
        assert len(top) == 2
        assert sum(map(math.exp, top.values())) == pytest.approx(1, abs=1e-4)
    [greedy] = run(url, body(logprobs=5, post_sampling_probs=True, temperature=0, max_tokens=1))
    assert greedy["choices"][0]["logprobs"]["token_logprobs"] == [0.0]
