"""The oracle's child as its user sees it: a question goes out, an answer or None comes back.

One question at a time: its answer is the next frame. The child is started with the first question
and again after it died: a stranger's header may abort it at any time. It never raises, because
nobody's plan may fail for want of a second opinion.
"""

import os
import selectors
import time
from typing import Final

from edgellm.errors import EdgellmError
from edgellm.runner.child import Piped, start_oracle
from edgellm.runner.frames import FrameReader, encode_frame
from edgellm.runner.oracle.messages import Answer, Question
from edgellm.runner.pipes import write_all

_START_S: Final = 20.0  # a cold disk, a slow board: Python and the libraries take a while
_ANSWER_S: Final = 10.0  # a big model takes 0.2 s here; a board is ten times slower
_MOST_STARTS: Final = 6  # in a row, of a child that never answers


class OracleProcess:
    def __init__(self) -> None:
        self._process: Piped | None = None
        self._reader: FrameReader[Answer] = FrameReader(Answer)
        self._starts = 0  # without an answer since

    def start(self) -> None:
        """Unless it runs already; it comes up beside what its parent does meanwhile."""
        if self._process is None:
            self._process = self._started()

    def ask(self, question: Question) -> Answer | None:
        """None when the child died of it, gave no answer in time, or can't be started at all."""
        self.start()
        if self._process is None:
            return None
        limit_s = _ANSWER_S + (_START_S if self._starts else 0.0)
        try:
            write_all(self._process.stdin_fd, encode_frame([question]))
            return self._receive(self._process.stdout_fd, time.monotonic() + limit_s)
        except (OSError, EdgellmError):  # it died under the question, or writes nonsense
            self.close()
            return None

    def close(self) -> None:
        process, self._process = self._process, None
        if process:
            process.end()

    def _started(self) -> Piped | None:
        if self._starts >= _MOST_STARTS:
            return None
        self._starts += 1
        self._reader = FrameReader(Answer)
        try:
            return start_oracle()
        except OSError:
            return None

    def _receive(self, fd: int, until_s: float) -> Answer:
        """Raises OSError at the end of the pipe or of the time."""
        with selectors.DefaultSelector() as ready:
            ready.register(fd, selectors.EVENT_READ)
            while ready.select(max(0.0, until_s - time.monotonic())):
                data = os.read(fd, 1 << 16)
                if not data:
                    raise OSError("the oracle's child ended")
                if answers := self._reader.feed(data):
                    self._starts = 0
                    return answers[0]
        raise OSError("the oracle's child gave no answer in time")
