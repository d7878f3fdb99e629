"""The exact bytes of responses: one changed byte is a diff in review."""

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
from edgellm.errors import BadRequest, ContextTooLong, Overloaded, WorkerDied
from edgellm.server.openai.wire import Head
from edgellm.server.responses.answers import ResponseFold, ResponseStream
from edgellm.server.responses.requests import response_request
from edgellm.server.responses.store import Store

HEAD = Head("resp_1", 1700000000, "tiny")
TIMES = Timings(0.5, 1.0, 2.25, 0.004, 0.006)
ENDING = Finished("stop", 7, 3, 5, TIMES, n_reasoning=2)
CUT = Finished("length", 7, 3, 5, TIMES)
HELLO = (TextDelta("Grüß"), TextDelta(' "Gott"\n'), ENDING)

TIMINGS = (
    '"timings":{"cache_n":3,"prompt_n":4,"prompt_ms":1000.0,"prompt_per_token_ms":250.0,'
    '"prompt_per_second":4.0,"predicted_n":5,"predicted_ms":2250.0,'
    '"predicted_per_token_ms":562.5,"predicted_per_second":1.778,"queue_ms":500.0,'
    '"ttft_ms":1500.0,"itl_p50_ms":4.0,"itl_p99_ms":6.0}'
)
USAGE = (
    '{"input_tokens":7,"input_tokens_details":{"cached_tokens":3,"cache_write_tokens":4},'
    '"output_tokens":5,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":12}'
)
TOOLS = [
    {"type": "function", "name": "weather", "parameters": {"type": "object"}},
    {"type": "custom", "name": "patch"},
    {"type": "namespace", "name": "mcp__git", "tools": [{"type": "function", "name": "log"}]},
]


def asked(**fields):
    return response_request(json.dumps({"input": "Hi"} | fields).encode(), "__mark__", Store())


def streamed(events, **fields):
    stream = ResponseStream(HEAD, asked(**fields))
    return "".join(stream.feed(0, event).decode() for event in events)


def whole(events, **fields):
    fold = ResponseFold(HEAD, asked(**fields))
    *nothing, last = [fold.feed(0, event) for event in events]
    assert not any(nothing)
    return json.loads(last)


def told(text):
    """Each happening, its name checked against the one in its data, their numbers rising."""
    several = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        happening = json.loads(data.removeprefix("data: "))
        assert name == f"event: {happening['type']}"
        assert happening.pop("sequence_number") == len(several)
        several.append(happening)
    return several


def response(status, *, completed="null", cut="null", output="", usage="null", timings=""):
    return (
        f'{{"id":"resp_1","object":"response","created_at":1700000000,"status":"{status}",'
        f'"background":false,"completed_at":{completed},"error":null,"incomplete_details":{cut},'
        '"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"metadata":{},'
        f'"model":"tiny","output":[{output}],"parallel_tool_calls":true,"previous_response_id":null,'
        '"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},'
        '"safety_identifier":null,"service_tier":"default","store":true,"temperature":0.8,'
        '"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,'
        f'"top_p":0.95,"truncation":"disabled","usage":{usage},"user":null{timings}}}'
    )


PART = '{"type":"output_text","text":"Grüß \\"Gott\\"\\n","annotations":[],"logprobs":[]}'
MESSAGE = (
    '{"type":"message","id":"msg_1_0","status":"completed","role":"assistant",'
    f'"content":[{PART}]}}'
)
DONE = response(
    "completed", completed="1700000003", output=MESSAGE, usage=USAGE, timings="," + TIMINGS
)


