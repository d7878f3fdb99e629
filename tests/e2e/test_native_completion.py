"""llama-server's own route for text, with the demo model behind it."""

import httpx2
import pytest
from live import live_server

pytestmark = pytest.mark.model

GREEDY = {"temperature": 0, "seed": 1}


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
