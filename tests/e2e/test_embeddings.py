"""Embeddings and ranks through the real server, with real models."""

import asyncio
import base64
import math
import os
import signal
from array import array
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest
from cli_runs import wait_for
from gguf_files import with_keys
from live import live_server
from real_model import SHARED_MODELS, needs_shared_models, plan

from edgellm.runner.supervisor import Supervisor

pytestmark = [pytest.mark.model, needs_shared_models]

MINILM = SHARED_MODELS / "all-minilm-l6-v2-q8_0.gguf"
RANKS = SHARED_MODELS / "bert-mini-rerank-q8_0.gguf"
CHOICES = {"embedding": True, "n_ctx": 512, "n_batch": 512, "flash_attention": None}
WORDS = "The quick brown fox jumps over the lazy dog"


def serving(path=MINILM, name="minilm", **more):
    return live_server(path, name, **(CHOICES | more))


@pytest.fixture(scope="module")
def live():
    with serving() as live:
        yield live


@pytest.fixture
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def create(client, given, **more):
    return client.embeddings.create(model="minilm", input=given, **more)


def vectors(client, given, **more):
    return [row.embedding for row in create(client, given, **more).data]


def normalized(vector):
    length = math.sqrt(math.fsum(x * x for x in vector))
    return [x / length for x in vector]


def close(a, b, within=1e-4):
    return len(a) == len(b) and max(abs(x - y) for x, y in zip(a, b, strict=True)) < within


@pytest.fixture(scope="module")
def of_tokens():
    """The vectors of all tokens of WORDS, as nothing pools them."""
    with serving(pooling="none") as live, httpx2.Client(base_url=live.url) as http:
        ((told),) = http.post("/embedding", json={"content": WORDS}).json()
        refused = http.post("/v1/embeddings", json={"input": WORDS})
        assert refused.status_code == 400
        return told["embedding"]


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_each_pooling_is_what_it_says_of_the_tokens_vectors(pooling, of_tokens):
    with serving(pooling=pooling) as live, httpx2.Client(base_url=live.url) as http:
        ((told),) = http.post("/embedding", json={"content": WORDS}).json()
    mean = [math.fsum(column) / len(of_tokens) for column in zip(*of_tokens, strict=True)]
    want = {"mean": mean, "cls": of_tokens[0], "last": of_tokens[-1]}[pooling]
    assert close(told["embedding"][0], normalized(want))


def test_a_text_its_token_ids_and_base64_are_one_vector(client, live):
    with httpx2.Client(base_url=live.url) as http:
        asked = {"content": WORDS, "add_special": True}
        ids = http.post("/tokenize", json=asked).json()["tokens"]
        raw = http.post("/v1/embeddings", json={"input": WORDS, "encoding_format": "base64"})
    (text,) = vectors(client, WORDS, encoding_format="float")
    (by_ids,) = vectors(client, ids, encoding_format="float")
    assert close(text, by_ids, 1e-6)
    assert close(text, array("f", base64.b64decode(raw.json()["data"][0]["embedding"])), 1e-6)
    assert close(text, normalized(text), 1e-6)


def test_more_inputs_than_one_batch_holds_come_back_in_their_order(client):
    given = [f"{WORDS} {n} times" for n in range(150)]
    answer = create(client, given)
    assert [row.index for row in answer.data] == list(range(150))
    for n in (0, 77, 149):
        (alone,) = vectors(client, given[n])
        assert close(answer.data[n].embedding, alone, 2e-2)
    assert answer.usage.prompt_tokens > 512


def test_dimensions_are_the_first_ones_at_length_one(client):
    (whole,) = vectors(client, WORDS)
    (cut,) = vectors(client, WORDS, dimensions=64)
    assert close(cut, normalized(whole[:64]), 1e-6)
    with pytest.raises(openai.BadRequestError, match="385 are more than this model's 384"):
        create(client, WORDS, dimensions=385)


def test_an_input_longer_than_the_model_takes_is_refused_with_both_numbers(client):
    with pytest.raises(openai.BadRequestError, match=r"input 1 has 1502 tokens.* takes 512"):
        create(client, ["short", "dog " * 1500])
    assert vectors(client, "still here")


def test_inputs_of_many_clients_go_down_together(live):
    """They come while the model's process stands still, so that all of them have come."""

    def one(n):
        with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as client:
            return vectors(client, [f"number {n}"] * 4)

    before = live.engine.gauge.n_steps
    with ThreadPoolExecutor(16) as pool:
        os.kill(live.engine.pid, signal.SIGSTOP)
        try:
            asking = [pool.submit(one, n) for n in range(16)]
            wait_for(lambda: len(live.engine._inflight) == 16)
        finally:
            os.kill(live.engine.pid, signal.SIGCONT)
        told = [each.result() for each in asking]
    for n, rows in enumerate(told):
        assert all(close(row, rows[0], 2e-2) for row in rows), n
    # 64 inputs, at most 8 in a call: one request after the other would have been 16 calls.
    assert 8 <= live.engine.gauge.n_steps - before < 16


