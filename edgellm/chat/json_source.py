"""JSON taken off a Source while it comes: passed on as it stands, or understood.

What stands bare in a string but may not (RFC 8259 §7: control characters, new lines before all)
is passed on as its escape, and so is half a surrogate pair, which UTF-8 has no bytes for.
"""

import json
import re
from collections.abc import Generator
from typing import TypeAlias

from edgellm.chat.source import SPACE, Broken, Reading, Source, Tell, Waiting

Pieces: TypeAlias = Generator[str | None, None, None]

_CLOSING = {"{": "}", "[": "]"}
_NESTED_STOPS = frozenset('"{}[]')
_STRING_STOPS = frozenset('"\\')
_BARE = re.compile("[\x00-\x1f\ud800-\udfff]")
_SCALAR_STOPS = frozenset(",]})<" + SPACE)  # "<": a format's mark


def tell_value(source: Source, tell: Tell) -> Reading[None]:
    """Tell the text of one value as it comes. Broken where it can be none.

    Only brackets and strings are followed: what is between them is the model's own affair.
    """
    for piece in value_pieces(source):
        yield None if piece is None else tell(piece)


def tell_quoted(source: Source, end: str, tell: Tell) -> Reading[None]:
    """Tell the text up to `end` as a JSON string. Broken where that doesn't come."""
    yield tell('"')
    _, found = yield from source.tell_until((end,), lambda text: tell(inside(text)), trims=False)
    if not found:
        raise Broken("a string does not end")
    yield tell('"')


def value_text(source: Source) -> Waiting[str]:
    """The text of one value, whole."""
    pieces = []
    for piece in value_pieces(source):
        if piece is None:
            yield None
        else:
            pieces.append(piece)
    return "".join(pieces)


def value_pieces(source: Source) -> Pieces:
    yield from source.skip()
    first = yield from source.peek()
    if first in _CLOSING:
        yield from _nested(source)
    elif first == '"':
        yield from _string(source)
    else:
        yield from _scalar(source)


def string(source: Source) -> Waiting[str]:
    """The next value, which must be a string, without its quotes and escapes."""
    yield from source.skip()
    if (yield from source.peek()) != '"':
        raise Broken("not a string")
    return unquoted((yield from value_text(source)))


def unquoted(text: str) -> str:
    """What a JSON string says. Broken where an escape in it is none."""
    try:
        said = json.loads(text)
    except ValueError as error:
        raise Broken("not a JSON string") from error
    assert isinstance(said, str)
    return said


def quoted(text: str) -> str:
    """A JSON string, in its own letters where they can be written."""
    return _escaped(json.dumps(text, ensure_ascii=False))


def inside(text: str) -> str:
    """A part of such a string, without its quotes."""
    return quoted(text)[1:-1]


def _escaped(text: str) -> str:
    return _BARE.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _nested(source: Source) -> Pieces:
    expected: list[str] = []
    while True:
        character = yield from source.peek()
        if character == '"':
            yield from _string(source)
        elif character in _CLOSING:
            expected.append(_CLOSING[character])
            yield source.take(1)
        elif character in ("}", "]", ""):
            if character != expected.pop():
                raise Broken("brackets don't match")
            yield source.take(1)
            if not expected:
                return
        else:
            yield (yield from source.take_run(_NESTED_STOPS))


def _string(source: Source) -> Pieces:
    yield source.take(1)
    while True:
        character = yield from source.peek()
        if not character:
            raise Broken("a string does not end")
        if character == "\\":  # told together with what it escapes
            source.take(1)
            yield character + (yield from source.peek())
            source.take(1)
            continue
        if character == '"':
            yield source.take(1)
            return
        yield _escaped((yield from source.take_run(_STRING_STOPS)))


def _scalar(source: Source) -> Pieces:
    text = yield from source.take_while(lambda character: character not in _SCALAR_STOPS)
    yield text
    if not is_json(text):
        raise Broken(f"{text[:20]!r} is no JSON")


def is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is Python's, not JSON's")
