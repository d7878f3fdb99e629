"""What a key may not ask, change or see is not there for it, by the clients that people have."""

import anthropic
import httpx2
import ollama
import openai
import pytest
from server.key_runs import HI, get, key, ollama_client, openai_client, serving, signed
from server.server_fakes import served, served_embedding

from edgellm.server.watch.live import Watched
from edgellm.status import Download


@pytest.fixture(scope="module")
def fenced():
    models = served(), served("other"), served_embedding()
    with serving(key("anna", models=("tiny",)), key("boss", admin=True), models=models) as live:
        yield live


def test_what_a_key_may_not_ask_is_not_there_for_openais_client(fenced):
    with openai_client(fenced, "anna") as client:
        assert [card.id for card in client.models.list()] == ["tiny"]
        for name in ("other", "mini"):
            with pytest.raises(openai.NotFoundError, match=f"no model '{name}' is served here"):
                client.chat.completions.create(model=name, messages=HI)
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")
        with pytest.raises(openai.NotFoundError, match="no embedding model is served here"):
            client.embeddings.create(model="", input="x")
        assert client.chat.completions.create(model="", messages=HI).model == "tiny"


def test_who_may_not_ask_a_model_hears_of_its_own_ones_and_where_that_is_said(fenced):
    answers = [
        httpx2.post(f"{fenced.url}{path}", json={"model": name, **body}, headers=signed("anna"))
        for name in ("other", "nowhere")
        for path, body in (
            ("/v1/chat/completions", {"messages": HI}),
            ("/v1/embeddings", {"input": "x"}),
            ("/v1/messages", {"messages": HI, "max_tokens": 9}),
        )
    ]
    answers.append(
        httpx2.post(f"{fenced.url}/v1/rerank", json={"query": "x", "documents": ["y"]},
                    headers=signed("anna"))
    )  # fmt: skip
    for answer in answers:
        words = answer.json()["error"]["message"]
        assert answer.status_code == 404
        assert "served here for the key anna" in words
        assert "`models` in [keys.anna] of the settings says which it may ask" in words
        assert "mini" not in words
        assert "edgellm serve" not in words
        assert "other" not in words.replace("no model 'other'", "")


def test_nor_for_anthropics(fenced):
    with anthropic.Anthropic(
        base_url=fenced.url, api_key="secret-of-anna", max_retries=0
    ) as client:
        assert [card.id for card in client.models.list()] == ["tiny"]
        with pytest.raises(anthropic.NotFoundError) as raised:
            client.messages.create(model="other", max_tokens=9, messages=HI)
    assert raised.value.body["error"]["type"] == "not_found_error"


def test_nor_for_ollamas(fenced):
    with ollama_client(fenced, "anna") as client:
        assert {model.model for model in client.list().models} == {"tiny:latest"}
        assert {model.model for model in client.ps().models} == {"tiny:latest"}
        for call in (client.show, lambda name: client.chat(name, HI)):
            with pytest.raises(ollama.ResponseError, match="model 'other' not found") as raised:
                call("other")
            assert raised.value.status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/edgellm/status", "/edgellm/steps", "/v1/models", "/api/tags", "/edgellm/usage"]
)
def test_no_page_names_what_is_not_there(fenced, path):
    answer = get(fenced, "anna", path)
    assert answer.status_code == 200
    assert "other" not in answer.text
    assert path in ("/edgellm/steps", "/edgellm/usage") or "tiny" in answer.text


def test_a_status_has_the_aliases_that_the_list_has_and_no_download_of_what_is_hidden():
    models, keys = (served("other"), served()), (key("anna", models=("tiny",)), key("bob"))
    watched = Watched(download=lambda: Download(name="secret:8b", done_bytes=1))
    with serving(*keys, models=models, aliases=("gpt",), watched=watched) as live:
        (listed,) = get(live, "anna", "/v1/models").json()["data"]
        told, whole = (get(live, name, "/edgellm/status").json() for name in ("anna", "bob"))
    (shown,) = told["models"]
    assert (shown["aliases"], listed["aliases"]) == (["gpt"], ["gpt"])
    assert told["download"] is None
    assert whole["download"]["name"] == "secret:8b"
    assert [one["aliases"] for one in whole["models"]] == [["gpt"], []]


def test_counters_of_all_models_are_not_for_a_key_that_has_some(fenced):
    answer = get(fenced, "anna", "/metrics")
    assert answer.status_code == 403
    assert "the key anna has some" in answer.json()["error"]["message"]


def test_who_has_all_of_them_sees_all(fenced):
    with openai_client(fenced, "boss") as client:
        assert [card.id for card in client.models.list()] == ["tiny", "other", "mini"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/edgellm/shutdown", {}),
        ("POST", "/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "x"}),
        ("POST", "/v1/unload_lora_adapter", {"lora_name": "x"}),
        ("POST", "/lora-adapters", [{"id": 0, "scale": 1.0}]),
        ("POST", "/api/pull", {"model": "qwen3:8b"}),
        ("DELETE", "/api/delete", {"model": "tiny"}),
    ],
)
def test_only_an_admins_key_changes_what_is_served(fenced, method, path, body):
    answer = httpx2.request(method, f"{fenced.url}{path}", json=body, headers=signed("anna"))
    assert answer.status_code == 403
    assert "the key anna may not do this" in answer.text
    assert "admin = true" in answer.text


def test_an_admins_key_ends_the_server():
    with serving(key("boss", admin=True)) as live:
        answer = httpx2.post(f"{live.url}/edgellm/shutdown", json={}, headers=signed("boss"))
        assert answer.status_code == 202
        live.thread.join(60)
