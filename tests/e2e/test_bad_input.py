"""Requests made to hurt, against a real server with a real model, beside a stream that must not
notice: it gets the tokens that it gets alone. scripts/bench/bombs.py has all bombs, and the times.
"""

import asyncio
import json

import httpx2
import pytest
from gguf_files import with_keys
from live import live_server
from real_model import demo_path
from structure_bombs import bombs

pytestmark = pytest.mark.model

NAMES = [
    "gbnf: 30000 groups in one another", "gbnf: 50 optional choices", "gbnf: 500 optional words",
    "gbnf: 50 stars of stars", 'gbnf: root ::= root root root | "a"?',
    "gbnf: 1000 of any character",
    "gbnf: 2000 times 2000", "regex: (a{1000}){1000}", "regex: (?=a)b", r"regex: \p{L}{1,400}",
    "regex: 25 optional, then 25", "schema: enum of 5000", f"schema: text of {10**30}",
    "schema: allOf doubled 30 times", "schema: a ring of two", "schema: a reference to the world",
    "choices: 1,024 that go on", "tools: items",
]  # fmt: skip
CHOSEN = {name: fields for name, fields in bombs() if name in NAMES}
NEIGHBOUR = {
    "prompt": "Once upon a time", "max_tokens": 400, "temperature": 0, "ignore_eos": True,
}  # fmt: skip
ENDINGS = {"stop", "length", "tool_calls"}


@pytest.fixture(scope="module")
def live():
    with live_server(n_ctx=8 * 4096, n_ctx_seq=4096) as live:
        yield live


async def post(client, path, **body):
    return await client.post(path, json=body)


async def bomb(client, fields):
    """How its answer ended, or the words of its refusal."""
    chat = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 24, "temperature": 1.3}
    answer = await post(client, "/v1/chat/completions", seed=1, **chat, **fields)
    told = answer.json()
    if answer.status_code == 200:
        return told["choices"][0]["finish_reason"]
    assert answer.status_code == 400, told
    return told["error"]["message"]


def run(live, scenario):
    async def connected():
        async with httpx2.AsyncClient(base_url=live.url, timeout=120) as client:
            return await scenario(client)

    return asyncio.run(connected())


def test_all_families_are_among_the_chosen():
    assert CHOSEN.keys() == set(NAMES)
    assert len(bombs()) >= 200


def test_structures_made_to_hurt_end_and_a_neighbour_does_not_notice(live):
    async def scenario(client):
        alone = await post(client, "/v1/completions", **NEIGHBOUR)
        beside = asyncio.create_task(post(client, "/v1/completions", **NEIGHBOUR))
        endings = {name: await bomb(client, fields) for name, fields in CHOSEN.items()}
        return alone.json(), (await beside).json(), endings

    alone, beside, endings = run(live, scenario)
    assert beside["choices"][0]["text"] == alone["choices"][0]["text"]
    refused = {name for name, ending in endings.items() if ending not in ENDINGS}
    assert {"gbnf: 30000 groups in one another", "regex: (?=a)b"} <= refused
    assert "gbnf: 50 optional choices" not in refused
    assert live.engine.state == "ready"
    assert live.engine.n_restarts == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 10**9}, "n: 1000000000 is not a whole number from 1 to 8"),
        ({"n": 0}, "n: 0 is not a whole number from 1 to 8"),
        ({"n": 10**400}, "is not a whole number from 1 to 8"),
        ({"logprobs": True, "top_logprobs": 10**6}, "top_logprobs: 1000000 is not a whole number"),
        ({"logprobs": True, "top_logprobs": -5}, "top_logprobs: -5 is not a whole number"),
        ({"top_k": -9}, "top_k: -9 is not a whole number from -1"),
        ({"repeat_penalty": 0}, "repeat_penalty: 0 is not a number above 0"),
        ({"frequency_penalty": 1e308}, "frequency_penalty: 1e+308 is not a number from -2 to 2"),
        ({"temperature": -1}, "temperature: -1 is not a number from 0 to 10"),
        ({"min_p": 1e300}, "min_p: 1e+300 is not a number from 0 to 1"),
        ({"max_tokens": 10**12}, "max_tokens: 1000000000000 is not a whole number"),
        (
            {"messages": [{"role": "user", "content": "word " * 5000}]},
            "maximum context length is 4096 tokens",
        ),
    ],
)
def test_numbers_made_to_hurt_are_refused(live, fields, words):
    async def scenario(client):
        body = {"messages": [{"role": "user", "content": "x"}]} | fields
        return await post(client, "/v1/chat/completions", **body)

    answer = run(live, scenario)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(live):
    async def scenario(client):
        return await post(client, "/v1/completions", prompt=[5] * 5000)

    message = run(live, scenario).json()["error"]["message"]
    assert "5000" in message
    assert "4096" in message


