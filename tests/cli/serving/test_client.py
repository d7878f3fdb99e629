import contextlib
import socket

import pytest
from server.server_fakes import FakeEngine, live_server, served, words

from edgellm.chat.events import Failed, TextDelta
from edgellm.cli.serving.client import Client, Message, url_of, url_of_environment
from edgellm.cli.serving.find import is_meant, server_of, statuses, the_server
from edgellm.errors import BadRequest, ModelNotFound, NotServing, Overloaded, WorkerDied
from edgellm.server.door.access import Access
from edgellm.status import ModelStatus, PlanStatus

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


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("box", "http://box:8484"),
        ("box:11434", "http://box:11434"),
        (":11434", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:8484"),
        ("[::]:80", "http://[::1]:80"),
        ("http://box:80/", "http://box:80"),
        ("https://box", "https://box:443"),
        ("unix:/run/e.sock", "unix:/run/e.sock"),
    ],
)
def test_a_host_becomes_a_url(text, url):
    assert url_of(text) == url


def test_the_environment_names_a_server(monkeypatch):
    assert url_of_environment() is None
    monkeypatch.setenv("EDGELLM_HOST", " box ")
    assert url_of_environment() == "http://box:8484"


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


def test_a_full_queue_is_raised_as_such(client, engine):
    engine.scripts = [Overloaded("the queue is full")]

    with pytest.raises(Overloaded, match="full"):
        list(client.chat("tiny", HELLO))


def test_closing_an_answer_early_cancels_it(client, engine):
    engine.scripts = [[TextDelta("word ")] * 10_000]
    pieces = client.chat("tiny", HELLO)
    next(pieces)
    pieces.close()

    assert engine.cancelled.wait(5)


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


def test_what_answers_but_is_no_edgellm_is_told_apart(live):
    with Client(live.url + "/v1") as client, pytest.raises(ModelNotFound):
        client.status()


def test_a_server_that_was_named_must_answer(monkeypatch):
    monkeypatch.setenv("EDGELLM_HOST", "127.0.0.1:1")

    with pytest.raises(NotServing):
        statuses()


def test_a_server_is_found_by_its_model(live, monkeypatch):
    monkeypatch.setenv("EDGELLM_HOST", live.url)

    found = server_of("TINY")
    assert found is not None
    assert found[1].name == "tiny"
    assert server_of("other") is None
    assert the_server()[0] == live.url
    with pytest.raises(NotServing, match="other"):
        the_server("other")


def test_without_any_server_the_hint_says_how_to_start_one():
    with pytest.raises(NotServing) as caught:
        the_server()
    assert "edgellm up" in caught.value.hint


def status_of(name, file="x.gguf"):
    plan = PlanStatus(
        file=file, quant="Q8_0", n_ctx=1, n_ctx_seq=1, n_parallel=1, kv_type_k="f16",
        kv_type_v="f16", n_threads=1, n_gpu_layers=0,
    )  # fmt: skip
    return ModelStatus(name=name, state="ready", plan=plan)


@pytest.mark.parametrize(
    ("text", "name", "meant"),
    [
        ("qwen3:8b", "qwen3:8b", True),
        ("Qwen3:8B", "qwen3:8b", True),
        ("qwen3", "qwen3:8b", False),
        ("org/repo", "hf.co/org/repo:Q8_0", True),
        ("hf.co/org/repo:Q8_0", "hf.co/org/repo:Q8_0", True),
        ("org/repo:Q4_0", "hf.co/org/repo:Q8_0", False),
        ("/models/x.gguf", "anything", True),
        ("/models/y.gguf", "anything", False),
    ],
)
def test_a_model_is_meant_by_its_name_or_its_file(text, name, meant):
    assert is_meant(text, status_of(name, "/models/x.gguf")) is meant


def test_a_unix_socket_is_a_server_too(engine, tmp_path):
    from edgellm.server.serve import Bind

    with live_server(served(engine=engine), bind=Bind(unix_path=tmp_path / "s")) as live:
        for url in (live.url, f"unix:{tmp_path / 's'}"):
            with Client(url) as client, contextlib.closing(client.chat("tiny", HELLO)) as pieces:
                assert "".join(piece.text for piece in pieces) == "Hello there"
