"""The thread that makes ready what a request needs first: its structure, DRY's sequence breakers.

Most structures take milliseconds; one that is made to hurt takes llguidance a second or two to
give up on. So whose turn it is, is fair: what is known already goes first, and then each API key in
its turn. Whoever asks for many waits for his own only, up to a bound, and beyond that is told to
come back later. The thread is not nicer than the loop's: on a busy machine it would starve.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest, EdgellmError, Overloaded
from edgellm.runner.batch import Mask
from edgellm.runner.messages import Generate

MAX_WAITING = 32  # requests of one key

Done: TypeAlias = Callable[[Generate, Mask | EdgellmError | None], None]


class Compiling:
    """`make` may take seconds and raises BadRequest; `is_known` says that it will take none.

    `done` is told once of each request that isn't forgotten, on either thread.
    """

    def __init__(
        self,
        make: Callable[[GenerateParams], Mask | None],
        is_known: Callable[[GenerateParams], bool],
        done: Done,
    ) -> None:
        self._make, self._is_known, self._done = make, is_known, done
        self._lines: OrderedDict[str, deque[Generate]] = OrderedDict()  # by key, who waits
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1)

    def add(self, request: Generate) -> None:
        with self._lock:
            line = self._lines.setdefault(request.params.claim.key, deque())
            is_full = len(line) >= MAX_WAITING
            if not is_full:
                line.append(request)
        if is_full:
            words = f"{MAX_WAITING} of your requests wait for their structures to be compiled"
            self._done(request, Overloaded(words, hint="come back later"))
        else:
            self._pool.submit(self._next)

    def forget(self, request_id: int) -> None:
        """It is not wanted any more. What has begun is still told."""
        with self._lock:
            for line in self._lines.values():
                for request in line:
                    if request.request_id == request_id:
                        line.remove(request)
                        return

    def _next(self) -> None:
        request = self._taken()
        if request is None:
            return  # forgotten
        result: Mask | EdgellmError | None
        try:
            result = self._make(request.params)
        except EdgellmError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - a request must be answered whatever llguidance throws
            result = BadRequest(f"this structure can't be compiled: {error}", param="structure")
        self._done(request, result)

    def _taken(self) -> Generate | None:
        with self._lock:
            waiting = [(line, request) for line in self._lines.values() for request in line]
            for line, request in waiting:
                if self._is_known(request.params):
                    line.remove(request)
                    return request
            for key, line in [*self._lines.items()]:
                if line:
                    self._lines.move_to_end(key)
                    return line.popleft()
                del self._lines[key]
        return None
