"""Bad requests against a live server, by hand: what clients never send, and attackers do."""

import json
import re
import socket
from contextlib import contextmanager

import httpx2
import pytest
from server.server_fakes import HANG, FakeEngine, live_server, plan, refusals, served, words

from edgellm.chat.events import Failed, TextDelta
from edgellm.errors import DeadlinePassed, Overloaded
from edgellm.server.door.access import Access
from edgellm.server.door.patience import Patience

CHAT = "/v1/chat/completions"
HI = {"messages": [{"role": "user", "content": "Hi"}]}
JSON = {"content-type": "application/json"}


def error_of(response):
    body = response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert not re.search(r"0x[0-9a-f]{6,}|/home|/usr|Traceback|\.py", body["message"])
    assert response.headers["x-request-id"].startswith("req_")
    return body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.com"}, 403),
        ({"host": "127.0.0.1.evil.com"}, 403),
        ({"origin": "http://evil.com"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain", "sec-fetch-site": "cross-site"}, 415),
    ],
)
def test_a_strangers_page_reaches_no_engine(http, engine, headers, status):
    response = http.post(CHAT, content=json.dumps(HI), headers=JSON | headers)
    assert response.status_code == status
    error_of(response)
    assert engine.asked == []


def test_a_form_is_refused_and_the_same_words_of_a_tool_are_read_as_json(http, engine):
    body, form = json.dumps(HI), {"content-type": "application/x-www-form-urlencoded"}
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:60.0) Gecko/20100101 Firefox/60.0"
    for trace in ({"origin": "http://evil.com"}, {"origin": "null"}, {"user-agent": firefox}):
        error_of(http.post(CHAT, content=body, headers=form | trace))
    assert engine.asked == []
    for headers in (form, {}):
        assert http.post(CHAT, content=body, headers=headers).status_code == 200
    assert http.post(CHAT, content="model=tiny", headers=form).status_code == 400


PAGE = "http://localhost:3000"
ALLOWED = "access-control-allow-origin"


@contextmanager
def for_page(*scripts):
    access = Access.of(keys=["secret"], origins=[PAGE])
    engine = FakeEngine(plan(), list(scripts))
    with (
        live_server(served(engine=engine), access=access) as live,
        httpx2.Client(base_url=live.url, headers={"origin": PAGE}) as http,
    ):
        yield http


def test_a_pages_browser_is_told_what_the_page_may_send():
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
        "access-control-request-private-network": "true",
    }
    with for_page(words("Hello there")) as http:
        told = http.options(CHAT, headers=asked)
        assert (told.status_code, told.content, told.headers[ALLOWED]) == (204, b"", PAGE)
        assert told.headers["access-control-allow-methods"] == "POST"
        assert told.headers["access-control-allow-headers"] == "authorization,content-type"
        assert told.headers["access-control-allow-private-network"] == "true"
        assert "Origin" in told.headers["vary"]
        assert "access-control-allow-credentials" not in told.headers
        stranger = http.options(CHAT, headers=asked | {"origin": "http://evil.com"})
        assert stranger.status_code == 403
        assert ALLOWED not in stranger.headers


def test_a_page_that_may_can_read_answers_and_errors():
    broken = [TextDelta("x"), Failed("gone", 503)]
    key = {"x-api-key": "secret"}
    with for_page(words("Hello there"), broken) as http:
        answers = [
            http.post(CHAT, json=HI, headers=key),
            http.post(CHAT, json=HI | {"stream": True}, headers=key),
            http.post(CHAT, json=HI),
            http.post(CHAT, content="{", headers=JSON | key),
            http.get("/no/such/route", headers=key),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 401, 400, 404]
    assert "error" in answers[1].text
    for answer in answers:
        assert answer.headers[ALLOWED] == PAGE
        assert answer.headers["access-control-expose-headers"] == "*"
        assert answer.headers["vary"] == "Origin"


def test_without_allowed_origins_no_answer_speaks_of_any(http):
    for answer in (http.post(CHAT, json=HI), http.options(CHAT, headers={"origin": PAGE})):
        assert not [name for name in answer.headers if "access-control" in name or name == "vary"]