def test_a_stream_is_these_bytes():
    place = '"output_index":0,"item_id":"msg_1_0","content_index":0'
    begun = (
        '"item":{"type":"message","id":"msg_1_0","status":"in_progress","role":"assistant",'
        '"content":[]}'
    )
    lines = [
        ("response.created", f'"response":{response("in_progress")}'),
        ("response.in_progress", f'"response":{response("in_progress")}'),
        ("response.output_item.added", f'"output_index":0,{begun}'),
        (
            "response.content_part.added",
            place + ',"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}',
        ),
        ("response.output_text.delta", place + ',"delta":"Grüß","logprobs":[]'),
        ("response.output_text.delta", place + ',"delta":" \\"Gott\\"\\n","logprobs":[]'),
        ("response.output_text.done", place + ',"text":"Grüß \\"Gott\\"\\n","logprobs":[]'),
        ("response.content_part.done", f'{place},"part":{PART}'),
        ("response.output_item.done", f'"output_index":0,"item":{MESSAGE}'),
        ("response.completed", f'"response":{DONE}'),
    ]
    assert streamed(HELLO) == "".join(
        f'event: {name}\ndata: {{"type":"{name}","sequence_number":{i},{rest}}}\n\n'
        for i, (name, rest) in enumerate(lines)
    )


def test_a_whole_response_is_these_bytes():
    fold = ResponseFold(HEAD, asked())
    assert [fold.feed(0, event).decode() for event in HELLO] == ["", "", DONE]


CALLS = (
    ToolCallDelta(0, "call_1", "weather", ""),
    ToolCallDelta(0, None, None, '{"city":'),
    ToolCallDelta(0, None, None, '"Rome"}'),
    ToolCallDelta(1, "call_2", "patch", '{"input": "*** Be'),
    ToolCallDelta(1, None, None, 'gin\\n"}'),
    ToolCallDelta(2, "call_3", "mcp__git__log", "{}"),
)
TURN = (
    ReasoningDelta("Hm"),
    ReasoningDelta("."),
    TextDelta("I look."),
    *CALLS,
    Finished("tool_calls", 7, 3, 5, TIMES),
)


@pytest.mark.parametrize(
    ("events", "fields"),
    [
        (HELLO, {}),
        (TURN, {"tools": TOOLS}),
        (TURN, {"tools": TOOLS, "reasoning": {"summary": "auto"}}),
        ((*TURN[:4], CUT), {"tools": TOOLS}),
        ((ENDING,), {}),
    ],
    ids=["text", "turn", "summary", "cut in a call", "nothing"],
)
def test_a_stream_adds_up_to_the_whole_response(events, fields):
    happened = told(streamed(events, **fields))
    final = happened[-1]["response"]
    assert final == whole(events, **fields)

    added = [one for one in happened if one["type"] == "response.output_item.added"]
    done = [one["item"] for one in happened if one["type"] == "response.output_item.done"]
    assert [one["output_index"] for one in added] == [*range(len(final["output"]))]
    assert done == final["output"]
    for i, item in enumerate(final["output"]):
        deltas = "".join(
            one["delta"] for one in happened if "delta" in one and one["output_index"] == i
        )
        (part,) = item.get("content") or item.get("summary") or [{}]
        assert deltas == part.get("text", item.get("arguments", item.get("input")))


