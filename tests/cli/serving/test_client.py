import contextlib
import socket

import pytest
from cli.serving.announcing import http_server, without_end
from server.server_fakes import FakeEngine, live_server, served, words

from edgellm.chat.events import Failed, TextDelta
from edgellm.cli.serving.client import Client
from edgellm.errors import (
    BadRequest,
    EdgellmError,
    KeyRefused,
    ModelNotFound,
    NotServing,
    Overloaded,
    WorkerDied,
)
from edgellm.server.door.access import Access
from edgellm.tui.told.questions import Message

HELLO = (Message("user", "Hello"),)


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def live(engine):
    with live_server(served(engine=engine)) as live:
        yield live


@pytest.fixture
def client(live):
    with Client(live.url) as client:
        yield client


def test_an_answer_comes_in_pieces_with_its_timings_at_the_end(client, engine):
    engine.scripts = [words("Hello there")]

    pieces = list(client.chat("tiny", HELLO))

    assert "".join(piece.text for piece in pieces) == "Hello there"
    assert [piece.reason for piece in pieces if piece.reason] == ["stop"]
    (timings,) = [piece.timings for piece in pieces if piece.timings]
    assert (timings.cache_n, timings.prompt_n, timings.predicted_n) == (3, 4, 2)


def test_what_the_caller_says_of_sampling_arrives(client, engine):
    list(client.chat("tiny", HELLO, temperature=0, max_tokens=5))

    _, params = engine.asked[-1]
    assert (params.sampling.temperature, params.max_tokens) == (0, 5)


def test_a_failure_in_the_middle_is_raised_with_its_words(client, engine):
    engine.scripts = [[TextDelta("Hel"), Failed("the process ended", 502)]]

    with pytest.raises(WorkerDied, match="the process ended"):
        list(client.chat("tiny", HELLO))


def test_an_unknown_model_is_raised_as_such(client):
    with pytest.raises(ModelNotFound, match="nope"):
        list(client.chat("nope", HELLO))


def test_a_bad_parameter_is_raised_as_such(client):
    with pytest.raises(BadRequest, match="temperature"):
        list(client.chat("tiny", HELLO, temperature=11))


def test_what_is_no_json_is_a_bad_request(client):
    with pytest.raises(BadRequest, match="JSON"):
        list(client.chat("tiny", HELLO, temperature=object()))


def test_a_full_queue_is_raised_as_such(client, engine):
    engine.scripts = [Overloaded("the queue is full")]

    with pytest.raises(Overloaded, match="full"):
        list(client.chat("tiny", HELLO))


def test_closing_an_answer_early_cancels_it(client, engine):
    engine.scripts = [[TextDelta("word ")] * 10_000]
    pieces = client.chat("tiny", HELLO)
    next(pieces)
    pieces.close()

    assert engine.cancelled.wait(60)


def test_nobody_listens():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with Client(url) as client, pytest.raises(NotServing, match="no server at"):
            client.status()


def test_a_key_is_taken_from_the_environment(engine, monkeypatch):
    with live_server(served(engine=engine), access=Access.of(keys=["secret"])) as live:
        with Client(live.url) as client, pytest.raises(NotServing) as caught:
            client.status()
        assert "EDGELLM_API_KEY" in caught.value.hint
        monkeypatch.setenv("EDGELLM_API_KEY", "secret")
        with Client(live.url) as client:
            assert client.status().models[0].name == "tiny"


def test_whoever_brings_a_key_of_his_own_sends_no_other(engine, monkeypatch):
    monkeypatch.setenv("EDGELLM_API_KEY", "secret")
    keys = ["secret"]
    with (
        live_server(served(engine=engine), access=Access.of(keys=["secret"])) as live,
        Client(live.url, lambda: next(iter(keys), None)) as client,
    ):
        assert client.status().models[0].name == "tiny"
        keys.clear()
        with pytest.raises(KeyRefused):
            client.status()


def test_what_answers_but_is_no_edgellm_is_told_apart():
    with (
        http_server(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno") as url,
        Client(url) as client,
        pytest.raises(NotServing, match="it answered 404"),
    ):
        client.status()


def answered(status_line, body, header=b"x: y"):
    length = b"content-length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 " + status_line, length, header, b"", body))


@pytest.mark.parametrize(
    "answer",
    [
        answered(b"200 OK", b'{"version":"\xff"}'),
        answered(b"500 Broken", b'{"error":{"message":"\xff\xfe"}}'),
        answered(b"200 OK", b'{"z":' + b"[" * 99_999 + b"]" * 99_999 + b"}"),
        answered(b"200 OK", b"xxxx", b"content-encoding: gzip"),
        answered(b"302 Found", b"", b"location: http://[::1"),
    ],
)
def test_whatever_a_stranger_answers_is_no_server_of_ours(answer):
    with http_server(answer) as url, Client(url) as client:
        with pytest.raises(NotServing, match=r"another version|no edgellm"):
            client.status()
        with pytest.raises(EdgellmError):
            client.complete("m", [1])
        with pytest.raises(EdgellmError):
            client.tokenize("m", "x")


def test_an_answer_without_an_end_is_no_server_of_ours():
    with http_server(without_end(b"200 OK")) as url, Client(url) as client:
        asked = (
            client.status,
            client.shutdown,
            lambda: client.tokenize("m", "x"),
            lambda: client.complete("m", [1]),
        )
        for ask in asked:
            with pytest.raises(NotServing, match=r"no edgellm at .*: its answer has no end"):
                ask()


def test_a_server_may_be_below_a_path(live):
    with Client(live.url + "/below/") as client, pytest.raises(NotServing) as caught:
        client.status()
    assert "/below/edgellm/status is not served here" in str(caught.value)


def test_a_unix_socket_is_a_server_too(engine, tmp_path, monkeypatch):
    from edgellm.server.serve import Bind

    with live_server(served(engine=engine), bind=Bind(unix_path=tmp_path / "s")) as live:
        monkeypatch.setenv("HOME", str(tmp_path))
        for url in (live.url, f"unix:{tmp_path / 's'}", "unix:~/s"):
            with Client(url) as client, contextlib.closing(client.chat("tiny", HELLO)) as pieces:
                assert "".join(piece.text for piece in pieces) == "Hello there"
