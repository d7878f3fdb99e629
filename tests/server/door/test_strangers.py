"""Connections that bring no HTTP: what they are told, and what the log is told of them."""

import logging
import socket
import ssl

import httpx2
import pytest
from server.server_fakes import live_server, refusals, served

from edgellm.server.door.strangers import TOLD_AGAIN_S, Telling, problem_of

HELLO = bytes.fromhex("16030100a5010000a10303") + bytes(160)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (HELLO, "tls"),
        (HELLO[:2], "tls"),
        (b"\x16", "malformed"),
        (b"", "malformed"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "malformed"),
        (b"\x05\x01\x00", "malformed"),  # SOCKS
    ],
)
def test_tls_is_told_from_other_noise(data, code):
    assert problem_of(data).code == code


def test_of_tls_the_log_hears_once_in_so_long_and_of_other_noise_never():
    telling, tls = Telling(), problem_of(HELLO)
    assert telling.line_for(problem_of(b"noise"), 5.0) is None
    assert "http://" in telling.line_for(tls, 5.0)
    assert telling.line_for(tls, 5.0 + TOLD_AGAIN_S - 1) is None
    assert telling.line_for(tls, 5.0 + TOLD_AGAIN_S) is not None
    assert telling.line_for(tls, 6.0 + TOLD_AGAIN_S) is None


def knock(live, data):
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.settimeout(60)
        client.sendall(data)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_noise_writes_no_line_of_the_log_and_is_counted(caplog):
    with live_server(served()) as live:
        for _ in range(5):
            assert b'"code":"malformed"' in knock(live, b"\x00\x01noise\r\n\r\n")
        assert refusals(live) == {"malformed": 5}
    assert caplog.records == []


def test_who_speaks_tls_to_the_plain_port_is_one_line_of_the_log(caplog):
    context = ssl.create_default_context()
    with live_server(served()) as live:
        for _ in range(3):
            address = ("127.0.0.1", live.port)
            with socket.create_connection(address, 5) as client, pytest.raises(ssl.SSLError):
                context.wrap_socket(client, server_hostname="localhost")
        answer = knock(live, HELLO)
        assert httpx2.get(f"{live.url}/health").status_code == 200
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"tls"' in answer
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("edgellm.server", logging.WARNING)
    assert "TLS" in record.message