def test_thoughts_text_and_calls_are_items_in_their_order():
    thoughts, text, weather, patch, log = whole(TURN, tools=TOOLS)["output"]
    assert thoughts["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert thoughts["summary"] == []
    assert text["content"][0]["text"] == "I look."
    assert weather == {
        "type": "function_call",
        "id": "fc_1_2",
        "call_id": "call_1",
        "name": "weather",
        "status": "completed",
        "arguments": '{"city":"Rome"}',
    }
    assert (patch["type"], patch["name"], patch["input"]) == (
        "custom_tool_call", "patch", "*** Begin\n"
    )  # fmt: skip
    assert (log["type"], log["namespace"], log["name"]) == ("function_call", "mcp__git", "log")


def test_who_asks_for_a_summary_gets_the_thoughts_there():
    events = (ReasoningDelta("Hm"), ReasoningDelta("."), *HELLO)
    thoughts, _ = whole(events, reasoning={"summary": "auto"})["output"]
    assert thoughts["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert thoughts["content"] == []
    names = [one["type"] for one in told(streamed(events, reasoning={"summary": "auto"}))]
    assert names[2:8] == [
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
    ]


@pytest.mark.parametrize("reason", ["length", "deadline"])
def test_a_cut_answer_is_incomplete_and_so_is_the_item_it_was_cut_in(reason):
    events = (ReasoningDelta("Hm."), TextDelta("I lo"), Finished(reason, 7, 3, 5, TIMES))
    answer = whole(events)
    assert (answer["status"], answer["completed_at"]) == ("incomplete", None)
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in answer["output"]] == ["completed", "incomplete"]
    assert told(streamed(events))[-1]["type"] == "response.incomplete"


def test_a_custom_tools_input_that_was_cut_is_not_guessed():
    begun = ToolCallDelta(0, "call_1", "patch", '{"input": "*** Be')
    (item,) = whole((begun, CUT), tools=TOOLS)["output"]
    assert (item["input"], item["status"]) == ("", "incomplete")


def test_logprobs_stand_beside_their_text():
    shown = (TokenLogprob(1, b"a", -0.5, ((1, b"a", -0.5), (2, b"b", -1.5))),)
    events = (TextDelta("a", 1, shown), TextDelta("b"), ENDING)
    expected = {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [
            {"token": "a", "logprob": -0.5, "bytes": [97]},
            {"token": "b", "logprob": -1.5, "bytes": [98]},
        ],
    }
    assert whole(events)["output"][0]["content"][0]["logprobs"] == [expected]
    deltas = [one for one in told(streamed(events)) if one["type"] == "response.output_text.delta"]
    assert [one["logprobs"] for one in deltas] == [[expected], []]


def test_a_delta_that_shows_nothing_is_not_told():
    assert whole((TextDelta("", 1), ENDING))["output"] == []
    happened = told(streamed((TextDelta("a"), TextDelta("", 1), ENDING)))
    assert [one["delta"] for one in happened if "delta" in one] == ["a"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (WorkerDied("the worker of /home/me/m.gguf died"), "server_error", "m.gguf died"),
        (ValueError("secret"), "server_error", "its log says what"),
        (Overloaded("64 wait"), "rate_limit_exceeded", "64 wait"),
        (BadRequest("too odd"), "invalid_prompt", "too odd"),
        (ContextTooLong("too long"), "context_length_exceeded", "too long"),
    ],
)
def test_a_stream_that_breaks_ends_with_what_was_said_and_why(error, code, words):
    stream = ResponseStream(HEAD, asked())
    data = stream.feed(0, TextDelta("I lo")) + stream.broken(error)
    *_, item, failed = told(data.decode())
    assert (item["type"], item["item"]["status"]) == ("response.output_item.done", "incomplete")
    assert failed["type"] == "response.failed"
    answer = failed["response"]
    assert (answer["status"], answer["output"]) == ("failed", [item["item"]])
    assert answer["error"]["code"] == code
    assert words in answer["error"]["message"]
    assert "/home" not in data.decode()
    assert "secret" not in data.decode()


def test_waiting_is_told_by_events_that_have_their_numbers():
    stream = ResponseStream(HEAD, asked())
    data = stream.waiting() + stream.waiting() + stream.feed(0, TextDelta("Hi"))
    data += stream.waiting() + stream.feed(0, ENDING)
    names = [one["type"].removeprefix("response.") for one in told(data.decode())]
    assert names[:4] == ["created", "in_progress", "in_progress", "output_item.added"]
    assert names.count("in_progress") == 3
    assert names[-1] == "completed"


def test_one_that_breaks_before_its_first_token_is_still_created_first():
    data = ResponseStream(HEAD, asked()).broken(WorkerDied("signal 9"))
    assert [one["type"] for one in told(data.decode())] == [
        "response.created", "response.in_progress", "response.failed"
    ]  # fmt: skip
