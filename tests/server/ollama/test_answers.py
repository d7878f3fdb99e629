"""The exact bytes of answers in Ollama's dialect: one changed byte is a diff in review."""

import itertools
import json

import pytest

from edgellm.chat.events import (
    Finished,
    ReasoningDelta,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCallDelta,
)
from edgellm.errors import BadRequest, DoesNotFit
from edgellm.server.ollama.answers import Lines, nothing_asked
from edgellm.server.ollama.wire import MANNER, Head, stamp

BEGUN_NS = 1_700_000_000_000_000_007  # 2023-11-14T22:13:20Z and 7 ns
HEAD = Head("tiny", BEGUN_NS)
ENDING = Finished("stop", 7, 3, 2, Timings(0.001, 0.02, 0.01, 0.004, 0.006))
EVENTS = (TextDelta("Grüß"), TextDelta(' "Gott"\n'), ENDING)
SPENT = (
    '"total_duration":3000000000,"load_duration":0,"prompt_eval_count":7,'
    '"prompt_eval_duration":20000000,"eval_count":2,"eval_duration":10000000'
)


def lines(*, is_chat=True, streams=True):
    """A second passes with each look at the clock."""
    clock = itertools.count(BEGUN_NS + 1_000_000_000, 1_000_000_000)
    return Lines(HEAD, lambda: next(clock), is_chat=is_chat, streams=streams)


def fed(dialect, events=EVENTS):
    return [dialect.feed(0, event).decode() for event in events]


def at(second):
    return f'"model":"tiny","created_at":"2023-11-14T22:13:{second}.000000007Z"'


def test_a_chats_stream_is_these_bytes():
    assert fed(lines()) == [
        f'{{{at(21)},"message":{{"role":"assistant","content":"Grüß"}},"done":false}}\n',
        f'{{{at(22)},"message":{{"role":"assistant","content":" \\"Gott\\"\\n"}},"done":false}}\n',
        f'{{{at(23)},"message":{{"role":"assistant","content":""}},"done":true,'
        f'"done_reason":"stop",{SPENT}}}\n',
    ]


def test_a_whole_chat_is_these_bytes():
    spent = SPENT.replace("3000000000", "1000000000")
    assert fed(lines(streams=False)) == [
        "",
        "",
        f'{{{at(21)},"message":{{"role":"assistant","content":"Grüß \\"Gott\\"\\n"}},"done":true,'
        f'"done_reason":"stop",{spent}}}',
    ]


def test_a_prompts_stream_is_these_bytes_and_its_end_has_the_context():
    dialect = lines(is_chat=False)
    begin = fed(dialect, EVENTS[:2])
    dialect.context = [1, 2, 3]
    assert begin + fed(dialect, EVENTS[2:]) == [
        f'{{{at(21)},"response":"Grüß","done":false}}\n',
        f'{{{at(22)},"response":" \\"Gott\\"\\n","done":false}}\n',
        f'{{{at(23)},"response":"","done":true,"done_reason":"stop","context":[1,2,3],{SPENT}}}\n',
    ]


def test_a_whole_response_is_these_bytes():
    spent = SPENT.replace("3000000000", "1000000000")
    assert fed(lines(is_chat=False, streams=False))[-1] == (
        f'{{{at(21)},"response":"Grüß \\"Gott\\"\\n","done":true,"done_reason":"stop",{spent}}}'
    )


def test_thoughts_stand_beside_the_text():
    events = (ReasoningDelta("Hm"), TextDelta("Yes"), ENDING)
    thought, said, last = map(json.loads, fed(lines(), events))
    assert thought["message"] == {"role": "assistant", "content": "", "thinking": "Hm"}
    assert said["message"] == {"role": "assistant", "content": "Yes"}
    assert "thinking" not in last["message"]

    whole = json.loads(fed(lines(streams=False), events)[-1])
    assert whole["message"] == {"role": "assistant", "content": "Yes", "thinking": "Hm"}
    prompted = json.loads(fed(lines(is_chat=False, streams=False), events)[-1])
    assert (prompted["response"], prompted["thinking"]) == ("Yes", "Hm")


