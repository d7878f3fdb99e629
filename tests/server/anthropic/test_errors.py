import json

import httpx2
import pytest
from server.server_fakes import live_server, served

from edgellm import errors
from edgellm.server.anthropic.errors import MANNER, encode
from edgellm.server.app import manner_at
from edgellm.server.door.access import Access
from edgellm.server.envelope import HTTPProblem
from edgellm.server.manners import USUAL


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.BadRequest("x"), "invalid_request_error"),
        (HTTPProblem(401, "x"), "authentication_error"),
        (errors.Offline("x"), "permission_error"),
        (errors.ModelNotFound("x"), "not_found_error"),
        (HTTPProblem(413, "x"), "request_too_large"),
        (errors.Overloaded("x"), "rate_limit_error"),
        (errors.NotServing("x"), "overloaded_error"),
        (errors.DeadlinePassed("x"), "timeout_error"),
        (errors.WorkerDied("x"), "api_error"),
        (KeyError("x"), "api_error"),
    ],
)
def test_a_status_has_its_word(error, kind):
    assert json.loads(encode(error, "req_1"))["error"]["type"] == kind


def test_an_error_byte_for_byte():
    error = errors.ContextTooLong("9 tokens are more than 8", hint="say less", param="messages")
    assert encode(error, "req_1") == (
        b'{"type":"error","error":{"type":"invalid_request_error",'
        b'"message":"9 tokens are more than 8; say less",'
        b'"details":{"error_code":"context_length_exceeded"}},"request_id":"req_1"}'
    )


def test_a_bug_and_a_workers_last_words_tell_no_secrets():
    assert b"secret" not in encode(KeyError("/home/ann/secret"), "")
    assert b"/home" not in encode(errors.WorkerDied("can't read /home/ann/x.gguf"), "")


@pytest.mark.parametrize(
    ("path", "manner"),
    [
        ("/v1/messages", MANNER),
        ("/messages", MANNER),
        ("/v1/messages/count_tokens", MANNER),
        ("/v1/messages/batches", MANNER),
        ("/v1/messagesx", USUAL),
        ("/v1/chat/completions", USUAL),
        ("/", USUAL),
    ],
)
def test_the_path_says_whose_words_an_error_has(path, manner):
    assert manner_at(path) is manner


def test_who_is_not_let_in_is_told_in_these_words():
    with (
        live_server(served(), access=Access.of(keys=["secret"])) as live,
        httpx2.Client(base_url=live.url) as http,
    ):
        answers = [
            http.post("/v1/messages", json={}),
            http.post("/v1/messages/batches", json={}, headers={"x-api-key": "secret"}),
            http.put("/v1/messages", json={}, headers={"x-api-key": "secret"}),
        ]
        told = [(one.status_code, one.json()["error"]["type"]) for one in answers]
        assert told[:2] == [(401, "authentication_error"), (404, "not_found_error")]
        for one in answers:
            assert one.json()["type"] == "error"
            assert one.json()["request_id"] == one.headers["request-id"]
            assert one.headers["request-id"] == one.headers["x-request-id"]
        assert "request-id" not in http.get("/v1/models").headers
