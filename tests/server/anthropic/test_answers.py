import json

import pytest

from edgellm.chat.events import Finished, ReasoningDelta, TextDelta, ToolCallDelta
from edgellm.chat.messages import ChatRequest, GenerateParams
from edgellm.server.anthropic.answers import MessageFold, MessageStream
from edgellm.server.anthropic.requests import AskedMessage
from edgellm.server.openai.wire import Head

HEAD = Head("msg_1", 0, "tiny")
ENDED = Finished("stop", 7, 4, 2)
CALLS = [
    ToolCallDelta(0, "call_a", "weather", ""),
    ToolCallDelta(0, None, None, '{"city":'),
    ToolCallDelta(0, None, None, '"Rome"}'),
    ToolCallDelta(1, "call_b", "clock", ""),
    Finished("tool_calls", 7, 0, 9),
]


def asked(shows_thoughts=True, **params):
    params = {"max_tokens": 9} | params
    return AskedMessage(ChatRequest("", (), GenerateParams(**params)), shows_thoughts)


def streamed(*told, wish=None, n_prompt=7):
    stream = MessageStream(HEAD, wish or asked(), n_prompt)
    return b"".join(stream.feed(0, event) for event in told)


def folded(*told, wish=None):
    fold = MessageFold(HEAD, wish or asked())
    *nothing, whole = [fold.feed(0, event) for event in told]
    assert not any(nothing)
    return whole


def happenings(data):
    frames = data.decode().split("\n\n")
    assert frames.pop() == ""
    found = [dict(line.split(": ", 1) for line in frame.split("\n")) for frame in frames]
    assert all(json.loads(one["data"])["type"] == one["event"] for one in found)
    return [json.loads(one["data"]) for one in found]


def test_a_stream_byte_for_byte():
    assert streamed(TextDelta("He"), TextDelta(""), TextDelta("llo"), ENDED) == (
        b"event: message_start\n"
        b'data: {"type":"message_start","message":{"type":"message","id":"msg_1","model":"tiny",'
        b'"role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":7,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
        b'"output_tokens":0}}}\n\n'
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,"content_block":'
        b'{"type":"text","text":""}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"text_delta","text":"He"}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"text_delta","text":"llo"}}\n\n'
        b"event: content_block_stop\n"
        b'data: {"type":"content_block_stop","index":0}\n\n'
        b"event: message_delta\n"
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        b'"usage":{"input_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,'
        b'"output_tokens":2}}\n\n'
        b"event: message_stop\n"
        b'data: {"type":"message_stop"}\n\n'
    )


def test_a_whole_message_byte_for_byte():
    assert folded(ReasoningDelta("Hm"), TextDelta("He"), TextDelta("llo"), ENDED) == (
        b'{"type":"message","id":"msg_1","model":"tiny","role":"assistant","content":['
        b'{"type":"thinking","thinking":"Hm","signature":"edgellm"},'
        b'{"type":"text","text":"Hello"}],"stop_reason":"end_turn","stop_sequence":null,'
        b'"usage":{"input_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,'
        b'"output_tokens":2}}'
    )


def test_calls_are_blocks_that_come_one_after_the_other():
    told = happenings(streamed(TextDelta("Look"), *CALLS))
    blocks = [(one["type"].removeprefix("content_block_"), one["index"]) for one in told[1:-2]]
    assert blocks == [
        ("start", 0), ("delta", 0), ("stop", 0),
        ("start", 1), ("delta", 1), ("delta", 1), ("stop", 1),
        ("start", 2), ("stop", 2),
    ]  # fmt: skip
    starts = [one["content_block"] for one in told if one["type"] == "content_block_start"]
    assert starts[1:] == [
        {"type": "tool_use", "id": "call_a", "name": "weather", "input": {}},
        {"type": "tool_use", "id": "call_b", "name": "clock", "input": {}},
    ]
    deltas = [one["delta"] for one in told if one["type"] == "content_block_delta"]
    assert deltas[1:] == [
        {"type": "input_json_delta", "partial_json": '{"city":'},
        {"type": "input_json_delta", "partial_json": '"Rome"}'},
    ]
    assert told[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}


