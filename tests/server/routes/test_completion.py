"""llama-server's own route for text, as its clients ask it."""

import json
import math

import pytest
from server.server_fakes import words

from edgellm.chat.events import Finished, PromptRead, SoFar, TextDelta, Timings, TokenLogprob

ODDS = (TokenLogprob(40, b" a", math.log(0.5), ((40, b" a", math.log(0.5)), (41, b" b", -2.0))),)


@pytest.fixture(params=["/completion", "/completions"])
def path(request):
    return request.param


def chunks(answer):
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]


def test_the_whole_answer_is_in_llama_servers_form(http, engine, path):
    engine.scripts = [words("Hello\n there")]
    told = http.post(path, json={"prompt": "Hi", "n_predict": 9, "stop": ["x"]}).json()
    assert (told["content"], told["stop"], told["index"]) == ("Hello\n there", True, 0)
    assert (told["stop_type"], told["stopping_word"]) == ("eos", "")
    assert (told["tokens_predicted"], told["tokens_evaluated"], told["model"]) == (2, 7, "tiny")
    assert (told["tokens_cached"], told["truncated"], told["has_new_line"]) == (9, False, True)
    assert (told["tokens"], told["id_slot"]) == ([], -1)
    assert told["timings"]["predicted_n"] == 2
    (prompt, params) = engine.asked[0]
    assert (prompt, params.max_tokens, params.stop) == ("Hi", 9, ("x",))


def test_a_stream_tells_text_first_and_counts_last(http, path):
    told = chunks(http.post(path, json={"prompt": "Hi", "stream": True}))
    assert [(one["content"], one["stop"]) for one in told] == [
        ("Hello", False),
        (" there", False),
        ("", True),
    ]
    assert "timings" not in told[0]
    assert told[-1]["tokens_predicted"] == 2
    assert told[-1]["generation_settings"]["stream"] is True


NOTES = [PromptRead(7, 3, 5, 0.25), SoFar(7, 3, 1, Timings(0.0, 0.5, 0.0))]


def test_a_stream_tells_of_its_prompt_and_its_pace_where_it_is_asked(http, engine):
    engine.scripts = [[*NOTES, *words("Hello there")]]
    asked = {"prompt": "Hi", "return_progress": True, "timings_per_token": True}
    first, second, *_ = chunks(http.post("/completion", json=asked | {"stream": True}))
    assert (first["content"], first["stop"], first["tokens"]) == ("", False, [])
    assert (first["tokens_predicted"], first["tokens_evaluated"]) == (0, 7)
    assert first["prompt_progress"] == {"total": 7, "cache": 3, "processed": 5, "time_ms": 250}
    assert "prompt_progress" not in second
    assert (second["content"], second["tokens_predicted"]) == ("Hello", 1)
    assert (second["timings"]["prompt_n"], second["timings"]["prompt_ms"]) == (4, 500.0)
    (_, params) = engine.asked[0]
    assert (params.tells_progress, params.tells_timings) == (True, True)


