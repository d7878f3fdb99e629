"""Bytes that are valid HTTP, or nearly, and whose purpose is another."""

import socket
import time

import h11
import httpx2
import pytest
from server.server_fakes import live_server, served

from edgellm.server.door.access import Access
from edgellm.server.door.framing import BoundedConnection

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
)
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
CRUMB = b"1\r\n \r\n"


def received(data):
    """All bytes of the bodies in it."""
    connection = BoundedConnection(h11.SERVER)
    connection.receive_data(data)
    body = b""
    while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.Data):
            body += event.data
    return body


def asked(live, data):
    """Everything that comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.settimeout(60)
        answer = b""
        try:
            client.sendall(data)
            while piece := client.recv(65536):
                answer += piece
        except ConnectionError:
            pass
        return answer


def test_a_body_in_few_chunks_or_in_large_ones_is_read():
    assert len(received(CHUNKED + 1000 * CRUMB + b"0\r\n\r\n")) == 1000
    large = b"200\r\n" + b"a" * 512 + b"\r\n"
    assert len(received(CHUNKED + 5000 * large + b"0\r\n\r\n")) == 5000 * 512


def test_a_body_of_crumbs_is_not_read_to_its_end():
    with pytest.raises(h11.RemoteProtocolError, match="1033 chunks for 1033 bytes"):
        received(CHUNKED + 2000 * CRUMB)


def test_each_body_of_a_connection_has_its_own_crumbs():
    connection = BoundedConnection(h11.SERVER)
    for _ in range(3):
        connection.receive_data(CHUNKED + 1000 * CRUMB + b"0\r\n\r\n")
        while not isinstance(connection.next_event(), h11.EndOfMessage):
            pass
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()


def written(connection, asked, headers):
    """What it sends to who asked so, call by call."""
    connection.receive_data(asked)
    while not isinstance(connection.next_event(), h11.EndOfMessage):
        pass
    pieces = [h11.Data(data=piece) for piece in (b"data: a", b"", b"\n\n")]
    events = [h11.Response(status_code=200, headers=headers), *pieces, h11.EndOfMessage()]
    return [connection.send(event) for event in events]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_an_answer_is_written_as_h11_writes_it(version):
    asked = b"GET / HTTP/%b\r\nhost: localhost\r\n\r\n" % version
    for headers in ([], [("content-length", "9")]):
        ours, theirs = BoundedConnection(h11.SERVER), h11.Connection(h11.SERVER)
        assert written(ours, asked, headers) == written(theirs, asked, headers)


def test_an_answer_of_known_length_after_one_in_chunks_is_in_none():
    connection, asked = BoundedConnection(h11.SERVER), b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
    assert written(connection, asked, [])[1] == b"7\r\ndata: a\r\n"
    connection.start_next_cycle()
    assert written(connection, asked, [("content-length", "9")])[1] == b"data: a"
    with pytest.raises(h11.LocalProtocolError):
        connection.send(h11.Data(data=b"more"))


def test_who_sends_crumbs_without_end_is_hung_up_on():
    access = Access.of(keys=["secret"])  # who sends them has none
    with (
        live_server(served(), access=access) as live,
        socket.create_connection(("127.0.0.1", live.port)) as client,
    ):
        client.settimeout(60)
        with pytest.raises(ConnectionError):
            client.sendall(CHUNKED + 5_000_000 * CRUMB)
        assert httpx2.get(f"{live.url}/health").status_code == 200


def test_what_is_no_http_is_400_in_the_envelope():
    with live_server(served()) as live:
        answer = asked(live, b"\x16\x03\x01 hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed"' in answer


def test_who_asks_for_another_protocol_gets_http_and_the_log_no_advice(caplog):
    with live_server(served()) as live:
        headers = {"connection": "upgrade", "upgrade": "websocket"}
        assert httpx2.get(f"{live.url}/health", headers=headers).status_code == 200
    assert caplog.records == []


def test_a_body_whose_end_is_told_in_two_ways_is_400():
    smuggled = b"content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /x"
    with live_server(served()) as live:
        assert asked(live, HEAD + smuggled).startswith(b"HTTP/1.1 400 ")
        assert live.models.find("tiny").engine.asked == []


def test_nonsense_behind_an_answer_is_no_error_of_the_servers(caplog):
    access = Access.of(keys=["secret"])
    with live_server(served(), access=access) as live:
        answer = asked(live, CHUNKED + b"nonsense\r\n")
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 "))
        with socket.create_connection(("127.0.0.1", live.port)) as client:
            client.settimeout(60)
            client.sendall(CHUNKED)
            answer = b""
            while b"}}" not in answer:
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 401 ")
            client.sendall(b"nonsense\r\n")
            assert client.recv(65536) == b""
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_client_that_leaves_in_the_midst_of_its_body_is_no_error_of_the_servers(caplog):
    with live_server(served()) as live:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", live.port)) as client:
                client.sendall(HEAD + b"content-length: 100\r\n\r\n{")
                time.sleep(0.05)
        assert httpx2.get(f"{live.url}/health").status_code == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