CALLS = (
    ToolCallDelta(0, "call_a", "look", ""),
    ToolCallDelta(0, None, None, '{"at": '),
    ToolCallDelta(0, None, None, '"Rome"}'),
    ToolCallDelta(1, "call_b", "wait", "{}"),
    Finished("tool_calls", 7, 0, 9),
)
TOLD = [
    {"id": "call_a", "function": {"index": 0, "name": "look", "arguments": {"at": "Rome"}}},
    {"id": "call_b", "function": {"index": 1, "name": "wait", "arguments": {}}},
]


def test_a_call_is_told_once_it_is_whole_and_before_the_last_line():
    told = [json.loads(line) for data in fed(lines(), CALLS) for line in data.splitlines()]
    assert [one["message"].get("tool_calls") for one in told] == [TOLD[:1], TOLD[1:], None]
    assert [one["done"] for one in told] == [False, False, True]
    assert told[-1]["done_reason"] == "stop"  # Ollama has no other word for it


def test_a_whole_answer_has_all_its_calls():
    assert json.loads(fed(lines(streams=False), CALLS)[-1])["message"]["tool_calls"] == TOLD


@pytest.mark.parametrize("arguments", ['{"at": "Ro', '"Rome"', "[1]", "[" * 5000])
def test_a_call_that_is_no_whole_object_is_none(arguments):
    events = (CALLS[0], ToolCallDelta(0, None, None, arguments), Finished("length", 7, 0, 9))
    whole = json.loads(fed(lines(streams=False), events)[-1])
    assert "tool_calls" not in whole["message"]
    assert whole["done_reason"] == "length"


@pytest.mark.parametrize(
    ("reason", "on_the_wire"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("deadline", "length"),
        ("tool_calls", "stop"),
        ("cancelled", "stop"),
    ],
)
def test_the_reason_is_told_in_ollamas_words(reason, on_the_wire):
    [last] = fed(lines(), [Finished(reason, 1, 0, 0)])
    assert json.loads(last)["done_reason"] == on_the_wire


def test_a_delta_that_shows_nothing_sends_nothing():
    assert lines().feed(0, TextDelta("", 1)) == b""


def test_logprobs_come_with_their_text():
    shown = TokenLogprob(1, b"a", -0.5, ((1, b"a", -0.5), (2, b"b", -1.0)))
    first, second, last = map(
        json.loads, fed(lines(), (TextDelta("a", 1, (shown,)), TextDelta("b"), ENDING))
    )
    assert first["logprobs"] == [
        {
            "token": "a", "logprob": -0.5, "bytes": [97],
            "top_logprobs": [
                {"token": "a", "logprob": -0.5, "bytes": [97]},
                {"token": "b", "logprob": -1.0, "bytes": [98]},
            ],
        }
    ]  # fmt: skip
    assert "logprobs" not in second
    assert "logprobs" not in last


def test_nothing_asked_is_answered_by_these_bytes():
    assert nothing_asked(HEAD, BEGUN_NS, is_chat=True, streams=True).decode() == (
        f'{{{at(20)},"message":{{"role":"assistant","content":""}},"done":true,'
        '"done_reason":"load"}\n'
    )
    assert nothing_asked(HEAD, BEGUN_NS, is_chat=False, streams=False).decode() == (
        f'{{{at(20)},"response":"","done":true,"done_reason":"load"}}'
    )


def test_an_error_is_a_sentence_with_its_hint_and_no_paths():
    refused = MANNER.error(BadRequest("no", hint="say yes"), "req_1")
    assert refused == b'{"error":"no; say yes"}'
    assert MANNER.framed_error(refused) == refused + b"\n"
    assert MANNER.error(DoesNotFit("/home/me/x.gguf is too large"), "") == (
        b'{"error":"x.gguf is too large"}'
    )
    assert b"secret" not in MANNER.error(RuntimeError("secret"), "")


def test_a_time_has_nine_digits_behind_its_seconds():
    assert stamp(0) == "1970-01-01T00:00:00.000000000Z"
    assert stamp(BEGUN_NS) == "2023-11-14T22:13:20.000000007Z"
