"""Web pages of other origins: which of them may ask here, and what their browsers are told. Pure.

A browser asks first, by OPTIONS and without a key, whether the page may send what it wants to; and
it hides an answer from the page that doesn't name its origin, errors too. Keys come in headers of
the page's own, so cookies and the like are never allowed. (WHATWG, Fetch: CORS protocol)
"""

from collections.abc import Mapping
from typing import TypeAlias

Fields: TypeAlias = list[tuple[bytes, bytes]]

ANY = "*"
_ASKED_METHOD = "access-control-request-method"
_ASKED_HEADERS = "access-control-request-headers"
_ASKED_NETWORK = "access-control-request-private-network"
_MAX_AGE_S = b"600"


def is_allowed(headers: Mapping[str, str], origins: frozenset[str]) -> bool:
    """`origins` as they are in a header, in lower case; any, where "*" is among them."""
    origin = headers.get("origin")
    return origin is not None and (ANY in origins or origin.casefold() in origins)


def is_question(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks for what a page wants to send."""
    return method == "OPTIONS" and "origin" in headers and _ASKED_METHOD in headers


def told(headers: Mapping[str, str], origins: frozenset[str]) -> Fields:
    """With every answer. A cache must not give one page what is another's."""
    if not origins:
        return []
    fields = [(b"vary", b"Origin")]
    if is_allowed(headers, origins):
        fields.append((b"access-control-allow-origin", headers["origin"].encode("latin-1")))
        fields.append((b"access-control-expose-headers", b"*"))
    return fields


def reply(headers: Mapping[str, str]) -> Fields:
    """To the question of a page that may: whatever it asks for. What it then sends is looked at
    like everybody's."""
    fields = [
        (b"access-control-allow-methods", headers[_ASKED_METHOD].encode("latin-1")),
        (b"access-control-max-age", _MAX_AGE_S),
        (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    if names := headers.get(_ASKED_HEADERS):
        fields.append((b"access-control-allow-headers", names.encode("latin-1")))
    if headers.get(_ASKED_NETWORK) == "true":  # a page of the web asks a machine at home
        fields.append((b"access-control-allow-private-network", b"true"))
    return fields
