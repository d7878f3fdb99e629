"""llama-server's own route for text, and chats that have begun, with the demo model behind."""

import json

import httpx2
import pytest
from live import live_server

pytestmark = pytest.mark.model

GREEDY = {"temperature": 0, "seed": 1}


BEGUN = [
    {"role": "user", "content": "Tell me a story"},
    {"role": "assistant", "content": "Once upon a time, there was a"},
]


def test_a_chat_that_has_begun_goes_on_as_its_prompt_does():
    with live_server() as live, httpx2.Client(base_url=live.url, timeout=60) as http:
        chat = {"messages": BEGUN, "max_tokens": 8}
        said = http.post("/v1/chat/completions", json=GREEDY | chat).json()
        prompt = http.post("/apply-template", json=chat).json()["prompt"]
        native = http.post("/completion", json=GREEDY | {"prompt": prompt, "n_predict": 8}).json()
        options = GREEDY | {"num_predict": 8}
        lines = {"model": "demo", "messages": BEGUN, "stream": False, "options": options}
        ollama = http.post("/api/chat", json=lines).json()
        message = {"model": "demo", "messages": BEGUN, "max_tokens": 8}
        anthropic = http.post("/v1/messages", json=GREEDY | message).json()
        counted = http.post("/v1/chat/completions/input_tokens", json=chat).json()
    assert prompt.endswith("assistant\nOnce upon a time, there was a")
    text = native["content"]
    assert text.startswith(" ")
    assert said["choices"][0]["message"]["content"] == text
    assert ollama["message"]["content"] == text
    assert anthropic["content"][0]["text"] == text
    assert counted["input_tokens"] == said["usage"]["prompt_tokens"]


def test_it_says_what_openais_route_says_and_which_tokens_that_were():
    with live_server() as live, httpx2.Client(base_url=live.url, timeout=60) as http:
        asked = {"prompt": "Once upon a time", "n_predict": 8, "return_tokens": True, "n_probs": 1}
        native = http.post("/completion", json=GREEDY | asked).json()
        openai = {"prompt": "Once upon a time", "max_tokens": 8}
        text = http.post("/v1/completions", json=GREEDY | openai).json()["choices"][0]["text"]
        told = http.post("/detokenize", json={"tokens": native["tokens"]}).json()
    assert (native["content"], native["stop_type"]) == (text, "limit")
    assert len(native["tokens"]) == native["tokens_predicted"] == 8
    assert told["content"] == text
    assert len(native["completion_probabilities"]) == 8


@pytest.mark.parametrize("route", ["/completion", "/v1/completions", "/v1/chat/completions"])
def test_a_stream_tells_how_far_its_prompt_is_and_its_pace_as_the_end_tells_it(route):
    text = "Once upon a time there was a fox. " * 20
    asked = GREEDY | {"prompt": text, "messages": [{"role": "user", "content": text}]}
    notes = {"stream": True, "return_progress": True, "timings_per_token": True}
    with live_server() as live, httpx2.Client(base_url=live.url, timeout=60) as http:
        told = http.post(route, json=asked | notes | {"max_tokens": 4}).text
    lines = [line.removeprefix("data: ") for line in told.split("\n\n") if "data: {" in line]
    chunks = [json.loads(line) for line in lines]
    read = [one["prompt_progress"] for one in chunks if "prompt_progress" in one]
    first, last = read[0], read[-1]
    assert (first["processed"], last["processed"]) == (first["cache"], last["total"])
    *so_far, end = [one["timings"] for one in chunks if "timings" in one]
    assert [one["predicted_n"] for one in so_far][-1] == end["predicted_n"] == 4
    assert {one["prompt_n"] for one in so_far} == {end["prompt_n"]}
    assert end["prompt_n"] == last["total"] - last["cache"]
    assert so_far[-1]["prompt_ms"] == end["prompt_ms"] == pytest.approx(last["time_ms"], abs=1)
