"""A port that speaks TLS: who comes in, who is told what, and how it ends, on real sockets."""

import asyncio
import contextlib
import logging
import socket
import ssl
import threading

import httpx2
import pytest
from certificates import believing, certificate
from server.server_fakes import HANG, FakeEngine, live_server, plan, served, words

from edgellm.server.door.access import MAX_BODY_BYTES, Access
from edgellm.server.door.patience import Patience
from edgellm.server.serve import Bind
from edgellm.units import MIB

HI = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
HELLO = bytes.fromhex("16030100a5010000a10303")  # and no more of it
PATIENCE_S = 30.0


class HeldEngine(FakeEngine):
    """Says one word, and the others when it may."""

    may_go_on = None

    async def _play(self, script):
        async for event in super()._play(script):
            yield event
            await asyncio.to_thread(self.may_go_on.wait)


def held(go):
    engine = HeldEngine(plan(), [words("Hello there")])
    engine.may_go_on = go
    return engine


def live_tls(*models, **how):
    return live_server(*(models or (served(),)), bind=Bind(port=0, tls=certificate()), **how)


@pytest.fixture
def client():
    with httpx2.Client(verify=believing(), timeout=PATIENCE_S) as client:
        yield client


def plain(live):
    connection = socket.create_connection(("127.0.0.1", live.port), PATIENCE_S)
    connection.settimeout(PATIENCE_S)
    return connection


def shielded(live):
    return believing().wrap_socket(plain(live), server_hostname="localhost")


def all_of(connection):
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_an_answer_comes_by_tls_at_each_name_of_the_certificate(client):
    with live_tls() as live:
        assert live.url.startswith("https://127.0.0.1:")
        for name in ("127.0.0.1", "localhost"):
            with client.stream(
                "POST", f"https://{name}:{live.port}/v1/chat/completions", json=HI
            ) as answer:
                lines = list(answer.iter_lines())
            assert lines[-2:] == ["data: [DONE]", ""]


def test_who_is_asked_by_a_name_that_the_certificate_lacks_is_not_believed(client):
    with (
        live_server(served(), bind=Bind(port=0, tls=certificate("box"))) as live,
        pytest.raises(httpx2.ConnectError, match=r"not valid for '127.0.0.1'"),
    ):
        client.get(f"{live.url}/health")


def test_a_long_answer_comes_whole(client):
    text = " ".join(str(number) for number in range(5000))
    with live_tls(served(engine=FakeEngine(plan(), [words(text)]))) as live:
        answer = client.post(f"{live.url}/v1/chat/completions", json={**HI, "stream": False})
    assert answer.json()["choices"][0]["message"]["content"] == text


def test_an_answer_ends_where_its_client_goes():
    engine = FakeEngine(plan(), [[*words("Hello")[:1], HANG]])
    with live_tls(served(engine=engine)) as live:
        with (
            httpx2.Client(verify=believing()) as client,
            client.stream("POST", f"{live.url}/v1/chat/completions", json=HI) as answer,
        ):
            assert next(answer.iter_lines())
        assert engine.cancelled.wait(PATIENCE_S)


def test_an_answer_that_runs_is_finished_before_the_server_goes(client):
    """And idle clients that don't look at their connection don't hold it up."""
    go = threading.Event()
    engine = held(go)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(httpx2.Client(verify=believing())) for _ in range(3)]
        with live_tls(served(engine=engine), grace_s=PATIENCE_S) as live:
            for one in idle:
                assert one.get(f"{live.url}/health").status_code == 200
            with client.stream("POST", f"{live.url}/v1/chat/completions", json=HI) as answer:
                lines = answer.iter_lines()
                next(lines)
                live.gateway.stopping.set()
                go.set()
                assert list(lines)[-2:] == ["data: [DONE]", ""]
            live.thread.join(5)  # asyncio's TLS alone would wait 30 s for each
            assert not live.thread.is_alive()


