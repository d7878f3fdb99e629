"""The three standard streams as they must be before a command says anything.

Whoever starts a program may have closed them, or chosen an encoding that has no "→": neither is a
reason to break.
"""

import codecs
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from edgellm.tui.plain import OR_UTF8, ascii_cell, is_plain, utf8

_ASCII = {  # of what is written as text; what is drawn keeps its width: tui/plain.py
    "→": "->", "←": "<-", "…": "...", "±": "+-", "°": "", "█": "#", "▓": "=", "▒": "+", "░": ":",
}  # fmt: skip
_OR_MARK = "edgellm.ascii"


def mend_streams() -> None:
    """A closed one is opened on /dev/null; what an encoding lacks is written as something like it.
    On a terminal of the C locale only ASCII is drawn: Python would write UTF-8 there."""
    _open_closed()
    codecs.register_error(_OR_MARK, ascii_or_question_mark)
    codecs.register_error(OR_UTF8, ascii_or_utf8)
    for stream, errors in (
        (sys.stdin, "replace"),
        (sys.stdout, _OR_MARK),
        (sys.stderr, _OR_MARK),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
            if errors == _OR_MARK and stream.isatty() and is_plain(_environ_as_given()):
                stream.reconfigure(encoding="ascii", errors=OR_UTF8)


def silence_stdout() -> None:
    """Nobody reads it, or it can't be written: what Python has still to write goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def ascii_or_question_mark(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of codecs: ASCII that is like the character, else "?". A byte of a file's
    name that is no UTF-8 stays what it is: who reads the name is to find the file."""
    written, after = ascii_or_utf8(error)
    return written if isinstance(written, str) or len(written) == 1 else "?", after


def ascii_or_utf8(error: UnicodeError) -> tuple[str | bytes, int]:
    """As `ascii_or_question_mark`, but what no ASCII is like is written in UTF-8."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start]
    after = error.start + 1
    if "\udc80" <= lost <= "\udcff":
        return bytes([ord(lost) - 0xDC00]), after
    like = _ASCII.get(lost, ascii_cell(lost))
    return utf8(lost) if like is None else like, after


def _environ_as_given() -> Mapping[str, str]:
    """Where it asks for the C locale, Python has written an LC_CTYPE of its own into it (PEP 538);
    Linux knows what was there before."""
    try:
        given = Path("/proc/self/environ").read_bytes()
    except OSError:
        return os.environ
    pairs = (one.partition(b"=") for one in given.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _open_closed() -> None:
    """Else the next file or socket gets the number, and what is said goes there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
