"""Guessed tokens through the real server: the same text, and what is told of them."""

import httpx2
import pytest
from live import live_server
from real_model import SHARED_MODELS, demo_path, needs_shared_models

pytestmark = pytest.mark.model

TARGET, DRAFT = "stories260K-pad-f16.gguf", "stories260K-f16.gguf"
WORD = 300  # any token of the demo that is text
OFF = {"speculative.n_max": 0}


def answer(http, **more):
    asked = {
        "prompt": "Once upon a time",
        "max_tokens": 100,
        "temperature": 0,
        "cache_prompt": False,
    }
    told = http.post("/v1/completions", json=asked | more)
    assert told.status_code == 200, told.text
    return told.json()


def text(told):
    return told["choices"][0]["text"]


@needs_shared_models
def test_a_draft_model_changes_no_text():
    choices = {"speculate": "draft", "draft": str(SHARED_MODELS / DRAFT), "n_outputs_max": 23}
    with (
        live_server(SHARED_MODELS / TARGET, "stories", **choices) as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        plain = answer(http, **OFF)
        assert "draft_n" not in plain["timings"]
        guessed = answer(http)
        assert text(guessed) == text(plain)
        timings, status = guessed["timings"], http.get("/edgellm/status").json()
        n_drafted = timings.get("draft_n", 0)  # whether it pays is measured
        assert 0 <= timings.get("draft_n_accepted", 0) <= n_drafted
        assert status["models"][0]["n_drafted"] == n_drafted


def test_a_text_that_repeats_itself_is_guessed_and_that_is_told():
    """One word for ever. Steps of more rows than a prompt of two had are hoped to be cheap, so that
    somebody tries them: some guesses are made on any machine, and all of them come true."""
    with (
        live_server(demo_path(), "demo", speculate="ngram", n_outputs_max=23) as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        for_ever = {"prompt": "a", "logit_bias": {str(WORD): 100}}
        plain, guessed = answer(http, **for_ever, **OFF), answer(http, **for_ever)
        assert text(guessed) == text(plain)
        assert "draft_n" not in plain["timings"]
        n_drafted = guessed["timings"]["draft_n"]
        assert 0 < guessed["timings"]["draft_n_accepted"] == n_drafted
        told = http.get("/edgellm/status").json()["models"][0]
        assert (told["n_drafted"], told["n_draft_accepted"]) == (n_drafted, n_drafted)
        metrics = http.get("/metrics").text
        for name in ("draft_tokens_total", "draft_tokens_accepted_total"):
            assert f'edgellm_{name}{{model="demo"}} {float(n_drafted)}' in metrics


def test_a_bound_on_guesses_that_can_not_be_is_refused():
    with (
        live_server(demo_path(), "demo") as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        told = http.post("/v1/completions", json={"prompt": "a", "speculative.n_max": -1})
        assert told.status_code == 400
        assert "speculative.n_max" in told.text
