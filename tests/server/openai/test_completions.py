import json

from edgellm.chat.events import (
    Finished,
    PromptRead,
    ReasoningDelta,
    SoFar,
    TextDelta,
    Timings,
    TokenLogprob,
)
from edgellm.server.openai.completions import CompletionFold, CompletionStream
from edgellm.server.openai.wire import Head

HEAD = Head("cmpl-1", 1700000000, "tiny")
ENDING = Finished("length", 2, 0, 1, Timings(0.0, 0.004, 0.0))
TIMINGS = (
    '"timings":{"cache_n":0,"prompt_n":2,"prompt_ms":4.0,"prompt_per_token_ms":2.0,'
    '"prompt_per_second":500.0,"predicted_n":1,"predicted_ms":0.0,'
    '"predicted_per_token_ms":null,"predicted_per_second":null,"queue_ms":0.0,"ttft_ms":4.0,'
    '"itl_p50_ms":null,"itl_p99_ms":null}'
)


def test_a_stream_is_these_bytes():
    stream = CompletionStream(HEAD, echoes=["Once"])
    head = (
        'data: {"id":"cmpl-1","object":"text_completion","created":1700000000,"model":"tiny",'
        '"choices":[{"index":0,'
    )
    assert stream.feed(0, TextDelta(" upon")).decode() == (
        head + '"text":"Once upon","logprobs":null,"finish_reason":null}]}\n\n'
    )
    assert stream.feed(0, ENDING).decode() == (
        head + '"text":"","logprobs":null,"finish_reason":"length"}],' + TIMINGS + "}\n\n"
        "data: [DONE]\n\n"
    )


def test_a_prompts_progress_leaves_its_echo_to_the_text():
    stream = CompletionStream(HEAD, echoes=["Once"])
    told = stream.feed(0, PromptRead(2, 0, 1, 0.5))
    assert b'"text":"",' in told
    assert b'"prompt_progress":{"total":2,"cache":0,"processed":1,"time_ms":500}' in told
    assert stream.feed(0, SoFar(2, 0, 1, Timings(0.0, 0.5, 0.0))) == b""
    told = stream.feed(0, TextDelta(" upon"))
    assert b'"text":"Once upon"' in told
    assert b'"predicted_n":1' in told
    assert b"prompt_progress" not in told


def test_an_answer_without_text_still_echoes_its_prompt():
    assert b'"text":"Once"' in CompletionStream(HEAD, echoes=["Once"]).feed(0, ENDING)
    assert b'"text":"Once"' in CompletionFold(HEAD, echoes=["Once"]).feed(0, ENDING)


def test_parts_of_a_chat_are_not_text():
    for dialect in (CompletionStream(HEAD), CompletionFold(HEAD)):
        assert dialect.feed(0, ReasoningDelta("hm")) == b""


def test_the_body_waits_for_the_last_of_several_answers():
    fold = CompletionFold(HEAD, n=2, echoes=["", ""])
    assert [fold.feed(index, ENDING) for index in (2, 0, 3)] == [b"", b"", b""]
    body = fold.feed(1, ENDING)
    assert b'"prompt_tokens":4,"completion_tokens":4' in body


def test_an_offset_counts_characters_however_their_bytes_fall():
    pieces = [b"a", b"\xf0\x9f", b"\x98", b"\x80b", b"\xc3", b"\xa9", b"c"]
    shown = tuple(TokenLogprob(i, piece, -0.5) for i, piece in enumerate(pieces))
    deltas = [TextDelta("a😀b", 4, shown[:4]), TextDelta("éc", 3, shown[4:])]
    expected = [2, 3, 3, 3, 5, 5, 6]
    stream = CompletionStream(HEAD, echoes=["é!"])
    chunks = [json.loads(stream.feed(0, delta).removeprefix(b"data: ")) for delta in deltas]
    told = [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks]
    assert [*told[0], *told[1]] == expected
    fold = CompletionFold(HEAD, echoes=["é!"])
    whole = [fold.feed(0, event) for event in (*deltas, ENDING)][-1]
    assert json.loads(whole)["choices"][0]["logprobs"]["text_offset"] == expected


def test_the_odds_of_the_token_that_was_drawn_stand_among_the_best_though_it_is_none_of_them():
    best = ((7, b"a", -0.1), (8, b"b", -2.5))
    drawn = (TokenLogprob(7, b"a", -0.1, best), TokenLogprob(9, b"c", -9.0, best))
    fold = CompletionFold(HEAD)
    fold.feed(0, TextDelta("ac", 2, (*drawn, TokenLogprob(9, b"c", -9.0))))
    told = json.loads(fold.feed(0, ENDING))["choices"][0]["logprobs"]["top_logprobs"]
    assert told == [{"a": -0.1, "b": -2.5}, {"a": -0.1, "b": -2.5, "c": -9.0}, {"c": -9.0}]
