"""A recording in the place of a server: answers what was told at the moment that is played."""

import bisect
from collections.abc import Callable, Sequence

import httpx2

from edgellm import status
from edgellm.errors import NotServing
from edgellm.tui.told.recording import Moment
from edgellm.tui.view import Played

LEAST_LOOK_S = 0.05  # twenty pictures a second; what is faster is skipped


class ReplayTransport(httpx2.AsyncBaseTransport):
    """Begins with the first question. `speed`: seconds of the recording in one of ours. At its end
    and for all but the status it raises NotServing."""

    def __init__(self, moments: Sequence[Moment], speed: float, clock: Callable[[], float]) -> None:
        self._moments, self._speed, self._clock = moments, speed, clock
        self._times = [moment.at_s for moment in moments]
        self._began_s: float | None = None

    @property
    def look_s(self) -> float:
        """How often to ask, in our seconds: as often as there is something else, if that can be."""
        spacing_s = (self._times[-1] - self._times[0]) / max(len(self._times) - 1, 1) or 1.0
        return max(spacing_s / self._speed, LEAST_LOOK_S)

    @property
    def played(self) -> Played:
        length_s = self._times[-1] - self._times[0]
        return Played(min(self._elapsed_s(), length_s), length_s, self._speed)

    def _elapsed_s(self) -> float:
        """Of the recording, since the first question."""
        return 0.0 if self._began_s is None else (self._clock() - self._began_s) * self._speed

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path != "/edgellm/status":
            raise NotServing("this is a recording: nobody answers")
        if self._began_s is None:
            self._began_s = self._clock()
        at_s = self._times[0] + self._elapsed_s()
        i = bisect.bisect_right(self._times, at_s) - 1
        if i == len(self._times) - 1 and at_s > self._times[-1] + self._speed:
            raise NotServing("the recording has ended")
        return httpx2.Response(200, content=status.encode(self._moments[i].status))
