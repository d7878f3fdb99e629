"""Adapters over HTTP: listed, given scales, loaded from one folder only, asked for as models."""

import os

import httpx2
import pytest
from server.server_fakes import live_server, served, words

from edgellm.chat.messages import AdapterSet
from edgellm.runner.adapters import Adapter, AdapterList


@pytest.fixture
def place(tmp_path):
    """A server with one adapter that everybody gets, and a folder for more."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    (folder / "tales.gguf").write_bytes(b"GGUF")
    (tmp_path / "secret.gguf").write_bytes(b"GGUF")
    os.mkfifo(folder / "pipe.gguf")
    (folder / "link.gguf").symlink_to(tmp_path / "secret.gguf")
    model = served()
    model.engine.adapters = AdapterList([Adapter(0, "style", "/models/style.gguf", 0.5)])
    with (
        live_server(model, lora_dir=folder, aliases=("gpt-4o-mini",)) as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        http.engine = model.engine
        yield http


def used(http, path="/v1/completions", **more) -> AdapterSet:
    """What a request with `more` is computed with."""
    http.engine.scripts = [words("Hello there")]
    asked = (
        {"prompt": "x"} if "chat" not in path else {"messages": [{"role": "user", "content": "x"}]}
    )
    answer = http.post(path, json=asked | more)
    assert answer.status_code == 200, answer.text
    http.model = answer.json()["model"]
    return http.engine.asked[-1][1].adapters


def load(http, name, path):
    return http.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": path})


def test_they_are_listed_as_llama_server_lists_them_and_no_path_is_told(place):
    (shown,) = place.get("/lora-adapters").json()
    assert (shown["id"], shown["path"], shown["scale"]) == (0, "style.gguf", 0.5)
    assert (shown["task_name"], shown["prompt_prefix"]) == ("", "")


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_who_says_nothing_gets_everybodys_scales_and_who_says_gets_those(place, path):
    assert used(place, path) == ((0, 0.5),)
    assert used(place, path, lora=[{"id": 0, "scale": 1}]) == ((0, 1.0),)
    assert used(place, path, lora=[{"id": 0, "scale": 0}]) == ()
    assert used(place, path, lora=[]) == ()


def test_scales_are_given_to_everybody_and_an_adapter_not_named_gets_none(place):
    assert load(place, "tales", "tales.gguf").status_code == 200
    assert place.post("/lora-adapters", json=[{"id": 1, "scale": 2}]).json() == {"success": True}
    assert used(place) == ((1, 2.0),)


def test_a_loaded_adapter_is_asked_for_as_a_model_and_answers_by_its_name(place):
    answer = load(place, "tales", "tales.gguf")
    assert answer.text == "Success: LoRA adapter 'tales' added successfully."
    assert used(place) == ((0, 0.5),), "nobody else gets it"
    assert used(place, model="tales") == ((1, 1.0),)
    assert place.model == "tales"
    assert used(place, model="style") == ((0, 0.5),)
    cards = {card["id"]: card.get("parent") for card in place.get("/v1/models").json()["data"]}
    assert cards == {"tiny": None, "style": "tiny", "tales": "tiny"}
    assert place.get("/v1/models/tales").json()["parent"] == "tiny"


def test_an_adapter_takes_no_name_that_was_given_to_the_model(place):
    refused = load(place, "GPT-4o-mini", "tales.gguf")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "lora_name")
    assert used(place, model="gpt-4o-mini") == ((0, 0.5),)


def test_an_unloaded_adapter_is_no_model_any_more(place):
    load(place, "tales", "tales.gguf")
    answer = place.post("/v1/unload_lora_adapter", json={"lora_name": "tales"})
    assert answer.text == "Success: LoRA adapter 'tales' removed successfully."
    assert place.post("/v1/completions", json={"prompt": "x", "model": "tales"}).status_code == 404
    gone = place.post("/v1/unload_lora_adapter", json={"lora_name": "tales"})
    assert (gone.status_code, gone.json()["error"]["param"]) == (404, "lora_name")


@pytest.mark.parametrize(
    "path", ["../secret.gguf", "link.gguf", "/etc/passwd", "a/../../secret.gguf"]
)
def test_no_path_leads_out_of_the_folder(place, path):
    answer = load(place, "x", path)
    assert answer.status_code == 403
    assert "--lora-dir" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "path", "status", "said"),
    [
        ("x", "nothing.gguf", 404, "nothing.gguf"),
        ("x", "a\0b", 400, "no path"),
        ("x", "pipe.gguf", 400, "no file"),
        ("x", ".", 400, "no file"),
        ("tiny", "tales.gguf", 400, "a name of the model tiny"),
        ("style", "tales.gguf", 400, "loaded already"),
        ("a\nb", "tales.gguf", 400, "printed"),
        ("", "tales.gguf", 400, "lora_name"),
        ("x" * 129, "tales.gguf", 400, "lora_name"),
    ],
)
def test_what_is_wrong_with_a_load_is_named(place, name, path, status, said):
    answer = load(place, name, path)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ([{"id": 7, "scale": 1}], "no adapter has the id 7; 0 (style)"),
        ([{"id": -1, "scale": 1}], "lora"),
        ([{"id": 0, "scale": 1e9}], "lora"),
        ([{"id": 0, "scale": 1}] * 65, "lora"),
        ([{"scale": 1}], "lora"),
        ({"id": 0}, "lora"),
    ],
)
def test_what_is_wrong_with_a_requests_list_is_named(place, lora, said):
    answer = place.post("/v1/completions", json={"prompt": "x", "lora": lora})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_without_a_folder_nothing_is_loaded_over_http():
    with live_server(served()) as live, httpx2.Client(base_url=live.url) as http:
        answer = load(http, "tales", "tales.gguf")
        assert answer.status_code == 403
        assert "--lora-dir" in answer.json()["error"]["message"]
        assert http.get("/lora-adapters").json() == []
