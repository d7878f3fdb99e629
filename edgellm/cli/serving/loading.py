"""How far the models of a server are loaded: a line on a terminal, gone when they are ready.

Elsewhere nothing is drawn: who reads a file of lines is told once that it loads.
"""

import sys
import threading
from collections.abc import Iterable
from typing import TextIO

from edgellm.cli.output import say
from edgellm.cli.progress import bar
from edgellm.cli.waiting import Waiting
from edgellm.server.served import Served
from edgellm.status import MAKING_THE_CONTEXT, is_all_read

_BAR_CELLS = 24


class LoadingLine:
    """`follow` and `say` are an Instance's callbacks; any thread may call them, and `end` beside
    them. Once that was called nothing is drawn any more, and `say` only says."""

    def __init__(self, out: TextIO | None = None) -> None:  # stderr
        self._out = out or sys.stderr
        self._models: Iterable[Served] = ()
        self._waiting: Waiting | None = None
        self._is_over = False
        self._lock = threading.RLock()

    def follow(self, models: Iterable[Served]) -> None:
        with self._lock:
            self._models = models
            if not self._is_over:
                self._waiting = Waiting(lambda: loading_text(self._models), self._out)

    def end(self) -> None:
        with self._lock:
            self._is_over = True
            self._rub_out()

    def say(self, text: str) -> None:
        """Above the line, which goes on."""
        with self._lock:
            is_followed = self._waiting is not None
            self._rub_out()
            say(text)
            if is_followed:
                self.follow(self._models)

    def _rub_out(self) -> None:
        if self._waiting:
            self._waiting.end()
            self._waiting = None


def loading_text(models: Iterable[Served]) -> str:
    """ "loading qwen3:8b ███████·····  31%": of the first that isn't ready, since they are loaded
    one after the other. llama.cpp tells the share of the weights that it has read; what comes
    before and behind it has no bar."""
    for served in models:
        if served.engine.state in ("starting", "loading"):
            return f"loading {served.name}{_read(served.engine.progress_ratio)}"
    return "loading …"


def _read(ratio: float | None) -> str:
    if not ratio:
        return " …"
    if is_all_read(ratio):
        return f": {MAKING_THE_CONTEXT} …"
    return f" {bar(ratio, _BAR_CELLS)} {ratio:4.0%}"