@pytest.mark.parametrize("route", ["/completion", "/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("name", ["return_progress", "timings_per_token"])
def test_only_a_stream_that_asks_for_it_is_told_more(http, engine, route, name):
    text = {"prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}]}
    for more in ({name: True}, {"stream": True}, {name: False, "stream": True}):
        assert http.post(route, json=text | more).status_code == 200
    assert not any(one.tells_progress or one.tells_timings for _, one in engine.asked)
    http.post(route, json=text | {name: True, "stream": True})
    (_, params) = engine.asked[-1]
    assert (params.tells_progress, params.tells_timings) == (
        name == "return_progress", name == "timings_per_token"
    )  # fmt: skip


@pytest.mark.parametrize("route", ["/v1/messages", "/v1/responses", "/api/chat"])
def test_where_there_are_no_words_for_it_the_engine_is_not_asked_for_more(http, engine, route):
    said = {"messages": [{"role": "user", "content": "Hi"}]}
    body = {"input": "Hi"} if route == "/v1/responses" else said | {"max_tokens": 9}
    asked = {"stream": True, "return_progress": True, "timings_per_token": True}
    assert http.post(route, json={"model": "tiny"} | body | asked).status_code == 200
    (_, params) = engine.asked[0]
    assert (params.tells_progress, params.tells_timings) == (False, False)


def test_the_settings_are_those_that_were_heeded(http):
    asked = {"prompt": "x", "temperature": 0, "top_k": 5, "seed": 7, "logit_bias": [[3, False]]}
    told = http.post("/completion", json=asked | {"n_probs": 2}).json()["generation_settings"]
    assert (told["temperature"], told["top_k"], told["seed"], told["n_probs"]) == (0, 5, 7, 2)
    assert (told["n_predict"], told["max_tokens"], told["stop"]) == (-1, -1, [])
    assert (told["top_p"], told["n_ctx"], told["stream"], told["lora"]) == (0.95, 512, False, [])
    assert told["logit_bias"] == [{"token": 3, "bias": None}]
    assert told["samplers"][0] == "penalties"


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("Hi", ["Hi"]),
        ([72, 105], [(72, 105)]),
        ([72, "i"], [(72, 105)]),
        (["H", 105], [(1, 72, 105)]),
        ({"prompt_string": "Hi"}, ["Hi"]),
        (["Hi", "Ho"], ["Hi", "Ho"]),
        (["Hi"], ["Hi"]),
        (["Hi", [72, "o"], [1, 2], {"prompt_string": "Hu"}], ["Hi", (72, 111), (1, 2), "Hu"]),
    ],
)
def test_a_prompt_has_many_shapes(http, engine, prompt, asked):
    told = http.post("/completion", json={"prompt": prompt}).json()
    assert [one[0] for one in engine.asked] == asked
    if len(asked) == 1:
        assert told["content"] == "Hello there"
    else:
        assert [one["index"] for one in told] == list(range(len(asked)))


def test_texts_mixed_with_tokens_are_bounded_over_all_prompts(http, engine):
    for prompt in (["a"] * 257 + [1], [["a"] * 129 + [1], ["b"] * 128 + [2]]):
        refused = http.post("/completion", json={"prompt": prompt})
        assert refused.status_code == 400
        assert "257 texts" in refused.json()["error"]["message"]
    assert engine.asked == []
    assert http.post("/completion", json={"prompt": ["a"] * 256 + [1]}).status_code == 200


def test_several_answers_are_a_list_in_their_order(http, engine):
    engine.scripts = [words("a b c"), words("d"), words("e f"), words("g")]
    told = http.post("/completion", json={"prompt": ["x", "y"], "n_cmpl": 2}).json()
    assert [one["content"] for one in told] == ["a b c", "d", "e f", "g"]
    assert [one["timings"]["predicted_n"] for one in told] == [3, 1, 2, 1]
    stream = chunks(http.post("/completion", json={"prompt": ["x", "y"], "stream": True}))
    assert sorted(one["index"] for one in stream if one["stop"]) == [0, 1]


@pytest.mark.parametrize("streams", [False, True])
def test_tokens_and_their_odds_are_told_to_who_asks(http, engine, streams):
    engine.scripts = [[TextDelta(" a", 1, ODDS), Finished("stop", 1, 0, 1)]]
    asked = {"prompt": "x", "stream": streams, "return_tokens": True, "n_probs": 2}

    def first(**more):
        answer = http.post("/completion", json=asked | more)
        return chunks(answer)[0] if streams else answer.json()

    told = first()
    assert told["tokens"] == [40]
    (token,) = told["completion_probabilities"]
    assert (token["id"], token["token"], token["bytes"]) == (40, " a", [32, 97])
    assert token["logprob"] == pytest.approx(math.log(0.5))
    assert [one["id"] for one in token["top_logprobs"]] == [40, 41]
    assert "prob" not in token
    (token,) = first(post_sampling_probs=True)["completion_probabilities"]
    assert token["prob"] == pytest.approx(0.5)
    assert token["top_probs"][0]["prob"] == pytest.approx(0.5)
    assert "logprob" not in token
    told = first(n_probs=0)
    assert told["tokens"] == [40]
    assert "completion_probabilities" not in told
    assert [one[1].logprobs for one in engine.asked] == [2, 2, 0]
    assert "tokens" in first(return_tokens=False)


def test_an_answer_that_the_contexts_end_has_cut_says_so(http, engine):
    engine.scripts = [[TextDelta("x"), Finished("length", 500, 0, 12)]]
    told = http.post("/completion", json={"prompt": "x"}).json()
    assert (told["truncated"], told["stop_type"]) == (True, "limit")
    engine.scripts = [[TextDelta("x"), Finished("length", 5, 0, 12)]]
    assert http.post("/completion", json={"prompt": "x"}).json()["truncated"] is False


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["x", []]}, "prompt"),
        ({"prompt": [1, ["x"]]}, "prompt"),
        ({"prompt": ["x"] * 65}, "prompt"),
        ({"prompt": {"prompt_string": "x", "multimodal_data": ["AAAA"]}}, "prompt.multimodal_data"),
        ({"n_indent": -1}, "n_indent"),
        ({"n_indent": "4"}, "n_indent"),
        ({"response_fields": ["x" * 129]}, "response_fields[0]"),
        ({"t_max_predict_ms": 5}, "t_max_predict_ms"),
        ({"n_cmpl": 9}, "n_cmpl"),
    ],
)
def test_what_is_not_served_is_refused_by_name(http, engine, more, param):
    answer = http.post("/completion", json={"prompt": "x"} | more)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert engine.asked == []


