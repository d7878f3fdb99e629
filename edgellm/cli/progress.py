"""How far a download is: one line, drawn over on a terminal, and now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from edgellm.units import DASH, format_bytes, format_seconds

_DRAW_EVERY_S = 0.1
_SAY_EVERY_S = 10.0
_BAR_CELLS = 24


class ProgressLine:
    """Is a models.download.Progress. `end` leaves the last state on the screen."""

    def __init__(
        self,
        name: str,
        out: TextIO | None = None,  # stderr
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._out, self._clock = name, out or sys.stderr, clock
        self._is_terminal = self._out.isatty()
        self._drawn_s: float | None = None
        self._newest: tuple[int, int, float | None] | None = None
        self._is_dirty = False

    def __call__(self, done_bytes: int, total_bytes: int, rate_bytes_s: float | None) -> None:
        before = self._newest
        self._newest = (done_bytes, total_bytes, rate_bytes_s or (before and before[2]))
        self._is_dirty = True
        every_s = _DRAW_EVERY_S if self._is_terminal else _SAY_EVERY_S
        now_s = self._clock()
        if self._drawn_s is None or now_s - self._drawn_s >= every_s:
            self._drawn_s = now_s
            self._draw()

    def end(self) -> None:
        if self._is_dirty:
            self._draw()
        if self._is_terminal and self._newest:
            print(file=self._out, flush=True)

    def _draw(self) -> None:
        assert self._newest
        line = progress_text(self._name, *self._newest)
        if self._is_terminal:
            print(f"\r\x1b[K{line}", end="", file=self._out, flush=True)
        else:
            print(line, file=self._out, flush=True)
        self._is_dirty = False


def progress_text(name: str, done_bytes: int, total_bytes: int, rate_bytes_s: float | None) -> str:
    """ "qwen3:8b ███████·····  31 %  1.6 GiB of 5.0 GiB  24.0 MiB/s  2m24s left"."""
    ratio = min(1.0, done_bytes / total_bytes) if total_bytes else 1.0
    filled = int(_BAR_CELLS * ratio)
    bar = "█" * filled + "·" * (_BAR_CELLS - filled)
    text = f"{name} {bar} {ratio:4.0%}  {format_bytes(done_bytes)} of {format_bytes(total_bytes)}"
    if rate_bytes_s and done_bytes < total_bytes:
        left_s = (total_bytes - done_bytes) / rate_bytes_s
        text += f"  {format_bytes(int(rate_bytes_s))}/s  {format_seconds(left_s) or DASH} left"
    return text
