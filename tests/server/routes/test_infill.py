"""What stands in the middle: /infill as editors ask for it, and OpenAI's suffix."""

import json

import pytest
from server.server_fakes import words

from edgellm.chat.events import Finished, TextDelta

ASKED = {"input_prefix": "a", "input_suffix": "b"}


@pytest.fixture(autouse=True)
def _told(engine):
    engine.scripts = [words("the middle")]
    engine.can_fill = True


def test_the_whole_answer_is_in_llama_servers_form(http, engine):
    told = http.post("/infill", json=ASKED | {"n_predict": 9}).json()
    assert (told["content"], told["stop"], told["stop_type"]) == ("the middle", True, "eos")
    assert (told["tokens_predicted"], told["tokens_evaluated"], told["model"]) == (2, 7, "tiny")
    assert told["timings"]["predicted_n"] == 2
    (question, _), (prompt, params) = engine.asked
    assert (question.prefix, question.suffix, question.max_tokens) == ("a", "b", 9)
    assert (prompt, params.max_tokens) == ((40, 97, 41, 98, 42), 9)


def test_a_stream_tells_text_first_and_counts_last(http):
    lines = http.post("/infill", json=ASKED | {"stream": True}).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert "".join(chunk["content"] for chunk in chunks) == "the middle"
    assert [chunk["stop"] for chunk in chunks] == [False, False, True]
    assert "timings" not in chunks[0]
    assert chunks[-1]["tokens_predicted"] == 2


def test_other_files_and_the_beginning_of_the_middle_reach_the_engine(http, engine):
    extra = [{"filename": "x.py", "text": "import y"}, {"text": "z"}]
    http.post("/infill", json=ASKED | {"input_extra": extra, "prompt": "def"})
    question, _ = engine.asked[0]
    assert question.extra == (("x.py", "import y"), ("tmp", "z"))
    assert question.prompt == "def"


def test_an_editors_plugin_is_answered_as_it_asks(http, engine):
    """llama.vim's request, and the one with which it warms its context up."""
    fields = ["content", "timings/predicted_n", "truncated", "tokens_cached"]
    asked = ASKED | {
        "model": "", "input_extra": [{"text": "z", "time": [1, 2], "filename": "z.py"}],
        "prompt": "  ", "n_predict": 128, "n_indent": 2, "stop": [], "top_k": 40, "top_p": 0.99,
        "stream": False, "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True,
        "t_max_prompt_ms": 500, "t_max_predict_ms": 1000, "response_fields": fields,
    }  # fmt: skip
    told = http.post("/infill", json=asked).json()
    assert told == {
        "content": "the middle", "timings/predicted_n": 2, "truncated": False, "tokens_cached": 9,
    }  # fmt: skip
    assert engine.asked[1][1].sampling.samplers == ("top_k", "top_p")

    warm = {"n_predict": 0, "temperature": 0.0, "samplers": [], "response_fields": [""]}
    assert http.post("/infill", json=asked | warm).json() == {}


def test_a_suffix_makes_a_completion_fill_in(http, engine):
    asked = {"model": "tiny", "prompt": "a", "suffix": "b", "max_tokens": 5}
    told = http.post("/v1/completions", json=asked).json()
    assert told["choices"][0]["text"] == "the middle"
    assert engine.asked[1][0] == (40, 97, 41, 98, 42)


@pytest.mark.parametrize(
    ("reason", "stop_word", "expected"),
    [
        ("stop", "\n\n", ("word", "\n\n")),
        ("stop", None, ("eos", "")),
        ("length", None, ("limit", "")),
    ],
)
def test_what_ended_it_is_told(http, engine, reason, stop_word, expected):
    engine.scripts = [[TextDelta("x"), Finished(reason, 1, 0, 1, stop_word=stop_word)]]
    told = http.post("/infill", json=ASKED).json()
    assert (told["stop_type"], told["stopping_word"]) == expected


@pytest.mark.parametrize(
    ("path", "body"),
    [("/infill", ASKED), ("/v1/completions", {"prompt": "a", "suffix": "b"})],
)
def test_a_model_that_cannot_says_so(http, engine, path, body):
    engine.can_fill = False
    answer = http.post(path, json=body)
    assert answer.status_code == 400
    assert "can't fill in the middle" in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "model"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/infill", {"input_prefix": "a"}, "input_suffix"),
        ("/infill", {"input_suffix": "a"}, "input_prefix"),
        ("/infill", ASKED | {"prompt": 5}, "prompt"),
        ("/infill", ASKED | {"input_extra": [{"filename": "x"}]}, "text"),
        ("/infill", ASKED | {"input_extra": [{"text": "x"}] * 257}, "input_extra"),
        ("/infill", ASKED | {"n": 2}, "n: "),
        ("/v1/completions", {"prompt": [1, 2], "suffix": "b"}, "suffix"),
    ],
)
def test_what_is_wrong_is_named(http, path, body, said):
    answer = http.post(path, json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