def test_a_client_that_leaves_is_computed_for_no_longer():
    async def left_early():
        engine = Supervisor(str(MINILM), plan(**CHOICES))
        await engine.start()
        try:
            asking = asyncio.create_task(engine.embed((WORDS * 5,) * 8 * n_calls))
            while not (engine.gauge and engine.gauge.n_steps):
                assert not asking.done()
                await asyncio.sleep(0.01)
            asking.cancel()
            await engine.embed((WORDS,))
            return engine.gauge.n_steps
        finally:
            await engine.stop()

    n_calls = 2000  # of eight inputs; they take many times as long as a hiccup of this process
    assert 1 <= asyncio.run(left_early()) < n_calls // 2


def test_a_causal_model_pools_its_last_token_and_takes_more_than_a_batch():
    """The 260K story model as an embedder: short batches and long ones agree."""
    path, long = SHARED_MODELS / "stories260K-f32.gguf", "Once upon a time there was a dog. " * 12
    told = []
    for n_batch in (32, 512):
        more = {"pooling": "last", "n_batch": n_batch, "n_ubatch": n_batch}
        with (
            serving(path, "stories", flash_attention=False, **more) as live,
            httpx2.Client(base_url=live.url) as http,
        ):
            answer = http.post("/v1/embeddings", json={"input": [long, "Once"]}).json()
            told.append([row["embedding"] for row in answer["data"]])
    assert close(told[0][0], told[1][0])
    assert close(told[0][1], told[1][1])


# Scores of llama-server, of the same llama.cpp, for this query and these documents.
QUERY = "what is a panda?"
DOCUMENTS = ("hi", "it is a bear", "The giant panda is a bear species endemic to China.")
SCORES = (1.36288, 1.28151, 0.98524)


def test_ranks_are_llama_servers_best_first():
    with (
        serving(RANKS, "judge") as live,
        httpx2.Client(base_url=live.url, timeout=30) as http,
    ):
        backwards = DOCUMENTS[::-1]
        told = http.post("/v1/rerank", json={"query": QUERY, "documents": backwards}).json()
        assert [row["index"] for row in told["results"]] == [2, 1, 0]
        for row, score in zip(told["results"], SCORES, strict=True):
            assert row["relevance_score"] == pytest.approx(score, abs=1e-3)
        assert told["usage"]["total_tokens"] == 37

        long = {"query": QUERY, "documents": ["panda " * 600]}
        refused = http.post("/v1/rerank", json=long)
        assert refused.status_code == 400
        assert "607 tokens; this model takes 512" in refused.json()["error"]["message"]
        assert refused.json()["error"]["param"] == "documents"
        assert http.post("/v1/rerank", json=long | {"max_tokens_per_doc": 100}).status_code == 200


def test_a_template_in_the_file_joins_query_and_document(tmp_path):
    """With the same file llama-server gives these scores, and counts 52 tokens."""
    words = "[CLS]what: {query} [SEP] text: {document}[SEP]"
    path = tmp_path / "templated.gguf"
    path.write_bytes(with_keys(RANKS.read_bytes(), {"tokenizer.chat_template.rerank": words}))
    with serving(path, "judge") as live, httpx2.Client(base_url=live.url, timeout=30) as http:
        asked = {"query": QUERY, "documents": DOCUMENTS}
        told = http.post("/v1/rerank", json=asked).json()
        scores = {row["index"]: row["relevance_score"] for row in told["results"]}
        want = {0: 0.79960, 1: 0.89573, 2: 0.66660}
        assert scores == pytest.approx(want, abs=1e-3)
        assert told["usage"]["total_tokens"] == 52

        cut = http.post("/v1/rerank", json=asked | {"max_tokens_per_doc": 2}).json()
        assert cut["usage"]["total_tokens"] < 52
        braces = {"query": "x", "documents": ["{query} {document}"]}
        assert http.post("/v1/rerank", json=braces).status_code == 200


@pytest.mark.parametrize(
    ("path", "asked"),
    [(MINILM, ("embeddings", {"input": WORDS})),
     (RANKS, ("rerank", {"query": WORDS, "documents": [WORDS]}))],
)  # fmt: skip
def test_who_has_had_texts_read_has_taken_seconds_of_the_model(path, asked):
    route, body = asked
    with serving(path, "reads") as live, httpx2.Client(base_url=live.url, timeout=60) as http:
        assert http.post(f"/v1/{route}", json=body).status_code == 200
        (row,) = http.get("/edgellm/usage").json()["rows"]
    assert (row["n_requests"], row["n_output"]) == (1, 0)
    assert row["work_s"] > 0
