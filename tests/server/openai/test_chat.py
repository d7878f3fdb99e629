"""The exact bytes of chat answers: one changed byte is a diff in review."""

import json
from dataclasses import replace

import pytest

from edgellm.chat.events import Finished, PromptRead, SoFar, TextDelta, Timings, TokenLogprob
from edgellm.server.openai.chat import ChatFold, ChatStream
from edgellm.server.openai.wire import Head

HEAD = Head("chatcmpl-1", 1700000000, "tiny")
ENDING = Finished("stop", 7, 3, 2, Timings(0.001, 0.02, 0.01, 0.004, 0.006))
EVENTS = (TextDelta("Grüß"), TextDelta(' "Gott"\n'), ENDING)

TIMINGS = (
    '"timings":{"cache_n":3,"prompt_n":4,"prompt_ms":20.0,"prompt_per_token_ms":5.0,'
    '"prompt_per_second":200.0,"predicted_n":2,"predicted_ms":10.0,'
    '"predicted_per_token_ms":10.0,"predicted_per_second":100.0,"queue_ms":1.0,"ttft_ms":21.0,'
    '"itl_p50_ms":4.0,"itl_p99_ms":6.0}'
)
USAGE = (
    '"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9,'
    '"prompt_tokens_details":{"cached_tokens":3},'
    '"completion_tokens_details":{"reasoning_tokens":0}}'
)


def chunk(choice, rest=""):
    return (
        'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,'
        f'"model":"tiny","choices":[{choice}]{rest}}}\n\n'
    )


def choice(delta, reason="null"):
    return f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}'


def fed(dialect, events=EVENTS):
    return [dialect.feed(0, event).decode() for event in events]


def test_a_stream_is_these_bytes():
    assert fed(ChatStream(HEAD)) == [
        chunk(choice('{"role":"assistant","content":""}')) + chunk(choice('{"content":"Grüß"}')),
        chunk(choice('{"content":" \\"Gott\\"\\n"}')),
        chunk(choice("{}", '"stop"'), "," + TIMINGS) + "data: [DONE]\n\n",
    ]


def test_a_prompts_progress_and_the_timings_so_far_are_llama_servers():
    read = [PromptRead(7, 3, 3, 0.0), PromptRead(7, 3, 7, 0.0204)]
    so_far = [SoFar(7, 3, n, Timings(0.001, 0.02, 0.01 * (n - 1))) for n in (1, 2)]
    hello, god, ending = EVENTS
    told = fed(ChatStream(HEAD), [*read, so_far[0], hello, so_far[1], god, ending])

    def progress(processed, time_ms):
        values = f'"total":7,"cache":3,"processed":{processed},"time_ms":{time_ms}'
        return f',"prompt_progress":{{{values}}}'

    assert told[:3] == [
        chunk(choice('{"role":"assistant","content":""}')) + chunk(choice("{}"), progress(3, 0)),
        chunk(choice("{}"), progress(7, 20)),
        "",
    ]
    chunks = [json.loads(one.removeprefix("data: ")) for one in (told[3], told[5])]
    assert [one["timings"]["predicted_n"] for one in chunks] == [1, 2]
    assert chunks[1]["timings"] == json.loads("{" + TIMINGS + "}")["timings"] | {
        "itl_p50_ms": None, "itl_p99_ms": None,
    }  # fmt: skip
    assert told[6].count('"timings"') == 1
    assert TIMINGS in told[6]


def test_each_of_several_answers_has_its_own_timings_so_far():
    stream = ChatStream(HEAD, n=2)
    for index in (0, 1):
        stream.feed(index, SoFar(7, 3, index + 5, Timings(0.0, 0.1, 0.1)))
    assert b'"predicted_n":5' in stream.feed(0, TextDelta("a"))
    assert b'"predicted_n":6' in stream.feed(1, TextDelta("a"))


def test_joules_are_told_beside_the_timings_with_the_last_chunk():
    known = replace(ENDING, energy_j=12.5)
    *_, last = fed(ChatStream(HEAD), [known])
    [whole] = fed(ChatFold(HEAD), [known])

    for text in (last, whole):
        assert text.count('"energy_j":12.5,"energy_j_per_token":6.25}') == 1


def test_of_several_answers_one_without_joules_leaves_them_all_without():
    stream = ChatStream(HEAD, n=2)
    stream.feed(0, replace(ENDING, energy_j=12.5))
    assert b"energy" not in stream.feed(1, ENDING)


def test_a_stream_with_usage_is_these_bytes():
    *_, last = fed(ChatStream(HEAD, include_usage=True))
    assert last == (
        chunk(choice("{}", '"stop"')) + chunk("", f",{USAGE},{TIMINGS}") + "data: [DONE]\n\n"
    )


def test_usage_tells_how_many_tokens_were_thoughts():
    ending = replace(ENDING, n_reasoning=2)
    told = ChatFold(HEAD).feed(0, ending)
    assert json.loads(told)["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_a_whole_answer_is_these_bytes():
    assert fed(ChatFold(HEAD)) == [
        "",
        "",
        '{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"tiny",'
        '"choices":[{"index":0,"message":{"role":"assistant","content":"Grüß \\"Gott\\"\\n",'
        '"refusal":null},"logprobs":null,"finish_reason":"stop"}],' + USAGE + "," + TIMINGS + "}",
    ]


def test_an_empty_answer_still_has_a_role_and_a_content():
    [stream] = fed(ChatStream(HEAD), [ENDING])
    assert stream.startswith(chunk(choice('{"role":"assistant","content":""}')))
    [whole] = fed(ChatFold(HEAD), [ENDING])
    assert json.loads(whole)["choices"][0]["message"]["content"] == ""


def test_a_delta_that_shows_nothing_sends_nothing():
    assert ChatStream(HEAD).feed(0, TextDelta("", 1)) == b""


def test_logprobs_do_not_leak_into_the_next_chunk():
    stream = ChatStream(HEAD)
    first = stream.feed(0, TextDelta("a", 1, (TokenLogprob(1, b"a", -0.5),)))
    introduction, shown, _ = first.decode().split("\n\n")
    assert '"logprobs":null' in introduction
    assert '"logprobs":{"content":[{"token":"a","logprob":-0.5' in shown
    assert b'"logprobs":null' in stream.feed(0, TextDelta("b"))


@pytest.mark.parametrize(
    ("reason", "on_the_wire"),
    [("stop", "stop"), ("length", "length"), ("tool_calls", "tool_calls"), ("cancelled", "stop")],
)
def test_the_reason_is_told_in_openais_words(reason, on_the_wire):
    [last] = fed(ChatStream(HEAD), [Finished(reason, 1, 0, 0)])
    assert f'"finish_reason":"{on_the_wire}"' in last


def test_streamed_and_whole_say_the_same():
    texts = [
        json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "")
        for data in fed(ChatStream(HEAD))
        for line in data.split("\n\n")
        if line and "[DONE]" not in line
    ]
    *_, whole = fed(ChatFold(HEAD))
    assert "".join(texts) == json.loads(whole)["choices"][0]["message"]["content"]