def picture(url):
    part = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"logit_bias": {"0": 1, "99999": 5}},
            "token 99999 is not in the vocabulary of 1408 tokens",
        ),
        ({"lora": [{"id": 99, "scale": 1}]}, "no adapter has the id 99"),
        (picture("data:image/png;base64,bm8gcGljdHVyZQ=="), "this is no picture that is read here"),
        (picture("data:image/png;base64,%%%"), "the base64 is damaged"),
        (picture("http://127.0.0.1:1/x.png"), "is not fetched"),
        ({"chat_template": "{% for i in range(99999) %}{% endfor %}"}, "cannot bring code"),
        ({"prompt": [10**9]}, "token 1000000000 is not in the vocabulary"),
        ({"prompt": [-1]}, "prompt[0]"),
    ],
)
def test_what_is_not_there_or_broken_is_the_clients_error_and_named(live, fields, words):
    async def scenario(client):
        if "prompt" in fields:
            return await post(client, "/v1/completions", **fields)
        body = {"messages": [{"role": "user", "content": "x"}]} | fields
        return await post(client, "/v1/chat/completions", **body)

    answer = run(live, scenario)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_no_json(live, value):
    async def scenario(client):
        body = json.dumps({"prompt": "x", "temperature": 0}).replace("0}", value + "}")
        headers = {"content-type": "application/json"}
        return await client.post("/v1/completions", content=body, headers=headers)

    assert run(live, scenario).status_code == 400


def speaking(template, path):
    """The demo with another chat template, or with none."""
    key = b"tokenizer.chat_template"
    data = demo_path().read_bytes().replace(key, b"nobodys.chat_template__")
    keys = {} if template is None else {key.decode(): template}
    path.write_bytes(with_keys(data, keys))
    return path


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3, "takes more than 1000000 steps"),
        ("{% set ns = namespace(a='a') %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a %}"
         "{% endfor %}{{ ns.a }}", "makes too much"),
        ("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "recursion"),
    ],
    ids=["loops", "explodes", "calls itself"],
)  # fmt: skip
def test_a_template_made_to_hurt_is_broken_off_and_a_neighbour_does_not_notice(
    tmp_path, template, words
):
    async def scenario(client):
        alone = await post(client, "/v1/completions", **NEIGHBOUR)
        beside = asyncio.create_task(post(client, "/v1/completions", **NEIGHBOUR))
        asked = {"messages": [{"role": "user", "content": "x"}]}
        refused = [await post(client, "/v1/chat/completions", **asked) for _ in range(2)]
        return alone.json(), (await beside).json(), refused

    with live_server(speaking(template, tmp_path / "hurts.gguf")) as live:
        alone, beside, refused = run(live, scenario)
        assert live.engine.n_restarts == 0
    assert beside["choices"][0]["text"] == alone["choices"][0]["text"]
    for answer in refused:
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]


def test_a_model_without_a_chat_template_answers_chats_all_the_same(tmp_path):
    async def scenario(client):
        asked = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 3}
        return await post(client, "/v1/chat/completions", **asked)

    with live_server(speaking(None, tmp_path / "plain.gguf")) as live:
        answer = run(live, scenario)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 3