def test_a_whole_message_has_calls_with_their_input():
    assert json.loads(folded(*CALLS))["content"] == [
        {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "call_b", "name": "clock", "input": {}},
    ]


@pytest.mark.parametrize("rest", ["", '{"a":' + "[" * 5000 + "]" * 5000 + "}", "[1]"])
def test_a_call_that_was_cut_or_is_no_object_for_anybody_has_no_input(rest):
    delta = ToolCallDelta(0, None, None, rest) if rest else CALLS[1]
    cut = [CALLS[0], delta, Finished("length", 7, 0, 9)]
    message = json.loads(folded(*cut))
    assert happenings(streamed(*cut))[-1] == {"type": "message_stop"}
    assert message["content"][0]["input"] == {}
    assert message["stop_reason"] == "max_tokens"


@pytest.mark.parametrize("shows", [True, False])
def test_a_thought_ends_with_its_signature_also_where_it_is_not_shown(shows):
    events = [ReasoningDelta("H"), ReasoningDelta("m"), TextDelta("Hi"), ENDED]
    told = happenings(streamed(*events, wish=asked(shows)))
    deltas = [one["delta"] for one in told if one.get("index") == 0 and "delta" in one]
    thoughts = [{"type": "thinking_delta", "thinking": text} for text in "Hm"] if shows else []
    assert deltas == [*thoughts, {"type": "signature_delta", "signature": "edgellm"}]
    whole = json.loads(folded(*events, wish=asked(shows)))
    assert whole["content"][0]["thinking"] == ("Hm" if shows else "")
    assert whole["content"][1] == {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    ("ended", "params", "reason", "sequence"),
    [
        (Finished("stop", 7, 0, 2), {}, "end_turn", None),
        (Finished("stop", 7, 0, 2, stop_word="END"), {"stop": ("END",)}, "stop_sequence", "END"),
        (Finished("stop", 7, 0, 2, stop_word="<|im_end|>"), {"stop": ("END",)}, "end_turn", None),
        (Finished("length", 7, 0, 9), {}, "max_tokens", None),
        (Finished("length", 7, 0, 8), {}, "model_context_window_exceeded", None),
        (Finished("deadline", 7, 0, 2), {}, "max_tokens", None),
        (Finished("tool_calls", 7, 0, 2), {}, "tool_use", None),
    ],
)
def test_why_it_ended(ended, params, reason, sequence):
    wish = asked(**params)
    whole = json.loads(folded(TextDelta("Hi"), ended, wish=wish))
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)
    told = happenings(streamed(TextDelta("Hi"), ended, wish=wish))
    assert told[-2]["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


def test_an_answer_of_nothing_holds_nothing():
    assert json.loads(folded(ENDED))["content"] == []
    kinds = [one["type"] for one in happenings(streamed(ENDED))]
    assert kinds == ["message_start", "message_delta", "message_stop"]


WARM = AskedMessage(ChatRequest("", (), GenerateParams(max_tokens=1)), True, is_only_read=True)
READ = Finished("stop", 7, 4, 1, stop_word="x", n_reasoning=1)


@pytest.mark.parametrize("first", [TextDelta("x"), ReasoningDelta("x"), CALLS[0]])
def test_of_a_prompt_that_was_only_to_be_read_nothing_is_told_but_what_it_took(first):
    message = json.loads(folded(first, READ, wish=WARM))
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
    assert message["stop_sequence"] is None
    assert message["usage"] == {
        "input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
        "output_tokens": 0,
    }  # fmt: skip
    start, delta, stop = happenings(streamed(first, READ, wish=WARM))
    assert [one["type"] for one in (start, stop)] == ["message_start", "message_stop"]
    assert delta["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert delta["usage"] == message["usage"]
