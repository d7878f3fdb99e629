"""Clients on real sockets that hold a place, and those beside them that only want an answer."""

import gc
import json
import re
import resource
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import httpx2
import pytest
from server.server_fakes import (
    HANG,
    FakeEngine,
    SlowEngine,
    live_server,
    plan,
    refusals,
    served,
    words,
)

from edgellm.chat.events import TextDelta
from edgellm.server.door.access import Access
from edgellm.server.door.connections import Connection, most_connections
from edgellm.server.door.patience import Patience

CHAT = "/v1/chat/completions"
HI = {"messages": [{"role": "user", "content": "Hi"}]}
SOON_S = 20.0  # less than the usual patience, more than any machine takes
HASTE = Patience(head_s=0.4, body_s=0.4, least_body_bytes_s=200, settling_s=0.0)


def head_of(length, *more):
    lines = (f"POST {CHAT} HTTP/1.1", "host: localhost", "content-type: application/json",
             f"content-length: {length}", *more)  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode()


def connect(live):
    client = socket.create_connection(("127.0.0.1", live.port))
    client.settimeout(SOON_S)
    return client


def until_closed(client):
    """All that comes. The kernel may say that what we sent last came too late."""
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


def trickle(client, data, every_s):
    """A byte now and then, until the server has hung up."""
    try:
        for byte in data:
            client.sendall(bytes([byte]))
            time.sleep(every_s)
    except OSError:
        pass


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


def error_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@contextmanager
def asking(live, body=HI):
    """A client in whose request something is being answered, until the block ends."""
    data = json.dumps(body).encode()
    with connect(live) as client:
        client.sendall(head_of(len(data)) + data)
        yield client


def test_a_head_that_trickles_in_is_408():
    with live_server(served(), patience=HASTE) as live, connect(live) as client:
        threading.Thread(target=trickle, args=(client, head_of(5, "x: " + "a" * 500), 0.02)).start()
        answer = until_closed(client)
        assert refusals(live) == {"head_too_slow": 1}
    assert status_of(answer) == 408
    assert error_of(answer)["message"] == "no whole head came within 0.4 s"
    assert b"connection: close" in answer.lower()


def test_a_silent_connection_is_closed_without_a_word():
    with live_server(served(), patience=HASTE) as live, connect(live) as client:
        began_s = time.monotonic()
        assert until_closed(client) == b""
        assert 0.3 < time.monotonic() - began_s < SOON_S


def test_a_second_head_has_no_more_time_than_the_first():
    with live_server(served(), patience=HASTE) as live, connect(live) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert status_of(client.recv(65536)) == 200
        threading.Thread(target=trickle, args=(client, head_of(5, "x: " + "a" * 500), 0.02)).start()
        assert status_of(until_closed(client)) == 408


def test_a_head_in_pieces_is_answered_in_time():
    with live_server(served(), patience=Patience(head_s=SOON_S)) as live, connect(live) as client:
        for piece in (b"GET /health HT", b"TP/1.1\r\nhost: local", b"host\r\n\r\n"):
            client.sendall(piece)
            time.sleep(0.08)
        assert status_of(client.recv(65536)) == 200


def test_a_body_that_stops_is_408_and_says_how_much_came():
    with live_server(served(), patience=HASTE) as live, connect(live) as client:
        client.sendall(head_of(1000) + b'{"messages"')
        answer = until_closed(client)
        assert refusals(live) == {"body_too_slow": 1}
    assert status_of(answer) == 408
    words = error_of(answer)["message"]
    assert re.match(r"the body came too slowly: 11 bytes of it in \d+\.\d s", words)
    assert b"connection: close" in answer.lower()


def test_a_body_that_trickles_in_is_408():
    with live_server(served(), patience=HASTE) as live, connect(live) as client:
        client.sendall(head_of(1000))
        threading.Thread(target=trickle, args=(client, b" " * 1000, 0.02)).start()
        assert status_of(until_closed(client)) == 408


def test_a_slow_but_steady_body_takes_as_long_as_it_takes():
    """Each piece earns as much as the longest hiccup may take."""
    data, patience = b" " * 600 + json.dumps(HI).encode(), replace(HASTE, least_body_bytes_s=20)
    with live_server(served(), patience=patience) as live, connect(live) as client:
        client.sendall(head_of(len(data)) + data[:40])
        began_s = time.monotonic()
        for start in range(40, len(data), 40):
            client.sendall(data[start : start + 40])
            time.sleep(0.08)
        assert time.monotonic() - began_s > 2 * HASTE.body_s
        assert status_of(client.recv(65536)) == 200


def test_what_is_left_of_a_refused_body_is_not_waited_for():
    access = Access.of(keys=["secret"])
    with live_server(served(), patience=HASTE, access=access) as live, connect(live) as client:
        client.sendall(head_of(10**6))
        assert status_of(client.recv(65536)) == 401
        began_s = time.monotonic()
        threading.Thread(target=trickle, args=(client, b" " * 1000, 0.1)).start()
        until_closed(client)
        assert time.monotonic() - began_s < SOON_S


