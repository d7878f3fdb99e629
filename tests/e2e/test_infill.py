"""Filling in the middle with a real model: the story model, told that it has tokens for it."""

import httpx2
import openai
import pytest
from gguf_files import with_keys
from live import live_server
from real_model import SHARED_MODELS, needs_shared_models

pytestmark = [pytest.mark.model, needs_shared_models]

# Any three of its own will do: what counts is which tokens are asked for, and in what order.
MARKS = {"fim_pre": 300, "fim_suf": 301, "fim_mid": 302}
ASKED = {"input_prefix": "Once upon a time", "input_suffix": " and they were happy."}
# llama-server's, of the same llama.cpp, with that model at temperature 0: tokens of the prompt, and
# what it says, by how the middle begins.
TOLD = {
    "": (15, "ver many things like to play with"),
    " there": (17, " made a big box with a big b"),
}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "fills.gguf"
    keys = {f"tokenizer.ggml.{name}_token_id": token for name, token in MARKS.items()}
    path.write_bytes(with_keys((SHARED_MODELS / "stories260K-f32.gguf").read_bytes(), keys))
    with live_server(path, "fills") as live:
        yield live


@pytest.fixture
def http(live):
    with httpx2.Client(base_url=live.url, timeout=30) as http:
        yield http


def asked(**more):
    return ASKED | {"n_predict": 12, "temperature": 0} | more


@pytest.mark.parametrize("beginning", TOLD)
def test_the_middle_is_what_llama_server_says(http, beginning):
    told = http.post("/infill", json=asked(prompt=beginning)).json()
    assert (told["tokens_evaluated"], told["content"]) == TOLD[beginning]


def test_a_file_longer_than_the_context_is_cut_and_not_refused(http):
    long = {"input_prefix": "word " * 3000, "input_suffix": " end" * 3000}
    told = http.post("/infill", json=asked(**long)).json()
    assert told["tokens_predicted"] == 12
    assert told["tokens_evaluated"] <= 512 - 12


def test_the_openai_client_asks_by_suffix(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.completions.create(
            model="fills", prompt=ASKED["input_prefix"], suffix=ASKED["input_suffix"],
            max_tokens=12, temperature=0,
        )  # fmt: skip
        assert answer.choices[0].text == TOLD[""][1]


def test_a_model_without_the_tokens_says_so_and_goes_on():
    path = SHARED_MODELS / "stories260K-f32.gguf"
    with live_server(path, "tells") as live, httpx2.Client(base_url=live.url) as http:
        for route, body in (
            ("/infill", asked()),
            ("/v1/completions", {"prompt": "a", "suffix": "b", "max_tokens": 4}),
        ):
            answer = http.post(route, json=body)
            assert answer.status_code == 400
            assert "can't fill in the middle" in answer.json()["error"]["message"]
        assert http.post("/v1/completions", json={"prompt": "a"}).status_code == 200
