"""Requests made to hurt, against a real server with a real model, beside a stream that must not
notice: it gets the tokens that it gets alone. scripts/bench/bombs.py has all bombs, and the times.
"""

import asyncio
import json

import httpx2
import pytest
from live import live_server
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
        ({"logprobs": True, "top_logprobs": 10**6}, "top_logprobs: 1000000 is not a whole number"),
        ({"temperature": -1}, "temperature: -1 is not a number from 0 to 10"),
        ({"min_p": 1e300}, "min_p: 1e+300 is not a number from 0 to 1"),
        ({"max_tokens": 10**12}, "max_tokens: 1000000000000 is not a whole number"),
        ({"messages": [{"role": "user", "content": "word " * 5000}]}, "context is 4096"),
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


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_no_json(live, value):
    async def scenario(client):
        body = json.dumps({"prompt": "x", "temperature": 0}).replace("0}", value + "}")
        headers = {"content-type": "application/json"}
        return await client.post("/v1/completions", content=body, headers=headers)

    assert run(live, scenario).status_code == 400
