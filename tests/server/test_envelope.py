import json

import pytest

from edgellm import errors
from edgellm.chat.events import Failed
from edgellm.server.envelope import (
    HTTPProblem,
    as_error,
    encode,
    retry_after_s,
    status_of,
    text_is_called,
)


def told(error):
    return json.loads(encode(error))["error"]


def every_error(root=errors.EdgellmError):
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from every_error(kind)


@pytest.mark.parametrize("kind", list(every_error()))
def test_every_error_has_an_envelope_of_four_words(kind):
    error = kind("what happened", hint="what to do", param="where")
    body = told(error)
    assert set(body) == {"message", "type", "param", "code"}
    assert body["message"] == "what happened; what to do"
    assert body["param"] == "where"
    assert 400 <= status_of(error) < 600


def test_a_code_tells_its_kind_again():
    told_by_code = [kind for kind in every_error() if "code" in vars(kind) and kind.code]
    assert {kind.code: kind for kind in told_by_code} == errors.BY_CODE
    assert len(told_by_code) == len(errors.BY_CODE)


def test_an_error_that_is_a_bug_says_nothing_of_itself():
    body = told(KeyError("/home/somebody/secret"))
    assert status_of(KeyError()) == 500
    assert "secret" not in body["message"]
    assert body["type"] == "server_error"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("token '</s>' of </think> is odd", "token '</s>' of </think> is odd"),
        ("in </home/ann/x.gguf>", "in <x.gguf>"),
        ("can't read /home/ann/models/tiny.gguf: bad", "can't read tiny.gguf: bad"),
        ("GGML_ASSERT at /src/llama.cpp/ggml.c:12", "GGML_ASSERT at ggml.c:12"),
        ("fault at 0x7f5cb6dbbe70 in x", "fault at (address) in x"),
        ("ended with -9, 3 of 4 tok/s lost", "ended with -9, 3 of 4 tok/s lost"),
        ('File "/usr/lib/python3/x.py", line 3', 'File "x.py", line 3'),
    ],
)
def test_a_workers_last_words_lose_paths_and_addresses(words, shown):
    assert told(errors.WorkerDied(words))["message"] == shown
    assert told(as_error(Failed(words, 502)))["message"] == shown


def test_a_failure_from_the_worker_keeps_its_status_and_param():
    error = as_error(Failed("too long", 400, "messages"))
    assert status_of(error) == 400
    assert told(error) == {
        "message": "too long", "type": "invalid_request_error", "param": "messages", "code": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("ContextTooLong", "context_length_exceeded"),
        ("WorkerDied", "worker_died"),
        ("Overloaded", "queue_full"),
        ("BadRequest", None),
        ("EdgellmError", None),
        ("OfANewerWorker", None),
    ],
)
def test_a_failure_from_the_worker_has_the_code_of_its_kind(kind, code):
    assert told(as_error(Failed("no", 400, kind=kind)))["code"] == code


@pytest.mark.parametrize(
    ("param", "shown"),
    [("messages", "content"), ("prompt", "content"), ("response_format", "response_format"),
     (None, None)],
)  # fmt: skip
def test_the_text_is_blamed_by_the_name_that_the_client_gave_it(param, shown):
    with pytest.raises(errors.ContextTooLong) as raised, text_is_called("content"):
        raise errors.ContextTooLong("too long", param=param)
    assert raised.value.param == shown


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (errors.Overloaded("full"), 1),
        (errors.NotServing("loading"), 2),
        (errors.BadRequest("no"), None),
        (HTTPProblem(429, "full"), 1),
        (ValueError(), None),
    ],
)
def test_clients_are_told_when_to_come_back(error, seconds):
    assert retry_after_s(error) == seconds
