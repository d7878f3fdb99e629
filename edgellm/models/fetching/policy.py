"""A download's policy: how often it tries again, how long it waits before, how fast it goes."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from edgellm.errors import TransientError
from edgellm.values import frozen

_MAX_PAUSE_S: Final = 30.0


@frozen
class DownloadPolicy:
    """A download's policy. `sleep` and `now` are the clock; tests bring their own."""

    limit_rate_bytes_s: float | None = None
    max_tries: int = 8  # in a row, without a byte of progress
    max_contents: int = 2  # times that a file may come whole with a wrong digest
    first_pause_s: float = 0.5
    max_retry_after_s: float = 60.0  # a hub may ask for an hour; nobody waits that long unasked
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic

    def rest(self, failure: TransientError, n_tries: int) -> None:
        """Sleeps before another try. Raises `failure` once `n_tries` in a row are the most."""
        self.sleep(self.pause_s(failure, n_tries))

    def pause_s(self, failure: TransientError, n_tries: int) -> float:
        """How long `rest` sleeps, in seconds: what the hub asked for, else twice as long each time.
        Raises as `rest` does."""
        if n_tries >= self.max_tries:
            raise failure
        pause_s = min(self.first_pause_s * 2**n_tries, _MAX_PAUSE_S)
        return min(failure.retry_after_s or pause_s, self.max_retry_after_s)


INTERACTIVE: Final = DownloadPolicy(max_tries=3, max_retry_after_s=10.0)  # where a person waits


@dataclass(slots=True)
class Pace:
    """Measures the rate over the last `window_s` and keeps it under the policy's limit."""

    policy: DownloadPolicy
    window_s: float = 5.0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _bytes: int = 0

    def passed(self, n_bytes: int) -> float | None:
        """Counts `n_bytes` more and sleeps where that is too fast. Bytes/s; None: not known yet."""
        now = self.policy.now()
        if not self._marks:
            self._marks.append((now, 0))
        self._bytes += n_bytes
        limit = self.policy.limit_rate_bytes_s
        if limit:
            oldest_s, oldest_bytes = self._marks[0]
            ahead_s = (self._bytes - oldest_bytes) / limit - (now - oldest_s)
            if ahead_s > 0:
                self.policy.sleep(ahead_s)
                now = self.policy.now()
        self._marks.append((now, self._bytes))
        while len(self._marks) > 2 and self._marks[0][0] < now - self.window_s:
            self._marks.popleft()
        seconds = now - self._marks[0][0]
        return (self._bytes - self._marks[0][1]) / seconds if seconds > 0 else None
