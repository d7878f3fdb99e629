"""The thread that makes ready what a request needs first: its structure, DRY's sequence breakers,
the tokens of a long text.

Most of that takes milliseconds; but llguidance needs a second or two to give up on a structure that
is made to hurt. So the order is fair: what is known already goes first, and then the API keys take
turns. A client that asks for many waits only for its own, and is told to come back later once they
wait long. The thread is not nicer than the loop's: on a busy machine it would starve. While it has
work, `computes` says so, and the loop leaves it a core (llama/compute.py).

What is known when a request comes is made on the loop's thread, since a copy takes microseconds: so
requests that came together begin in the same step.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TypeAlias

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest, EdgellmError, Overloaded
from edgellm.runner.batch import Mask
from edgellm.runner.intake.beside import Compiled, attempted
from edgellm.runner.messages import Generate
from edgellm.runner.sampling.recipe import uses_dry
from edgellm.runner.threads.one_thread import OneThread

MAX_WAIT_S = 10.0  # of the first in a key's line; then the key's next requests are refused
_NOBODYS = -1  # no request has this id
LONG_CHARS = 32_768  # a text that takes about 20 ms to tokenize

Prepared: TypeAlias = tuple[Generate, Mask | None]  # the request, its text perhaps as tokens
Done: TypeAlias = Callable[[Generate, Mask | EdgellmError | None], None]


def takes_time(request: Generate) -> bool:
    params = request.params
    return params.structure is not None or uses_dry(params.sampling) or has_long_prompt(request)


def has_long_prompt(request: Generate) -> bool:
    """Not if it has pictures, which need the text itself."""
    prompt = request.prompt
    return isinstance(prompt, str) and len(prompt) > LONG_CHARS and not request.params.pictures


class Compiling(OneThread):
    """Compiles structures and makes long texts into tokens, one request after the other.

    `make` may take seconds, and raises BadRequest. `make_known` takes no time, and returns None if
    there is more to do. `is_known` says, on any thread, whether `make_known` would do now.

    `done` is called once for each request that isn't forgotten, on either thread.
    """

    def __init__(
        self,
        make: Callable[[Generate], Prepared],
        make_known: Callable[[Generate], Prepared | None],
        is_known: Callable[[GenerateParams], bool],
        done: Done,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self._make, self._make_known = make, make_known
        self._is_known, self._done, self._clock = is_known, done, clock
        # By key, who waits, and since when.
        self._lines: OrderedDict[str, deque[tuple[Generate, float]]] = OrderedDict()
        self._slow: set[int] = set()  # request_ids of what takes time and isn't done
        self._lock = threading.Lock()

    @property
    def computes(self) -> bool:
        """Whether it has work that takes more than a moment."""
        return bool(self._slow)

    def at_once(self, request: Generate) -> Compiled | None:
        """On the caller's thread. None: it would take time."""
        if has_long_prompt(request):
            return None
        made = attempted(lambda: self._make_known(request), lambda error: _blamed(request, error))
        match made:
            case None:
                return None
            case EdgellmError():
                return Compiled(request, made)
            case known, mask:
                return Compiled(known, mask)

    def add(self, request: Generate) -> None:
        now_s = self._clock()
        with self._lock:
            line = self._lines.setdefault(request.params.claim.key, deque())
            is_slow = bool(line) and now_s - line[0][1] > MAX_WAIT_S
            if not is_slow:
                line.append((request, now_s))
                if not self._is_quick(request):
                    self._slow.add(request.request_id)
        if is_slow:
            words = f"{len(line)} of your requests wait for their structures or long texts"
            self._done(request, Overloaded(words, hint="come back later"))
        else:
            self._pool.submit(self._next)

    def run(self, work: Callable[[], None]) -> None:
        """Do something else in between that nobody waits for. It may fail."""
        self._slow.add(_NOBODYS)
        self._pool.submit(self._run, work)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._slow.discard(_NOBODYS)

    def forget(self, request_id: int) -> None:
        """It isn't wanted any more. `done` is still called if its work has begun."""
        with self._lock:
            for line in self._lines.values():
                for one in line:
                    if one[0].request_id == request_id:
                        line.remove(one)
                        self._slow.discard(request_id)
                        return

    def _next(self) -> None:
        request = self._taken()
        if request is None:
            return  # forgotten
        made = self._attempted(request)
        self._slow.discard(request.request_id)
        self._done(*made)

    def _attempted(self, request: Generate) -> tuple[Generate, Mask | EdgellmError | None]:
        made = attempted(lambda: self._make(request), lambda error: _blamed(request, error))
        return (request, made) if isinstance(made, EdgellmError) else made

    def _taken(self) -> Generate | None:
        with self._lock:
            waiting = [(line, one) for line in self._lines.values() for one in line]
            for line, one in waiting:
                if self._is_quick(one[0]):
                    line.remove(one)
                    return one[0]
            for key, line in [*self._lines.items()]:
                if line:
                    self._lines.move_to_end(key)
                    return line.popleft()[0]
                del self._lines[key]
        return None

    def _is_quick(self, request: Generate) -> bool:
        return not has_long_prompt(request) and self._is_known(request.params)


def _blamed(request: Generate, error: Exception) -> BadRequest:
    if request.params.structure is not None and not has_long_prompt(request):
        return BadRequest(f"this structure can't be compiled: {error}", param="structure")
    return BadRequest(f"this request can't be made ready: {error}")