def test_an_answer_may_take_longer_than_a_head():
    engine = SlowEngine(plan(), [words(" ".join("abcdefghijklmnop"))])
    with live_server(served(engine=engine), patience=HASTE) as live:
        body = HI | {"stream": True}
        with httpx2.stream("POST", live.url + CHAT, json=body, timeout=60) as response:
            text = "".join(response.iter_text())
    assert text.endswith("data: [DONE]\n\n")


def test_clients_that_only_hold_connections_keep_nobody_out():
    engine = SlowEngine(plan(), [words(" ".join("abcdefghij"))])
    with (
        live_server(served(engine=engine), patience=Patience(settling_s=0.0), most=10) as live,
        ExitStack() as clients,
        asking(live, HI | {"stream": True}) as reader,
    ):
        assert engine.begun.wait(SOON_S)
        holders = [clients.enter_context(connect(live)) for _ in range(50)]
        for holder in holders:
            holder.sendall(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(20):
            assert httpx2.get(f"{live.url}/health").status_code == 200
        assert until_closed(holders[0]) == b""
        data = b""
        while b"[DONE]" not in data:
            piece = reader.recv(65536)
            assert piece, "the stream was cut"
            data += piece


@pytest.mark.slow
def test_an_idle_connection_is_kept_longer_than_its_client_keeps_it_but_not_from_a_newcomer():
    def is_answered(client):
        client.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        data = client.recv(65536)
        while data and not data.endswith(b"}"):
            data += client.recv(65536)
        return data.startswith(b"HTTP/1.1 200 ")

    with (
        live_server(served(), patience=Patience(settling_s=0.0), most=3) as live,
        ExitStack() as clients,
    ):
        kept = [clients.enter_context(connect(live)) for _ in range(3)]
        assert all(map(is_answered, kept))
        time.sleep(5.2)  # httpx, too, keeps one for 5 s
        assert all(map(is_answered, kept))
        assert httpx2.get(f"{live.url}/health").status_code == 200
        assert until_closed(kept[0]) == b""
        assert is_answered(kept[1])


def test_where_all_are_being_answered_a_newcomer_is_503():
    engine = FakeEngine(plan(), [[TextDelta("Hel"), HANG]])
    with live_server(served(engine=engine), patience=HASTE, most=3) as live:
        with ExitStack() as clients:
            for _ in range(3):
                clients.enter_context(asking(live))
            deadline_s = time.monotonic() + SOON_S
            while engine.n_open < 3:
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
            refused = httpx2.get(f"{live.url}/v1/models")
            assert refused.status_code == 503
            assert refused.json()["error"]["type"] == "unavailable_error"
            assert refused.headers["retry-after"] == "2"
            assert refused.headers["connection"] == "close"
        assert engine.n_open <= 3
        while engine.n_open:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        assert httpx2.get(f"{live.url}/v1/models").status_code == 200
        assert refusals(live) == {"too_many_connections": 1}


def test_a_young_connection_is_never_closed_for_a_newcomer():
    with (
        live_server(served(), patience=Patience(settling_s=60.0), most=2) as live,
        connect(live) as first,
        connect(live) as second,
    ):
        first.sendall(b"GET /health")
        second.sendall(b"GET /health")
        assert httpx2.get(f"{live.url}/health").status_code == 503
        for client in (first, second):
            client.sendall(b" HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert status_of(client.recv(65536)) == 200


def is_let_in(live):
    with suppress(httpx2.TransportError):  # many are turned away without a word
        return httpx2.get(f"{live.url}/health").status_code == 200


def test_after_a_flood_newcomers_get_in_again():
    patience = Patience(settling_s=0.3)
    with live_server(served(), patience=patience, most=10) as live, ExitStack() as clients:
        flood = [clients.enter_context(connect(live)) for _ in range(200)]
        for one in flood:
            with suppress(ConnectionError):
                one.sendall(b"GET / HTTP/1.1\r\nx: ")
        deadline_s = time.monotonic() + SOON_S
        while not is_let_in(live):  # the last are young yet
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        for _ in range(3):
            assert httpx2.get(f"{live.url}/health").status_code == 200


@pytest.mark.parametrize(("soft", "hard", "most"), [(300, 4096, 2048), (300, 400, 208)])
def test_as_many_connections_as_the_system_lets_this_process_have(soft, hard, most):
    program = textwrap.dedent(f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
        from edgellm.server.door.connections import Connection, most_connections
        print(most_connections(0), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    """)
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert [int(word) for word in shown] == [most, most + 192]


def test_there_are_more_connections_than_places_in_the_queue():
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 9000:
        pytest.skip("this system lets a process have fewer files")
    assert most_connections(512) == 2048
    assert most_connections(2000) == 8000


@pytest.fixture
def unswept():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("how", ["whole", "streamed", "refused", "left"])
def test_who_has_gone_leaves_nothing_that_waits_to_be_swept(unswept, how):
    with live_server(served()) as live:
        if how == "left":
            with asking(live, {**HI, "stream": True}) as client:
                assert client.recv(65536)
        else:
            body = {**HI, "stream": how == "streamed", "model": how if how == "refused" else None}
            answer = httpx2.post(f"{live.url}{CHAT}", json=body)
            assert answer.status_code == (404 if how == "refused" else 200)
    assert not [one for one in gc.get_objects() if isinstance(one, Connection)]
