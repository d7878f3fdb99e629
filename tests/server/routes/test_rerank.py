"""One route for what Jina's, Cohere's, vLLM's, TEI's and llama-server's clients send."""

import httpx2
import pytest
from server.server_fakes import live_server, served, served_embedding


@pytest.fixture(scope="module")
def http():
    ranks = served_embedding("judge", pooling="rank")
    with (
        live_server(served(), served_embedding(), ranks) as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        http.engine = ranks.engine
        yield http


ASKED = {"query": "q", "documents": ["bb", "a", "ccc"]}


@pytest.mark.parametrize(
    "path", ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/v2/rerank"]
)
def test_the_best_document_comes_first_on_every_route(http, path):
    told = http.post(path, json=ASKED).json()
    assert [(one["index"], one["relevance_score"]) for one in told["results"]] == [
        (2, 3.0), (0, 2.0), (1, 1.0),
    ]  # fmt: skip
    assert told["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert (told["object"], told["model"]) == ("list", "judge")
    assert told["id"].startswith("rerank-")
    assert "document" not in told["results"][0]


def test_only_the_top_n_are_told_and_documents_where_asked_for(http):
    told = http.post("/v1/rerank", json=ASKED | {"top_n": 1, "return_documents": True}).json()
    assert told["results"] == [{"index": 2, "relevance_score": 3.0, "document": {"text": "ccc"}}]


def test_a_document_may_be_an_object_with_a_text(http):
    told = http.post("/v1/rerank", json={"query": "q", "documents": [{"text": "aa"}, "b"]}).json()
    assert [one["index"] for one in told["results"]] == [0, 1]
    assert http.engine.asked[-1] == ("q", ("aa", "b"), None)


def test_equal_scores_keep_the_order_that_they_came_in(http):
    told = http.post("/v1/rerank", json={"query": "q", "documents": ["a", "b", "c"]}).json()
    assert [one["index"] for one in told["results"]] == [0, 1, 2]


def test_texts_are_answered_as_tei_answers_them(http):
    told = http.post("/rerank", json={"query": "q", "texts": ["a", "bb"], "return_text": True})
    assert told.json() == [
        {"index": 1, "score": 2.0, "text": "bb"}, {"index": 0, "score": 1.0, "text": "a"},
    ]  # fmt: skip


def test_the_bound_on_a_documents_tokens_reaches_the_engine(http):
    http.post("/v2/rerank", json=ASKED | {"max_tokens_per_doc": 9})
    assert http.engine.asked[-1][2] == 9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": None}, "documents"),
        ({"documents": ["a", 1]}, "documents"),
        ({"documents": ["a"] * 2049}, "2048"),
        ({"top_n": 0}, "top_n"),
        ({"max_tokens_per_doc": -1}, "max_tokens_per_doc"),
        ({"model": "tiny"}, "tiny is not a reranking model"),
        ({"model": "mini"}, "mini is not a reranking model"),
    ],
)
def test_what_is_wrong_is_named(http, change, said):
    answer = http.post("/v1/rerank", json=ASKED | change)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_a_ranking_model_gives_no_embeddings(http):
    answer = http.post("/v1/embeddings", json={"input": "x", "model": "judge"})
    assert answer.status_code == 400
    assert "POST /v1/rerank" in answer.json()["error"]["message"]


def test_without_a_ranking_model_nothing_is_ranked():
    with live_server(served()) as live, httpx2.Client(base_url=live.url) as http:
        answer = http.post("/v1/rerank", json=ASKED)
        assert answer.status_code == 404
        assert "no reranking model" in answer.json()["error"]["message"]