def test_every_refusal_is_counted_by_its_reason():
    access = Access.of(keys=["secret"], all_bodies_bytes=1 << 20)
    engine = FakeEngine(plan(), [Overloaded("full"), DeadlinePassed("late"), words("Hello there")])
    with (
        live_server(served(engine=engine), access=access) as live,
        httpx2.Client(base_url=live.url, headers=JSON | {"x-api-key": "secret"}) as http,
    ):
        answers = [
            http.post(CHAT, json=HI, headers={"x-api-key": "wrong"}),
            http.post(CHAT, json=HI, headers={"host": "evil.com"}),
            http.post(CHAT, json=HI, headers={"origin": "http://evil.com"}),
            http.post(CHAT, json=HI, headers={"content-type": "text/html"}),
            http.post(CHAT, content=b" " * (1 << 20)),
            http.post(CHAT, json=HI),
            http.post(CHAT, json=HI),
            http.post(CHAT, json=HI | {"model": "none"}),
            http.get("/nowhere"),
            http.post(CHAT, json=HI),
        ]
        assert [one.status_code for one in answers] == [
            401, 403, 403, 415, 413, 429, 504, 404, 404, 200
        ]  # fmt: skip
        assert refusals(live, **{"x-api-key": "secret"}) == {
            "invalid_api_key": 1, "foreign_host": 1, "foreign_origin": 1, "not_json": 1,
            "body_too_large": 1, "queue_full": 1, "deadline_passed": 1, "model_not_found": 1,
            "not_found_error": 1,
        }  # fmt: skip


def test_no_cors_header_is_ever_sent(http):
    for response in (
        http.get("/v1/models", headers={"origin": "http://evil.com"}),
        http.options(CHAT, headers={"origin": "http://evil.com",
                                    "access-control-request-method": "POST"}),
        http.get("/v1/models"),
    ):  # fmt: skip
        assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"messages":' + b"[" * 100_000, b'{"x":' + b"[" * 100_000, b"\xff\xfe",
     b'{"messages":[{"role":"user","content":"x"}],"temperature":NaN}'],
    ids=lambda body: repr(body[:16]),
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/tokenize"])
def test_a_malformed_body_is_400_everywhere(http, path, body):
    response = http.post(path, content=body, headers=JSON)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


def test_the_field_that_is_wrong_is_named(http):
    response = http.post(CHAT, json=HI | {"temperature": 11})
    assert response.status_code == 400
    error = error_of(response)
    assert error["param"] == "temperature"
    assert error["message"] == "temperature: 11 is not a number from 0 to 10"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "tiny"}, "messages"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
            "messages[0].content[0].type",
        ),
    ],
)
def test_the_field_that_is_missing_is_named(http, body, field):
    error = error_of(http.post(CHAT, json=body))
    assert (error["message"], error["param"]) == (f"{field}: is missing", field)


def test_an_unknown_route_and_a_wrong_method_have_envelopes(http):
    missing = http.get("/v1/nonsense")
    assert (missing.status_code, error_of(missing)["type"]) == (404, "not_found_error")
    wrong = http.get(CHAT)
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"
    error_of(wrong)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("//v1/chat/completions", "/v1/chat/completions"),  # a base URL that ends in a slash
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/api/v1/models", "/v1/models"),  # LM Studio's, OpenRouter's
        ("/v1/api/tags", "/api/tags"),
        ("/openai/v1/responses", "/v1/responses"),
    ],
)
def test_a_path_with_too_much_before_it_is_told_the_one_that_is_served(live, asked, served):
    told = httpx2.post(live.url + asked, json={}).json()["error"]
    words = told if isinstance(told, str) else told["message"]
    assert words == f"{asked} is not served here, but {served} is"


def test_a_slash_behind_a_path_changes_nothing(http):
    answer = http.post(f"{CHAT}/", json=HI)
    assert (answer.status_code, answer.json()["object"]) == (200, "chat.completion")
    for path in ("/v1/models", "/v1/models/tiny", "/health", "/api/tags", "/edgellm/steps"):
        with_slash = http.get(f"{path}/")
        assert (with_slash.status_code, with_slash.text) == (200, http.get(path).text)
    assert http.get(f"{CHAT}/").status_code == 405
    assert http.get("/v1/nonsense/").status_code == 404
    assert http.get("/v1/models//").json()["object"] == "list"
    with live_server(served(), access=Access.of(keys=["k"])) as live:
        assert [httpx2.get(live.url + path).status_code for path in ("/health/", "/props/")] == [
            200, 401,
        ]  # fmt: skip
    told = http.post("/v1/v1/messages/", json={}).json()["error"]["message"]
    assert told == "/v1/v1/messages is not served here, but /v1/messages is"


def test_a_body_beyond_the_limit_is_413_said_or_unsaid():
    with (
        live_server(served(), access=Access(max_body_bytes=1000)) as live,
        httpx2.Client(base_url=live.url) as http,
    ):
        said = http.post(CHAT, content=b"x" * 1001, headers=JSON)
        assert said.status_code == 413
        error_of(said)

        unsaid = http.post(CHAT, content=iter([b" " * 600] * 100), headers=JSON)
        assert unsaid.status_code == 413
        error_of(unsaid)

        assert http.post(CHAT, json=HI).status_code == 200  # and the connection lives on


