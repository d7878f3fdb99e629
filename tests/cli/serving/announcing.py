"""Servers that this machine is told of: real ones of this process, and strangers on a socket."""

import gzip
import socket
import threading
from contextlib import contextmanager

from edgellm.cli.serving import state
from edgellm.status import MAX_BYTES


@contextmanager
def announced(url, now_s=0.0, certificate=None):
    """As a server of this process is, that listens there."""
    with state.Announcement() as announcement:
        announcement.listening(url, now_s, certificate)
        yield announcement


@contextmanager
def http_server(answer, before=lambda: None):
    """Says these bytes to whoever asks; None: it takes the connection and says nothing. `before`
    is called when somebody has asked."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        saying = threading.Thread(target=_say, args=(sock, answer, before))
        if answer is not None:
            saying.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            sock.shutdown(socket.SHUT_RDWR)  # closing it would not wake the thread
            if answer is not None:
                saying.join()


def without_end(status):
    """What to say to be heard no longer than MAX_BYTES: it is little until it is unpacked."""
    body = gzip.compress(bytes(MAX_BYTES + 1))
    head = b"HTTP/1.1 %s\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _say(sock, answer, before):
    while True:
        try:
            connection, _ = sock.accept()
        except OSError:
            return  # the test is over
        with connection:
            connection.recv(65536)
            before()
            connection.sendall(answer)
