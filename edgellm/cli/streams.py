"""The three standard streams as they must be before a command says anything.

Whoever starts a program may have closed them, or chosen an encoding that has no "→": neither is a
reason to break.
"""

import codecs
import io
import os
import sys

_LIKE_IT = {
    "→": "->", "←": "<-", "…": "...", "–": "-", "—": "-", "·": ".", "×": "x", "±": "+-", "°": "",
    "█": "#", "▓": "=", "▒": "+", "░": ":",
}  # fmt: skip
_LOST = "edgellm.lost"


def mend_streams() -> None:
    """A closed one leads nowhere; what the encoding lacks is written as something like it."""
    _open_closed()
    codecs.register_error(_LOST, like_it)
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, _LOST), (sys.stderr, _LOST)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def silence_stdout() -> None:
    """Nobody reads it, or it can't be written: what Python has still to write goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def like_it(error: UnicodeError) -> tuple[str | bytes, int]:
    """For the first character that can't be written. A byte of a file's name that is no UTF-8
    stays what it is: who reads the name is to find the file."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start]
    after = error.start + 1
    if "\udc80" <= lost <= "\udcff":
        return bytes([ord(lost) - 0xDC00]), after
    return _LIKE_IT.get(lost, "?"), after


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