def test_who_speaks_plain_http_is_told_so_and_the_log_hears_nothing(caplog):
    with live_tls() as live:
        for _ in range(3):
            answer = httpx2.get(f"http://127.0.0.1:{live.port}/health", timeout=PATIENCE_S)
            assert answer.status_code == 400
            assert answer.headers["connection"] == "close"
        error = answer.json()["error"]
        with httpx2.Client(verify=believing()) as client:
            found = client.get(f"{live.url}/metrics").text
    assert error["code"] == "no_tls"
    assert "https://" in error["message"]
    assert 'edgellm_refused_requests_total{reason="no_tls"} 3' in found
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_who_sends_a_whole_body_before_it_reads_is_told_so_too():
    with live_tls() as live, plain(live) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n")
        for _ in range(4):
            client.sendall(b" " * 1_000_000)
        client.shutdown(socket.SHUT_WR)
        assert all_of(client).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("noise", [b"\x00", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x16\x02\x00", b"\x05"])
def test_noise_is_answered_and_nothing_is_written(noise, caplog):
    with live_tls() as live:
        with plain(live) as client:
            client.sendall(noise)
            assert b'"code":"malformed"' in all_of(client)
        with plain(live) as client, contextlib.suppress(OSError):
            client.sendall(HELLO + bytes(300))  # it begins like one, and is none
            all_of(client)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_handshake_letter_by_letter_is_one():
    with live_tls() as live, plain(live) as connection:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        end = believing().wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                end.do_handshake()
                break
            except ssl.SSLWantReadError:
                for number in outgoing.read():
                    connection.sendall(bytes((number,)))
                incoming.write(connection.recv(65536))
        assert end.getpeercert()["subject"] == ((("commonName", "server"),),)


def test_a_handshake_has_the_time_of_a_head_and_no_more():
    with live_tls(patience=Patience(head_s=0.3)) as live, plain(live) as client:
        client.sendall(HELLO)
        assert all_of(client) == b""


def test_who_waits_in_the_handshake_makes_room_for_a_newcomer(client):
    with (
        live_tls(patience=Patience(settling_s=0.0), most=2) as live,
        contextlib.ExitStack() as stack,
    ):
        waiting = [stack.enter_context(plain(live)) for _ in range(8)]
        for one in waiting:
            one.sendall(HELLO)
        assert client.get(f"{live.url}/health").status_code == 200


def test_one_connection_is_one_though_it_came_through_a_handshake():
    """Where there is room for one, and it is being answered, nobody takes it twice."""
    with live_tls(most=1) as live, httpx2.Client(verify=believing()) as first:
        for _ in range(3):
            assert first.get(f"{live.url}/health").status_code == 200


def test_a_connection_too_many_is_told_so_by_tls():
    go = threading.Event()
    engine = held(go)
    with (
        live_tls(served(engine=engine), most=1) as live,
        httpx2.Client(verify=believing()) as one,
        one.stream("POST", f"{live.url}/v1/chat/completions", json=HI) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        with httpx2.Client(verify=believing()) as other:
            refused = other.get(f"{live.url}/health")
        go.set()
        assert list(lines)[-2:] == ["data: [DONE]", ""]
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "too_many_connections"


def test_who_sends_everything_before_it_reads_learns_that_its_body_is_too_large():
    n_bytes = MAX_BODY_BYTES + 4 * MIB
    with live_tls() as live, shielded(live) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n_bytes}"
        client.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode())
        for _ in range(n_bytes // MIB):
            client.sendall(b" " * MIB)
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_unix_socket_stays_plain(tmp_path):
    path = tmp_path / "e.sock"
    with (
        live_server(served(), bind=Bind(unix_path=path, tls=certificate())),
        httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))) as client,
    ):
        assert client.get("http://localhost/health").status_code == 200


def test_a_page_from_elsewhere_is_refused_by_tls_as_it_is_without(client):
    with live_tls(access=Access.of(keys=["k"])) as live:
        foreign = {"origin": "https://evil.example"}
        assert client.get(f"{live.url}/v1/models", headers=foreign).status_code == 403
        own = {"origin": f"https://127.0.0.1:{live.port}", "authorization": "Bearer k"}
        assert client.get(f"{live.url}/v1/models", headers=own).status_code == 200
        assert client.get(f"{live.url}/v1/models").status_code == 401
