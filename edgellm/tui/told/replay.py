"""A recording in the place of a server: answers what was told at the moment that is played.

It only goes forward, and holds two moments: the one that is shown and the next.
"""

from collections.abc import Callable, Iterable

import httpx2

from edgellm import status
from edgellm.errors import NotServing
from edgellm.tui.told.recording import Moment, Span
from edgellm.tui.view import Played

LEAST_LOOK_S = 0.05  # twenty pictures a second; what is faster is skipped


class ReplayTransport(httpx2.AsyncBaseTransport):
    """Begins with the first question. `speed`: seconds of the recording in one of ours. At its end
    and for all but the status it raises NotServing. `moments` are those of `span`."""

    def __init__(
        self, moments: Iterable[Moment], span: Span, speed: float, clock: Callable[[], float]
    ) -> None:
        self._moments, self._span, self._speed, self._clock = iter(moments), span, speed, clock
        self._shown: Moment | None = None
        self._next = next(self._moments, None)
        self._began_s: float | None = None

    @property
    def look_s(self) -> float:
        """How often to ask, in our seconds: as often as there is something else, if that can be."""
        return max(self._span.spacing_s / self._speed, LEAST_LOOK_S)

    @property
    def played(self) -> Played:
        length_s = self._span.length_s
        return Played(min(self._elapsed_s(), length_s), length_s, self._speed)

    def _elapsed_s(self) -> float:
        """Of the recording, since the first question."""
        return 0.0 if self._began_s is None else (self._clock() - self._began_s) * self._speed

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path != "/edgellm/status":
            raise NotServing("this is a recording: nobody answers")
        if self._began_s is None:
            self._began_s = self._clock()
        at_s = self._span.first_s + self._elapsed_s()
        while self._next is not None and self._next.at_s <= at_s:
            self._shown, self._next = self._next, next(self._moments, None)
        if self._shown is None or at_s > self._span.last_s + self._speed:
            raise NotServing("the recording has ended")
        return httpx2.Response(200, content=status.encode(self._shown.status))
