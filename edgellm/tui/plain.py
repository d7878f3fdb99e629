"""The screen where the terminal has no more than ASCII: lines and bars of letters, a cell for a
cell, so that everything stays in its place.

Only what draws is replaced. What a model says passes as it is: it is not ours to spoil.
"""

import codecs
import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

Handler = Callable[[UnicodeError], tuple[str | bytes, int]]

OR_UTF8 = "edgellm.plain"  # the errors of a stream of the C locale: what is said passes as UTF-8
_CELLS, _CELLS_OR_UTF8 = "edgellm.cells", "edgellm.plain-cells"
_SIGNS = {
    "→": ">", "←": "<", "↑": "^", "↓": "v", "⏎": "<", "…": "~", "–": "-", "—": "-", "·": ".",
    "×": "x", "±": "+", "°": " ", "“": '"', "”": '"', "●": "*", "○": "o", "◌": "o", "✗": "x",
    "✓": "v", "▶": ">", "■": "#", "↻": "@",
}  # fmt: skip
_LIGHT, _HEAVY, _BROKEN = "─╴╶", "━┅┉╍═╸╺╼╾", "┄┈╌"  # a bar where it is empty, full, unknown
_VERTICAL = "│┃┆┇┊┋╎╏║╵╷╹╻╽╿"
_LINES = {
    sign: cell
    for signs, cell in ((_LIGHT, "-"), (_HEAVY, "="), (_BROKEN, "."), (_VERTICAL, "|"))
    for sign in signs
}
_HEIGHTS = "-_.--==##"  # of U+2580 …: the upper half, then an eighth to eight
_DOTS = " ..::++##"  # by how many of a Braille cell's eight are there


def ascii_cell(char: str) -> str | None:
    """What is drawn in its place, of one cell; None: it draws nothing, it says something."""
    code = ord(char)
    if 0x2500 <= code < 0x2580:
        return _LINES.get(char, "+")
    if 0x2580 <= code < 0x25A0:
        return _HEIGHTS[code - 0x2580] if code <= 0x2588 else "|" if code <= 0x2590 else "#"
    if 0x2800 <= code < 0x2900:
        return _DOTS[(code - 0x2800).bit_count()]
    return _SIGNS.get(char)


def is_plain(environ: Mapping[str, str]) -> bool:
    """Whether the C locale was asked for. That none is named says nothing: so it is in containers,
    and their terminals draw what they are sent."""
    named = (environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    return next(filter(None, named), "") in ("C", "POSIX")


@contextlib.contextmanager
def in_cells(out: TextIO | None) -> Iterator[None]:
    """While it lasts, what the encoding of `out` lacks takes the cells that it would have taken."""
    if not isinstance(out, io.TextIOWrapper):
        yield
        return
    before = out.errors
    out.reconfigure(errors=_CELLS_OR_UTF8 if before == OR_UTF8 else _CELLS)
    try:
        yield
    finally:
        out.reconfigure(errors=before)


def utf8(char: str) -> bytes:
    """For who knows better than the locale what his terminal shows."""
    return char.encode(errors="replace")


def _in_place_of(otherwise: Callable[[str], str | bytes]) -> Handler:
    def handle(error: UnicodeError) -> tuple[str | bytes, int]:
        assert isinstance(error, UnicodeEncodeError)
        char = error.object[error.start]
        drawn = ascii_cell(char)
        return otherwise(char) if drawn is None else drawn, error.start + 1

    return handle


codecs.register_error(_CELLS, _in_place_of(lambda char: "?"))
codecs.register_error(_CELLS_OR_UTF8, _in_place_of(utf8))
