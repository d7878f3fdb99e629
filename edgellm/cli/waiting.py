"""A sign of life while there is nothing to show yet: one line on stderr, gone when there is."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Self, TextIO

from edgellm.tui.terminal import can_draw, draw_over, is_in_front
from edgellm.units import format_seconds

_PATIENT_S = 0.4  # what takes no longer needs no sign
_EVERY_S = 0.25


class Waiting:
    """As a block, or until `end`. Says nothing where a line can't be drawn over.

    `words` is called from a thread of its own, some times a second, and may take its time.
    """

    def __init__(
        self,
        words: Callable[[], str],
        out: TextIO | None = None,  # stderr
    ) -> None:
        self._words, self._out = words, out or sys.stderr
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        if can_draw(self._out):
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """When it returns the line is gone and no other comes. Once is as good as often."""
        self._is_over.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def _draw(self) -> None:
        begun_s, is_drawn = time.monotonic(), False
        pause_s = _PATIENT_S
        while not self._is_over.wait(pause_s):
            pause_s = _EVERY_S
            if not is_in_front(self._out):
                continue
            words = self._words()
            draw_over(self._out, f"{words} {format_seconds(time.monotonic() - begun_s)}")
            is_drawn = True
        if is_drawn:
            draw_over(self._out)
