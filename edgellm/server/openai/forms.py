"""Forms with files (multipart/form-data) to their fields. Pure.

Sources: RFC 7578, RFC 2046 5.1.1. A field is what stands between two boundaries, byte for byte.
"""

import re

from edgellm.errors import BadRequest
from edgellm.server.body import Bytes

_MAX_FIELDS = 64
_MAX_HEAD_BYTES = 4096
# `; name="a \"b\""`, or without quotes (RFC 9110 5.6.6).
_PARAMETER = re.compile(r';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;]*+))')
_ESCAPED = re.compile(r"\\(.)")


def form_fields(body: Bytes, content_type: str) -> dict[str, bytes]:
    """By name; of several of one name the last. Raises BadRequest."""
    boundary = _parameter(content_type, "boundary")
    if not boundary:
        raise BadRequest("Content-Type: multipart/form-data needs a boundary")
    mark = b"--" + boundary.encode("latin-1", "replace")
    fields: dict[str, bytes] = {}
    at = body.find(mark)
    for _ in range(_MAX_FIELDS):
        begin = at + len(mark)
        if at >= 0 and body[begin : begin + 2] == b"--":
            return fields
        head_end = body.find(b"\r\n\r\n", begin, begin + _MAX_HEAD_BYTES)
        end = body.find(b"\r\n" + mark, head_end + 4)
        if min(at, head_end, end) < 0:
            raise BadRequest("the form is damaged, or breaks off before its last boundary")
        if name := _name(bytes(body[begin:head_end])):
            fields[name] = bytes(body[head_end + 4 : end])
        at = end + 2
    raise BadRequest(f"a form of more than {_MAX_FIELDS} fields")


def _name(head: bytes) -> str | None:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().casefold() == "content-disposition":
            return _parameter(value, "name")
    return None


def _parameter(value: str, name: str) -> str | None:
    """In a time that grows with the length: the standard library's takes its square."""
    for found in _PARAMETER.finditer(value):
        if found[1].casefold() == name:
            return found[3] if found[2] is None else _ESCAPED.sub(r"\1", found[2])
    return None
