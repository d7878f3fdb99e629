"""Text to tokens and back, and a chat as its prompt, as llama-server's clients ask for them."""

import httpx2
import pytest
from server.server_fakes import live_server


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"content": "hi"}, [104, 105]),
        ({"content": "hi", "add_special": True}, [1, 104, 105]),
        ({"content": "hi", "model": "mini"}, [104, 105]),
        ({"content": "<s>"}, [1]),
        ({"content": "<s>", "parse_special": False}, [60, 115, 62]),
        ({"content": ""}, []),
        ({"content": ["a", 5, "b"], "add_special": True}, [1, 97, 5, 98]),
        ({"content": "é", "with_pieces": True}, [
            {"id": 195, "piece": [195]}, {"id": 169, "piece": [169]}
        ]),
        ({"content": "<s>a", "with_pieces": True}, [
            {"id": 1, "piece": "<s>"}, {"id": 97, "piece": "a"}
        ]),
    ],
)  # fmt: skip
def test_text_becomes_tokens(http, body, tokens):
    assert http.post("/tokenize", json=body).json() == {"tokens": tokens}


def test_tokens_become_text_and_special_ones_are_spelled_out(http):
    told = http.post("/detokenize", json={"tokens": [1, 104, 105, 195]}).json()
    assert told == {"content": "<s>hi\N{REPLACEMENT CHARACTER}"}


def test_a_chat_becomes_the_prompt_it_would_be(http, engine):
    chat = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
    assert http.post("/apply-template", json=chat).json() == {"prompt": "user: Hi\nassistant:"}
    assert engine.asked == [], "nothing is computed"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": 5}, "content"),
        ("/tokenize", {"content": ["a", -1]}, "content[...]"),
        ("/detokenize", {"tokens": [999]}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[...]"),
        ("/apply-template", {"messages": []}, "messages"),
    ],
)
def test_what_is_wrong_is_named(http, path, body, param):
    answer = http.post(path, json=body)
    assert answer.status_code == 400
    assert param.removesuffix("[...]") in answer.json()["error"]["message"]


def test_a_server_without_a_model_says_so():
    with live_server() as live, httpx2.Client(base_url=live.url) as http:
        answer = http.post("/tokenize", json={"content": "hi"})
        assert answer.status_code == 503
        assert "no model is served" in answer.json()["error"]["message"]
