import pytest
from tui_status_server import DONE, PING, delta, envelope, event, failure, finish, usage

from edgellm import errors
from edgellm.errors import BadRequest, EdgellmError, KeyRefused, NotServing, WorkerDied
from edgellm.tui.told.answers import Ended, Figures, Piece, piece, refusal

OURS = errors.BY_CODE


def of(data):
    return piece(data.decode().strip())


def test_a_line_becomes_a_piece():
    assert of(delta("Hello")) == Piece("Hello")
    assert of(delta("hm", field="reasoning_content")) == Piece(thought="hm")
    assert of(finish("length")) == Piece(reason="length")
    assert of(DONE) == Ended()


def test_figures_come_from_usage_and_timings():
    figures = Figures(n_output=34, n_prompt=10, n_cached=8, decode_tok_s=34.5)
    assert of(usage(34, n_cached=8, tok_s=34.5)).figures == figures


def test_what_says_nothing_is_nothing():
    assert of(PING) is of(b"") is None
    nothing = event(choices=[{"delta": {"role": "assistant", "content": ""}}])
    assert of(nothing) == of(event(choices=[])) == Piece()


KINDS = {
    **OURS,
    "another": WorkerDied,
    None: WorkerDied,
    503: NotServing,  # as llama-server tells its status
    500: EdgellmError,
}


@pytest.mark.parametrize("code", KINDS)
def test_an_error_in_a_stream_is_the_one_that_it_was_there(code):
    """After ten seconds a refusal comes inside a stream."""
    with pytest.raises(EdgellmError, match="no luck") as caught:
        of(event(error={"message": "no luck", "type": "server_error", "code": code}))
    assert type(caught.value) is KINDS[code]


@pytest.mark.parametrize("code", OURS)
def test_a_refusal_is_known_by_its_code_whatever_its_status(code):
    assert type(refusal("u", 500, envelope("no luck", code=code))) is OURS[code]


def test_what_the_caller_said_wrong_is_his_fault_in_a_stream_too():
    with pytest.raises(BadRequest):
        of(event(error={"message": "no such field", "type": "invalid_request_error"}))


def test_without_a_code_the_status_tells_the_kind():
    for kind in (errors.BadRequest, errors.ModelNotFound, errors.Overloaded, errors.DeadlinePassed):
        assert type(refusal("u", kind.http_status, envelope("no luck"))) is kind
    assert type(refusal("u", 401, envelope("no such key"))) is KeyRefused
    assert type(refusal("u", 403, envelope("no such host"))) is NotServing
    assert type(refusal("u", 507, envelope("the disk is full"))) is EdgellmError


def test_an_errors_words_can_do_nothing_to_a_terminal():
    assert str(refusal("u", 400, envelope("a\x1b]52;c;ZXZpbA==\x07b"))) == "ab"
    with pytest.raises(WorkerDied, match=r"^ab$"):
        of(failure("a\x1b[2Jb"))


@pytest.mark.parametrize("data", [b"data: {", b"data: []", b'data: {"choices": 3}', b"data:"])
def test_a_garbled_line_is_an_error_and_not_a_crash(data):
    with pytest.raises(EdgellmError, match="can't be read"):
        of(data)


def test_a_refusal_is_told_in_the_servers_words_or_by_its_number():
    assert str(refusal("u", 429, envelope("the queue is full"))) == "the queue is full"
    assert str(refusal("u", 500, b"{}")) == "it answered 500"
    for body in (b"<html>", b"\xff\xfe"):
        assert str(refusal("u", 502, body)) == "no edgellm at u: it answered 502"
