"""Embeddings in OpenAI's form and in llama-server's."""

import httpx2
import pytest
from server.server_fakes import live_server, served_embedding

VECTOR = [0.5, 0.5, -0.5, 0.5]


@pytest.fixture(scope="module")
def both():
    """A server whose model pools, and one whose model doesn't."""
    pooled, unpooled = served_embedding(), served_embedding("raw", pooling="none")
    with (
        live_server(pooled) as one,
        live_server(unpooled) as other,
        httpx2.Client(base_url=one.url) as http,
        httpx2.Client(base_url=other.url) as raw,
    ):
        http.engine = pooled.engine
        yield http, raw


@pytest.mark.parametrize("path", ["/embedding", "/embeddings"])
def test_content_is_answered_as_llama_server_answers_it(both, path):
    http, _ = both
    told = http.post(path, json={"content": ["a", "b"]}).json()
    assert told == [{"index": 0, "embedding": [VECTOR]}, {"index": 1, "embedding": [VECTOR]}]


def test_without_pooling_the_native_form_tells_a_vector_for_each_token(both):
    _, raw = both
    told = raw.post("/embedding", json={"content": "ab"}).json()
    assert told == [{"index": 0, "embedding": [VECTOR, VECTOR]}]


def test_without_pooling_openais_form_is_refused_with_what_to_do(both):
    _, raw = both
    answer = raw.post("/v1/embeddings", json={"input": "ab"})
    assert answer.status_code == 400
    assert "--pooling mean" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("given", "norm"), [({}, 2), ({"embd_normalize": -1}, -1)])
def test_the_norm_reaches_the_engine(both, given, norm):
    http, _ = both
    http.post("/embedding", json={"content": "a"} | given)
    assert http.engine.asked[-1] == (("a",), norm)


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({}, "input", "is missing"),
        ({"input": ""}, "input", "empty"),
        ({"content": [""]}, "content", "empty"),
        ({"input": []}, "input", "empty"),
        ({"input": ["a"] * 2049}, "input", "2049 items are more than 2048"),
        ({"input": ["a", 3]}, "input", "mixes"),
        ({"input": "a", "dimensions": 5}, "dimensions", "5 are more than this model's 4"),
        ({"input": "a", "dimensions": 0}, "dimensions", "dimensions: 0"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "int8"),
        ({"input": "a", "embd_normalize": -2}, "embd_normalize", "embd_normalize: -2"),
    ],
)
def test_what_is_wrong_is_named(both, body, field, said):
    http, _ = both
    answer = http.post("/embeddings", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert said in answer.json()["error"]["message"]