def test_a_header_beyond_the_limit_hangs_up(live):
    with socket.create_connection(("127.0.0.1", live.port)) as raw:
        raw.settimeout(60)
        answer = b""
        try:
            raw.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 200_000)
            answer = raw.recv(1000)
        except ConnectionError:
            pass
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_a_bug_is_500_without_words_and_a_line_in_the_log(http, engine, caplog):
    engine.scripts = [KeyError("/home/somebody/secret")]
    response = http.post(CHAT, json=HI)
    assert response.status_code == 500
    assert error_of(response)["message"] == "something broke in the server; its log says what"
    assert response.headers["x-request-id"] in caplog.text
    assert "KeyError" in caplog.text


@contextmanager
def deaf_client(live, body):
    """Sends a request and reads nothing."""
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        data = json.dumps(body).encode()
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)
        )
        yield client


def test_a_client_that_stops_reading_loses_its_place(caplog):
    talk = [*[TextDelta("x" * 1000)] * 20_000, HANG]
    engine = FakeEngine(plan(), [talk, words("Hello there")])
    with (
        live_server(served(engine=engine), patience=Patience(write_s=0.2)) as live,
        deaf_client(live, HI | {"stream": True}),
    ):
        assert engine.cancelled.wait(60)
        assert httpx2.post(live.url + CHAT, json=HI).status_code == 200
        assert refusals(live) == {"unread": 1}
    assert "stopped reading" in caplog.text
    assert engine.n_open == 0


def test_a_worker_that_breaks_its_word_is_an_error_not_a_short_answer(http, engine):
    engine.scripts = [[TextDelta("Hel")]]
    response = http.post(CHAT, json=HI)
    assert response.status_code == 502
    assert "broke off" in error_of(response)["message"]


def test_a_model_that_is_not_ready_is_503_with_retry_after(http, engine):
    engine.state = "loading"
    response = http.post(CHAT, json=HI)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert error_of(response)["code"] == "model_not_ready"


def test_a_template_that_refuses_is_400():
    from edgellm.chat.templating.template import ChatTemplate

    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with (
        live_server(served(template=template)) as live,
        httpx2.Client(base_url=live.url) as http,
    ):
        response = http.post(CHAT, json=HI)
    assert response.status_code == 400
    assert "roles must alternate" in error_of(response)["message"]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("script", [[HANG], [TextDelta("Hel"), HANG]])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_its_request(live, engine, stream, script, n):
    engine.scripts = [script]
    body = json.dumps(HI | {"stream": stream, "n": n}).encode()
    with socket.create_connection(("127.0.0.1", live.port)) as raw:
        raw.sendall(
            b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (CHAT.encode(), len(body), body)
        )
        assert engine.begun.wait(60)
        if stream and len(script) > 1:
            assert b"Hel" in _until(raw, b"Hel")
    assert engine.cancelled.wait(60)


def _until(raw, mark):
    data = b""
    while mark not in data:
        data += raw.recv(4096)
    return data


def test_a_failure_midway_ends_the_stream_with_an_error_and_without_done(http, engine):
    engine.scripts = [[TextDelta("Hel"), Failed("the model's process ended with -9", 502)]]
    response = http.post(CHAT, json=HI | {"stream": True})
    *_, last = [line for line in response.text.split("\n\n") if line]
    assert json.loads(last.removeprefix("data: "))["error"]["message"].endswith("-9")
    assert "[DONE]" not in response.text
    assert response.text.count('"error"') == 1
    assert '"finish_reason":"' not in response.text


@pytest.mark.parametrize(
    ("end", "reason", "logged"),
    [
        (Failed("ended with -9", 502, kind="WorkerDied"), "worker_died", False),
        (KeyError("secret"), "server_error", True),
    ],
)
def test_a_stream_that_breaks_midway_is_counted_once(end, reason, logged, caplog):
    engine = FakeEngine(plan(), [[TextDelta("Hel"), end]])
    with live_server(served(engine=engine)) as live:
        text = httpx2.post(live.url + CHAT, json=HI | {"stream": True}).text
        assert text.count('"error"') == 1
        assert "secret" not in text
        assert refusals(live) == {reason: 1}
    assert ("KeyError" in caplog.text) == logged


def test_a_stream_has_exactly_one_ending(http, engine):
    engine.scripts = [words("a b c")]
    text = http.post(CHAT, json=HI | {"stream": True}).text
    assert text.count("data: [DONE]") == 1
    assert text.count('"finish_reason":"stop"') == 1
    assert text.endswith("data: [DONE]\n\n")


def test_a_stream_tells_proxies_not_to_hold_it_back(http):
    headers = http.post(CHAT, json=HI | {"stream": True}).headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-cache"


def test_openais_routes_answer_without_v1_too(http):
    assert http.post("/chat/completions", json=HI).status_code == 200
    assert http.get("/models").json() == http.get("/v1/models").json()
