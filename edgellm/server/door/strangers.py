"""What comes in that is no HTTP: noise of scanners, TLS of clients that were told https://; and
what comes to a port of TLS and is none. Pure.

Each is answered and counted, and none has a line of the log for itself, or whoever knocks writes
it full. Only of TLS somebody has to hear: its client shows no more than a broken handshake.
"""

import re
from dataclasses import dataclass

from edgellm.server.envelope import HTTPProblem

TOLD_AGAIN_S = 600.0  # a program that tries on and on is one trouble

_HANDSHAKE = b"\x16\x03"  # a record's type, and its version's first number (RFC 8446, 5.1)
_NO_HTTP = HTTPProblem(400, "this is no HTTP request", code="malformed")
_TLS = HTTPProblem(
    400, "this is TLS, and the port speaks plain HTTP: ask for http://, not https://", code="tls"
)
_NO_TLS = HTTPProblem(400, "this is no TLS, which the port speaks", code="malformed")
_PLAIN = HTTPProblem(
    400, "this is plain HTTP, and the port speaks TLS: ask for https://, not http://", code="no_tls"
)
_REQUEST = re.compile(rb"[A-Z]{3,16} [/*h]")  # a method and the beginning of what it asks for


def is_handshake(data: bytes) -> bool:
    """As far as it has come."""
    return data[: len(_HANDSHAKE)] == _HANDSHAKE[: len(data)]


def problem_on_tls(data: bytes) -> HTTPProblem:
    """`data`: what came first, and is no handshake."""
    return _PLAIN if _REQUEST.match(data) else _NO_TLS


def problem_of(data: bytes) -> HTTPProblem:
    """`data`: what came, as far as it wasn't read."""
    return _TLS if data.startswith(_HANDSHAKE) else _NO_HTTP


@dataclass(eq=False, slots=True)
class Telling:
    """When somebody was told of TLS last."""

    told_s: float | None = None

    def line_for(self, problem: HTTPProblem, now_s: float) -> str | None:
        """What the log says of it; None where it says nothing."""
        if problem is not _TLS:
            return None
        if self.told_s is not None and now_s - self.told_s < TOLD_AGAIN_S:
            return None
        self.told_s = now_s
        return "a client speaks TLS to this port of plain HTTP: its address must begin with http://"
