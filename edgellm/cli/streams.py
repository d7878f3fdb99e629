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

from edgellm.tui.plain import OR_SO, ascii_cell, is_plain, utf8

_LIKE_IT = {
    "→": "->", "←": "<-", "…": "...", "±": "+-", "°": "", "█": "#", "▓": "=", "▒": "+", "░": ":",
}  # fmt: skip
_LOST = "edgellm.lost"


def mend_streams() -> None:
    """A closed one leads nowhere; what the encoding lacks is written as something like it. On a
    terminal of the C locale nothing is drawn but ASCII: Python would write UTF-8 there."""
    _open_closed()
    codecs.register_error(_LOST, like_it)
    codecs.register_error(OR_SO, like_it_or_so)
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, _LOST), (sys.stderr, _LOST)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
            if errors == _LOST and stream.isatty() and is_plain(_environ_as_given()):
                stream.reconfigure(encoding="ascii", errors=OR_SO)


def silence_stdout() -> None:
    """Nobody reads it, or it can't be written: what Python has still to write goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def like_it(error: UnicodeError) -> tuple[str | bytes, int]:
    """For the first character that can't be written. A byte of a file's name that is no UTF-8
    stays what it is: who reads the name is to find the file."""
    written, after = like_it_or_so(error)
    return written if isinstance(written, str) or len(written) == 1 else "?", after


def like_it_or_so(error: UnicodeError) -> tuple[str | bytes, int]:
    """As `like_it`, and what is like nothing is written in UTF-8."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start]
    after = error.start + 1
    if "\udc80" <= lost <= "\udcff":
        return bytes([ord(lost) - 0xDC00]), after
    like = _LIKE_IT.get(lost, ascii_cell(lost))
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
