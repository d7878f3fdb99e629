"""How far a download is: one line, drawn over on a terminal, and now and then elsewhere.

The line is never wider than the terminal: one that wraps can't be drawn over.
"""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from edgellm.tui.terminal import can_draw, columns, cut, draw_over, n_cells
from edgellm.units import DASH, format_bytes, format_seconds

_DRAW_EVERY_S = 0.1
_SAY_EVERY_S = 10.0
_BAR_CELLS = 24
_LEAST_BAR_CELLS = 6


class ProgressLine:
    """Is a models.download.Progress. `end` leaves the last state on the screen.

    As a block: whoever breaks it off by Ctrl-C is told how it goes on, if it does; `what` it is.
    """

    def __init__(
        self,
        name: str,
        out: TextIO | None = None,  # stderr
        clock: Callable[[], float] = time.monotonic,
        what: str | None = "download",
    ) -> None:
        self._name, self._out, self._clock = name, out or sys.stderr, clock
        self._what = what
        self._draws = can_draw(self._out)
        self._drawn_s: float | None = None
        self._newest: tuple[int, int, float | None] | None = None
        self._is_dirty = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        self.end()
        if kind is KeyboardInterrupt and (words := self._goes_on()):
            print(words, file=self._out, flush=True)

    def __call__(self, done_bytes: int, total_bytes: int, rate_bytes_s: float | None) -> None:
        before = self._newest[2] if self._newest else None
        rate = before if rate_bytes_s is None else rate_bytes_s
        self._newest = (done_bytes, total_bytes, rate)
        self._is_dirty = True
        every_s = _DRAW_EVERY_S if self._draws else _SAY_EVERY_S
        now_s = self._clock()
        rests = rate == 0 and before != 0  # for longer than a line is to be drawn again, maybe
        if rests or self._drawn_s is None or now_s - self._drawn_s >= every_s:
            self._drawn_s = now_s
            self._draw()

    def end(self) -> None:
        if self._is_dirty:
            self._draw()
        if self._draws and self._newest:
            print(file=self._out, flush=True)

    def _goes_on(self) -> str | None:
        return goes_on(*self._newest[:2], self._what) if self._newest and self._what else None

    def _draw(self) -> None:
        assert self._newest
        if self._draws:
            n_columns = columns(self._out) - 1
            draw_over(self._out, progress_text(self._name, *self._newest, n_columns))
        else:
            print(progress_text(self._name, *self._newest), file=self._out, flush=True)
        self._is_dirty = False


def progress_text(
    name: str,
    done_bytes: int,
    total_bytes: int,
    rate_bytes_s: float | None,
    n_columns: int | None = None,
) -> str:
    """ "qwen3:8b ███████·····  31 %  1.6 GiB of 5.0 GiB  24.0 MiB/s  2m24s left".

    In `n_columns` the bar gets shorter first, then goes, then the name loses its beginning.
    """
    ratio = min(1.0, done_bytes / total_bytes) if total_bytes else 1.0
    figures = f"{ratio:4.0%}  {format_bytes(done_bytes)} of {format_bytes(total_bytes)}"
    if rate_bytes_s == 0 and done_bytes < total_bytes:
        figures += "  nothing comes: trying again"
    elif rate_bytes_s and done_bytes < total_bytes:
        left_s = (total_bytes - done_bytes) / rate_bytes_s
        figures += f"  {format_bytes(int(rate_bytes_s))}/s  {format_seconds(left_s) or DASH} left"
    if n_columns is None:
        return f"{name} {bar(ratio, _BAR_CELLS)} {figures}"
    room = n_columns - len(figures) - 1  # for the name, and for a bar and its blank
    n_bar = min(_BAR_CELLS, room - n_cells(name) - 1)
    if n_bar >= _LEAST_BAR_CELLS:
        return f"{name} {bar(ratio, n_bar)} {figures}"
    if room < 2:
        return figures.strip()[: max(0, n_columns)]
    shown = name if n_cells(name) <= room else f"…{cut(name[::-1], room - 1)[::-1]}"
    return f"{shown} {figures}"


def bar(ratio: float, width: int) -> str:
    filled = int(width * ratio)
    return "█" * filled + "·" * (width - filled)


def goes_on(done_bytes: int, total_bytes: int, what: str = "download") -> str | None:
    """What is told of a download, or whatever it is, that was broken off. None: nothing of it is
    here, or all is."""
    if not 0 < done_bytes < total_bytes:
        return None
    return (
        f"the {what} is broken off: the same command goes on from {format_bytes(done_bytes)} "
        f"of {format_bytes(total_bytes)}"
    )
