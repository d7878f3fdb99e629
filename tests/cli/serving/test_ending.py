import os
import socket
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest
from cli.serving.announcing import announced, http_server
from server.server_fakes import FakeEngine, live_server, served

from edgellm.cli.serving import state
from edgellm.cli.serving.client import Client
from edgellm.cli.serving.ending import end_all
from edgellm.cli.serving.find import Found, look

TAKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
_NOBODY = 2**22 + 1  # no process has a number beyond Linux's highest


@pytest.fixture
def live():
    with live_server(served(engine=FakeEngine())) as live:
        yield live


def test_a_server_that_ends_in_time_has_ended(live):
    with announced(live.url):
        found = look()
    assert end_all(found, 5.0) == ((live.url,), ())
    live.thread.join(60)
    assert not live.thread.is_alive()


def test_a_server_that_unloads_its_models_yet_has_not_ended(live):
    with announced(live.url) as announcement:
        found = look()
        announcement.stopping()
        ended, (late,) = end_all(found, 0.1)
    assert ended == ()
    assert (late.url, late.pid) == (live.url, os.getpid())
    assert "still ending after 0.1 s" in str(late.error)


def test_without_a_wait_it_is_told_and_that_is_all(live):
    with announced(live.url):
        assert end_all(look(), 0.0) == ((live.url,), ())


def test_one_that_winds_up_already_is_waited_for_and_told_nothing():
    with http_server(b"HTTP/1.1 500 No\r\n\r\n") as url, announced(url) as announcement:
        announcement.stopping()
        found = Found(stopping=state.alive())
        _, (late,) = end_all(found, 0.1)
    assert "still ending" in str(late.error)
    assert end_all(found, 0.1) == ((url,), ())


def test_one_that_winds_up_before_it_is_told_ends_as_the_others_do(live):
    with announced(live.url):
        ((_, status),) = look().answering
        with http_server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as stranger:
            found = Found(((stranger, status),))
            with announced(stranger) as announcement:
                announcement.stopping()
                ended, (late,) = end_all(found, 0.1)
            assert (ended, "still ending" in str(late.error)) == ((), True)
        assert end_all(found, 0.1) == ((stranger,), ())


def asked(url):
    with Client(url) as client:
        return client.status()


def told_to_end(status, url):
    """A server that takes the word, and goes on to listen; no file says that it runs here."""
    return end_all(Found(((url, status),)), 0.1)


def test_one_without_a_file_goes_on_while_its_process_lives_and_its_port_is_open(live, monkeypatch):
    status = asked(live.url)
    with http_server(TAKEN) as url:
        monkeypatch.setenv("EDGELLM_HOST", url)
        _, (late,) = told_to_end(status, url)
        assert "still ending after 0.1 s" in str(late.error)


@pytest.fixture
def worker():
    """A process of ours that ends when it is told to, as one with a model does."""
    with subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE) as process:
        yield process


def with_worker(status, pid):
    model = msgspec.structs.replace(status.models[0], pid=pid)
    return msgspec.structs.replace(status, models=(model,))


def test_one_without_a_file_has_ended_when_its_models_are_unloaded(worker, live):
    """Nobody listens there meanwhile."""
    with announced(live.url):
        found = look()
    ((url, status),) = found.answering
    server = Found(((url, with_worker(status, worker.pid)),))
    _, (late,) = end_all(server, 0.1)
    assert "still ending after 0.1 s" in str(late.error)
    live.thread.join(60)
    worker.communicate(b"\n")
    assert end_all(server, 0.1) == ((url,), ())


@pytest.mark.parametrize("pid", [os.getppid(), _NOBODY, 1 << 70, -1])
def test_a_worker_that_is_no_child_of_the_server_is_not_waited_for(pid, live):
    """The status is another machine's, and the number somebody else's here."""
    with announced(live.url):
        ((url, status),) = look().answering
    assert end_all(Found(((url, with_worker(status, pid)),)), 5.0) == ((url,), ())


@pytest.mark.parametrize("pid", [_NOBODY, 1 << 70])
def test_one_without_a_file_has_ended_with_its_process(pid, live, monkeypatch):
    """Another's port may be open in its place."""
    status = msgspec.structs.replace(asked(live.url), pid=pid)
    with http_server(TAKEN) as url:
        monkeypatch.setenv("EDGELLM_HOST", url)
        assert told_to_end(status, url) == ((url,), ())


def test_of_one_behind_a_proxy_no_end_is_seen(live, monkeypatch):
    """The proxy goes on to listen, and the process has another machine's number."""
    status = asked(live.url)
    with http_server(TAKEN) as proxy:
        url = f"{proxy}/box"
        monkeypatch.setenv("EDGELLM_HOST", url)
        assert told_to_end(status, url) == ((url,), ())


def test_one_at_a_socket_without_a_file_has_ended_when_nobody_listens_there(tmp_path):
    place = tmp_path / "edgellm.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place))
        sock.listen()
        server = state.Running(
            url=f"unix://{place}", pid=os.getpid(), identity="", listening_since_s=0.0
        )
        found = Found(stopping=(server,))
        _, (late,) = end_all(found, 0.1)
    assert "still ending" in str(late.error)
    assert end_all(found, 0.1) == ((server.url,), ())


def test_one_that_was_named_and_cannot_be_told_has_not_ended(live):
    """It may be another machine's, of whose end nothing can be seen."""
    with announced(live.url):
        ((_, status),) = look().answering
    with http_server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as broken:
        _, (left,) = end_all(Found(((broken, status),), is_named=True), 0.1)
    assert "it answered 500" in str(left.error)


def test_one_that_cannot_be_told_keeps_no_other_from_its_end(live):
    with announced(live.url):
        found = look()
    ((_, status),) = found.answering
    with (
        http_server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as broken,
        announced(broken),
    ):
        both = replace(found, answering=((broken, status), *found.answering))
        ended, (left,) = end_all(both, 5.0)
    assert (ended, left.url) == ((live.url,), broken)
