"""Guessed tokens through the real server: the same text, and what is told of them."""

import httpx2
import pytest
from live import live_server
from real_model import SHARED_MODELS, needs_shared_models

pytestmark = [pytest.mark.model, needs_shared_models]

TARGET, DRAFT = "stories260K-pad-f16.gguf", "stories260K-f16.gguf"
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


def test_a_draft_model_changes_no_text_and_is_told_of():
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
        if "draft_n" in timings:  # whether it pays is measured
            assert 0 <= timings["draft_n_accepted"] <= timings["draft_n"]
            metrics = http.get("/metrics").text
            assert f'draft_tokens_total{{model="stories"}} {float(timings["draft_n"])}' in metrics
        assert status["models"][0]["n_drafted"] == timings.get("draft_n", 0)


def test_a_bound_on_guesses_that_can_not_be_is_refused():
    with (
        live_server(SHARED_MODELS / TARGET, "stories") as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        told = http.post("/v1/completions", json={"prompt": "a", "speculative.n_max": -1})
        assert told.status_code == 400
        assert "speculative.n_max" in told.text
