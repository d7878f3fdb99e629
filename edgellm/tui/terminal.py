"""What a terminal can do, before anything is drawn on it.

Two questions, and each has one answer for the screen, for progress lines and for faint text: can
written lines be drawn over, and does whoever sits there want colours.
"""

import os
import select
import unicodedata
from itertools import accumulate, takewhile
from typing import TextIO

_CANNOT_DRAW = ("", "dumb")  # an editor's shell window, a serial console, `env -i`
_COLUMNS = 80


def can_draw(out: TextIO) -> bool:
    return out.isatty() and why_not_drawn() is None


def is_in_front(out: TextIO) -> bool:
    """Not one that the shell runs behind (`serve … &`): where that draws a line, somebody types."""
    try:
        return os.tcgetpgrp(out.fileno()) == os.getpgrp()
    except OSError:  # a terminal that isn't the one of this session
        return True


def has_style(out: TextIO) -> bool:
    """Faint letters are colour, too: who set NO_COLOR wants none (https://no-color.org)."""
    return can_draw(out) and not os.environ.get("NO_COLOR")


def columns(out: TextIO) -> int:
    """80 where it does not say."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(out.fileno()).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def n_cells(text: str) -> int:
    """How many a terminal gives it: two to a wide letter (Chinese), none to a mark on another."""
    return sum(map(_n_cells, text))


def _n_cells(char: str) -> int:
    if unicodedata.combining(char) or char in "\u200c\u200d\ufe0e\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, most: int) -> str:
    """As much of its begin as `most` cells hold."""
    taken = accumulate(map(_n_cells, text))
    return text[: sum(1 for _ in takewhile(lambda n: n <= most, taken))]


def draw_over(out: TextIO, line: str = "") -> None:
    """In place of the line that stands there, which is gone then. Never wider than the terminal: a
    line that wraps can't be drawn over."""
    print(f"\r\x1b[K{cut(line, columns(out) - 1)}", end="", file=out, flush=True)


def is_gone(stream: TextIO | None) -> bool:
    """Its window was closed, or the connection to it: nothing will come from it any more."""
    if stream is None:
        return False
    poll = select.poll()
    poll.register(stream, 0)  # what is asked for besides: a hang-up is always told
    return any(told & (select.POLLHUP | select.POLLERR) for _, told in poll.poll(0))


def why_not_drawn() -> str | None:
    """The reason that the environment gives, as a clause. None: it gives none."""
    kind = os.environ.get("TERM", "")
    if kind not in _CANNOT_DRAW:
        return None
    return f"this terminal can't be drawn on (TERM is {kind or 'not set'})"
