import pytest
from tui_status_server import DONE, PING, delta, envelope, event, failure, finish, usage

from edgellm.errors import EdgellmError
from edgellm.tui.told.answers import (
    Ended,
    Figures,
    Reason,
    Text,
    Thought,
    is_too_long,
    pieces,
    problem,
)


def of(data):
    return pieces(data.decode().strip())


def test_deltas_become_pieces():
    assert of(delta("Hello")) == [Text("Hello")]
    assert of(delta("hm", field="reasoning_content")) == [Thought("hm")]
    assert of(finish("length")) == [Reason("length")]
    assert of(DONE) == [Ended()]


def test_figures_come_from_usage_and_timings():
    assert of(usage(34, n_cached=8, tok_s=34.5)) == [
        Figures(n_output=34, n_prompt=10, n_cached=8, decode_tok_s=34.5)
    ]


def test_what_says_nothing_is_nothing():
    assert of(PING) == of(b"") == of(event(choices=[])) == []
    assert of(event(choices=[{"delta": {"role": "assistant", "content": ""}}])) == []


def test_an_error_event_is_raised_in_the_servers_words():
    with pytest.raises(EdgellmError, match="the worker died"):
        of(failure("the worker died"))


@pytest.mark.parametrize("data", [b"data: {", b"data: []", b'data: {"choices": 3}', b"data:"])
def test_a_garbled_line_is_an_error_and_not_a_crash(data):
    with pytest.raises(EdgellmError, match="can't be read"):
        of(data)


def test_a_refusal_is_told_in_the_servers_words_or_by_its_number():
    assert problem(429, envelope("the queue is full")).message == "the queue is full"
    assert problem(502, b"<html>").message == "the server answered 502"
    assert problem(500, b"\xff\xfe").message == "the server answered 500"
    assert problem(500, b"{}").message == "the server answered 500"


def test_a_prompt_without_room_is_known_by_its_code():
    assert is_too_long(problem(400, envelope("no", code="context_length_exceeded")))
    assert not is_too_long(problem(400, envelope("context_length_exceeded")))
