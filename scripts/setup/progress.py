"""A long command, seen from outside: one live line on a terminal, a plain one now and then else.

All that it says goes to a log; when it fails, its last words are shown.
"""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from edgellm.tui.terminal import can_draw, columns

_PLAIN_EVERY_S = 30.0
_LIVE_EVERY_S = 0.2
_LAST_WORDS = 15
_LONGEST = 160  # ninja repeats whole compiler commands
_NINJA = re.compile(r"^\s*\[(\d+)/(\d+)\] ")
_MAKE = re.compile(r"^\s*\[\s*(\d+)%\] ")
_BUILD_BEGINS = re.compile(r"Building wheel for llama[-_]cpp[-_]python")
# gcc, clang and nvcc, of a compiler that the kernel ended; and of one that gave up by itself.
_MEMORY = re.compile(
    r"Killed signal terminated program|unable to execute command: Killed|died due to signal 9"
    r"|^Killed$|(cc1plus|cc1|nvcc|cudafe\+\+|ptxas|ld|as|c\+\+|virtual memory)\b.*"
    r"(out of memory|exhausted|[Cc]annot allocate memory)"
)
_PIP_STEP = re.compile(r"^\s*(Collecting|Downloading|Building|Installing|Preparing)\b.*")


@dataclass(slots=True)
class Watch:
    """What the lines so far amount to. Pure: it is told the time."""

    title: str  # "installing edgellm"
    announcement: str = ""  # said once, when the compilation begins
    started_s: float = 0.0
    compiling_since_s: float | None = None
    done: int | None = None
    total: int | None = None
    step: str = ""
    lacked_memory: bool = False
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_WORDS))

    def feed(self, line: str, now_s: float) -> str | None:
        """Returns what has to be said at once, if anything."""
        if line.strip():
            self.last_words.append(line.rstrip()[:_LONGEST])
        self.lacked_memory = self.lacked_memory or bool(_MEMORY.search(line))
        if found := _NINJA.match(line):
            self.done, self.total = int(found[1]), int(found[2])
        elif found := _MAKE.match(line):
            self.done, self.total = int(found[1]), 100
        elif found := _PIP_STEP.match(line):
            self.step = line.strip()
        if self.compiling_since_s is None and _BUILD_BEGINS.search(line):
            self.compiling_since_s = now_s
            return self.announcement or None
        return None

    def status(self, now_s: float) -> str:
        """ "compiling llama.cpp [57/183] 31 %, 2:41, about 6 min left" """
        if self.compiling_since_s is None:
            step = f": {self.step}" if self.step else ""
            return f"{self.title} ({clock(now_s - self.started_s)}){step}"
        spent_s = now_s - self.compiling_since_s
        if not self.done or not self.total:
            return f"compiling llama.cpp, {clock(spent_s)}"
        ratio = self.done / self.total
        left_min = spent_s / ratio * (1 - ratio) / 60
        left = f", about {max(1, round(left_min))} min left" if 0.05 < ratio < 1 else ""
        return f"compiling llama.cpp [{self.done}/{self.total}] {ratio:.0%}, {clock(spent_s)}{left}"


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Painter:
    def __init__(self, out: TextIO = sys.stderr) -> None:
        self._out = out
        self._draws = can_draw(out)
        self._shown_s = 0.0

    def say(self, text: str) -> None:
        self.clear()
        print(text, file=self._out, flush=True)

    def show(self, status: str, now_s: float) -> None:
        every_s = _LIVE_EVERY_S if self._draws else _PLAIN_EVERY_S
        if now_s - self._shown_s < every_s:
            return
        self._shown_s = now_s
        if self._draws:
            line = f"\r\x1b[K  {status[: columns(self._out) - 3]}"
            print(line, end="", file=self._out, flush=True)
        else:
            print(f"  {status}", file=self._out, flush=True)

    def begin(self, now_s: float) -> None:
        """What is going on has just been said."""
        self._shown_s = now_s

    def clear(self) -> None:
        if self._draws:
            print("\r\x1b[K", end="", file=self._out, flush=True)


def run(
    argv: Sequence[str], watch: Watch, log: Path, painter: Painter, env: Mapping[str, str]
) -> bool:
    """Whether it succeeded; if not, its last words were shown.

    It doesn't outlive us, however we end, nor us the shell that started us: pip would go on
    installing into an environment that somebody else begins to use.
    """
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    watch.started_s = time.monotonic()
    painter.begin(watch.started_s)
    with (
        log.open("a", encoding="utf-8", buffering=1) as record,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=env,
            start_new_session=True,  # a group of its own: compilers end with their pip
        ) as process,
    ):
        record.write(f"$ {' '.join(argv)}\n")
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        try:
            _follow(lines, watch, record, painter)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            painter.clear()
            raise
    painter.clear()
    if process.returncode == 0:
        return True
    painter.say("\n".join(f"  | {line}" for line in watch.last_words))
    return False


def _read(pipe: TextIO, lines: "queue.SimpleQueue[str | None]") -> None:
    for line in pipe:
        lines.put(line)
    lines.put(None)


def _follow(
    lines: "queue.SimpleQueue[str | None]", watch: Watch, record: TextIO, painter: Painter
) -> None:
    parent = os.getppid()
    while True:
        if os.getppid() != parent:
            raise KeyboardInterrupt  # the shell was ended, and cannot tell us
        try:
            line = lines.get(timeout=1.0)  # the clock goes on while a big file is compiled
        except queue.Empty:
            line = ""
        if line is None:
            return
        record.write(line)
        now_s = time.monotonic()
        if news := watch.feed(line, now_s):
            painter.say(news)
        painter.show(watch.status(now_s), now_s)
