"""Clients that still send when their answer has been given, on real sockets."""

import contextlib
import socket
import time

import httpx2
import pytest
from server.door.test_connections import (
    SOON_S,
    connect,
    error_of,
    head_of,
    status_of,
    trickle,
)
from server.server_fakes import live_server, served

from edgellm.server.door.access import MAX_BODY_BYTES, Access
from edgellm.server.door.lingering import Lingering
from edgellm.server.door.patience import Patience
from edgellm.units import MIB

CLOSE = "connection: close"


def all_that_comes(client):
    """Up to the server's end. Raises ConnectionResetError."""
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


@pytest.mark.parametrize("more", [(), (CLOSE,)], ids=["stays", "closes"])
def test_who_sends_everything_before_it_reads_learns_that_its_body_is_too_large(more):
    n_bytes = MAX_BODY_BYTES + 24 * MIB
    with live_server(served()) as live, connect(live) as client:
        client.sendall(head_of(n_bytes, *more))
        client.sendall(b" " * n_bytes)
        time.sleep(0.1)
        client.shutdown(socket.SHUT_WR)
        answer = all_that_comes(client)
    assert status_of(answer) == 413
    assert error_of(answer)["message"] == f"the body is larger than {MAX_BODY_BYTES} bytes"


def test_the_end_is_told_at_once_and_what_comes_after_it_is_dropped_without_a_reset():
    with live_server(served(), access=Access.of(keys=["secret"])) as live, connect(live) as client:
        client.sendall(head_of(10**6, CLOSE))
        answer = all_that_comes(client)
        assert status_of(answer) == 401
        client.sendall(b" " * 500_000)
        time.sleep(0.1)
        client.sendall(b" " * 500_000)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_who_goes_on_and_on_is_cut_off_after_the_time_of_a_head():
    with (
        live_server(served(), patience=Patience(head_s=0.4)) as live,
        connect(live) as client,
    ):
        client.sendall(head_of(10**9, CLOSE))
        assert status_of(all_that_comes(client)) == 413
        trickle(client, b" " * 500, 0.02)
        with pytest.raises(ConnectionError):
            client.sendall(b" ")


def test_who_goes_on_sending_is_idle_and_makes_room_for_a_newcomer():
    with (
        live_server(served(), patience=Patience(settling_s=0.0), most=2) as live,
        contextlib.ExitStack() as clients,
    ):
        for _ in range(8):
            client = clients.enter_context(connect(live))
            client.sendall(head_of(10**9, CLOSE))
            assert status_of(all_that_comes(client)) == 413
        assert httpx2.get(f"{live.url}/health").status_code == 200


def test_a_server_that_stops_waits_for_nobody_who_only_sends():
    with live_server(served()) as live, connect(live) as client:
        client.sendall(head_of(10**9, CLOSE))
        assert status_of(all_that_comes(client)) == 413
        live.app.state.gateway.stopping.set()
        live.thread.join(SOON_S)
        assert not live.thread.is_alive()


class _Gone:
    def __init__(self):
        self.n_closed = 0

    def is_closing(self):
        return bool(self.n_closed)

    def write(self, data):
        raise AssertionError("nothing is left to say")

    def close(self):
        self.n_closed += 1

    def can_write_eof(self):
        return True

    def write_eof(self):
        raise OSError(107, "not connected")


def test_who_has_gone_meanwhile_is_not_waited_for():
    gone, lingered = _Gone(), []
    transport = Lingering(gone, lambda: True, lambda: lingered.append(1))
    transport.close()
    assert (gone.n_closed, lingered, transport.lingers) == (1, [], False)
