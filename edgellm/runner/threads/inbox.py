"""Where the loop finds what has come: the gateway's messages, and what threads beside it have done.

Any thread puts; only the loop takes, and waits here when it has nothing to do.
"""

import queue
from collections.abc import Callable, Iterable

from edgellm.runner.intake.beside import FromBeside
from edgellm.runner.messages import ToWorker

_MAX_WAIT_S = 3600.0
_QUIET_S = 5.0


class Inbox:
    def __init__(self, quiet_s: float = _QUIET_S) -> None:
        """`when_quiet` is called once, on the loop's thread, when nothing has come for `quiet_s`:
        then there is time to prepare what somebody may need later."""
        self._queue: queue.SimpleQueue[ToWorker | FromBeside] = queue.SimpleQueue()
        self._quiet_s, self._was_quiet = quiet_s, False
        self.when_quiet: Callable[[], None] = lambda: None

    def put(self, message: ToWorker | FromBeside) -> None:
        self._queue.put(message)

    def first(self) -> ToWorker | FromBeside:
        """However long it takes to come."""
        return self._queue.get()

    def take(self, wait_s: float) -> Iterable[ToWorker | FromBeside]:
        """All that has come; if nothing has, what comes first within `wait_s`. May return nothing
        before that time: very long waits are cut into shorter ones."""
        is_long = not self._was_quiet and wait_s >= self._quiet_s
        messages = self._within(self._quiet_s if is_long else wait_s)
        if is_long and not messages:
            self._was_quiet = True
            self.when_quiet()
        return messages

    def _within(self, wait_s: float) -> list[ToWorker | FromBeside]:
        try:
            messages = [self._queue.get(timeout=min(wait_s, _MAX_WAIT_S))] if wait_s else []
        except queue.Empty:
            return []
        while not self._queue.empty():
            messages.append(self._queue.get())
        return messages