def test_an_answer_has_the_fields_that_were_asked_for_by_their_paths(http, engine):
    engine.scripts = [words("a b")]
    fields = ["content", "timings/prompt_n", "timings/none", "content/x", "nothing", ""]
    asked = {"prompt": "x", "response_fields": fields}
    told = http.post("/completion", json=asked).json()
    assert told == {"content": "a b", "timings/prompt_n": 4}
    assert http.post("/completion", json=asked | {"response_fields": [""]}).json() == {}
    several = http.post("/completion", json=asked | {"prompt": ["x", "y"]}).json()
    assert several == [told, told]

    lines = http.post("/completion", json=asked | {"stream": True}).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert chunks[0]["content"] == "a"
    assert chunks[-1] == {"content": "", "timings/prompt_n": 4}


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_nothing_is_to_follow_is_read_and_nothing_is_told(http, engine, stream):
    took = Timings(0.0, 0.1, 0.002)
    engine.scripts = [[TextDelta("x"), Finished("stop", 5, 0, 1, took, stop_word="x")]]
    asked = {"prompt": "warm", "n_predict": 0, "stream": stream, "stop": ["x"]}
    told = json.loads(http.post("/completion", json=asked).text.removeprefix("data: "))
    (_, params) = engine.asked[0]
    assert params.max_tokens == 1, "there is no step without a token"
    assert (told["content"], told["stop_type"], told["stopping_word"]) == ("", "limit", "")
    assert (told["tokens_predicted"], told["tokens_evaluated"]) == (0, 5)
    assert (told["tokens_cached"], told["timings"]["predicted_n"]) == (5, 0)
    assert told["timings"]["predicted_per_second"] is None
    assert told["generation_settings"]["n_predict"] == 0


@pytest.mark.parametrize("path", ["/completion", "/infill"])
def test_how_far_lines_are_indented_reaches_the_engine(http, engine, path):
    engine.can_fill = True
    for n_indent in (4, 0, None):
        asked = {"prompt": "x", "input_prefix": "", "input_suffix": "", "n_indent": n_indent}
        assert http.post(path, json=asked).status_code == 200
        assert engine.asked[-1][1].n_indent == (n_indent or 0)


def test_fields_that_change_nothing_are_passed_over(http):
    more = {"id_slot": 0, "n_keep": -1, "cache_prompt": True, "timings_per_token": True,
            "return_progress": True, "n_indent": 0, "response_fields": []}  # fmt: skip
    assert http.post("/completion", json={"prompt": "x"} | more).status_code == 200


def test_with_v1_completions_are_openais(http):
    assert http.post("/v1/completions", json={"prompt": "x"}).json()["object"] == "text_completion"
    assert http.post("/v1/completion", json={"prompt": "x"}).status_code == 404


@pytest.mark.parametrize("before", ["", "/v1"])
def test_how_many_tokens_a_chat_is(http, before):
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    told = http.post(f"{before}/chat/completions/input_tokens", json=asked).json()
    n_tokens = 1 + len("user: Hi\nassistant:")
    assert told == {"object": "response.input_tokens", "input_tokens": n_tokens}


def test_what_sillytavern_sends_by_its_default_preset_is_taken(http, engine):
    asked = {
        "prompt": "Hi", "max_new_tokens": 9, "max_tokens": 9, "n_predict": 9, "num_ctx": 4096,
        "temperature": 1, "top_p": 0.95, "typical_p": 1, "typical": 1, "min_p": 0.01, "top_k": 0,
        "repetition_penalty": 1.1, "repeat_penalty": 1.1, "rep_pen": 1.1, "repeat_last_n": 0,
        "frequency_penalty": 0, "presence_penalty": 0, "min_tokens": 0, "add_bos_token": True,
        "skip_special_tokens": True, "ban_eos_token": False, "ignore_eos": False, "n": 1,
        "dry_sequence_breakers": ["\n", ":", '"', "*"], "dry_multiplier": 0, "dry_base": 1.75,
        "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "tfs_z", "typical_p",
                     "xtc", "top_p", "min_p", "temperature"],
        "stopping_strings": ["\nYou:"], "stop": ["\nYou:"], "truncation_length": 4096, "tfs": 1,
        "mirostat_mode": 0, "mirostat": 0, "mirostat_tau": 5, "mirostat_eta": 0.1, "nsigma": 0,
        "top_n_sigma": 0, "xtc_threshold": 0.1, "xtc_probability": 0, "min_keep": 0, "grammar": "",
        "adaptive_target": -0.01, "adaptive_decay": 0.9, "custom_token_bans": "", "logit_bias": [],
        "banned_strings": [], "guidance_scale": 1, "negative_prompt": "", "cache_prompt": True,
        "api_type": "llamacpp", "api_server": "http://127.0.0.1:8484", "stream": True,
    }  # fmt: skip
    assert http.post("/completion", json=asked).status_code == 200
    sampling = engine.asked[0][1].sampling
    assert (sampling.repeat_penalty, sampling.repeat_last_n) == (1.1, 0)
    assert sampling.samplers == (
        "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "xtc", "top_p", "min_p", "temperature"
    )  # fmt: skip
