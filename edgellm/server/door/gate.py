"""Where new requests wait while it is too hot, or the boards draw too much.

meter/guardrails.py says for how long; here they do it, one after the other.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from edgellm.errors import Overloaded
from edgellm.meter.guardrails import Ceilings, Guardrails
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Hardware

_LOOK_S = 0.5
_LONGEST_HOLD_S = 30.0  # then one goes in: a hot room slows the server down, and does not stop it
_MOST_WAITING = 512
_CALM_S = 10.0  # so long nobody has had to wait before that is said

Tell = Callable[[str], None]


def nobody_listens(words: str) -> None:
    pass


class Gate:
    def __init__(
        self,
        ceilings: Ceilings,
        samples: Callable[[], tuple[Sample, ...]],
        hardware: Hardware | None = None,
        *,
        tell: Tell = nobody_listens,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rails, self._samples = Guardrails(ceilings, hardware), samples
        self._tell, self._clock, self._sleep = tell, clock, sleep
        self._in_turn = asyncio.Lock()
        self._n_waiting = 0
        self._held_s: float | None = None  # when somebody had to wait last; None: that is over

    @property
    def reason(self) -> str | None:
        """Why new requests wait; None: they don't."""
        return self._rails.look(self._samples()).reason

    def tick(self) -> None:
        """About once a second: says when requests begin to wait, and when they have ceased to."""
        now_s, reason = self._clock(), self.reason
        if reason is not None:
            if self._held_s is None:
                self._tell(f"new requests wait: {reason}")
            self._held_s = now_s
        elif self._held_s is not None and now_s - self._held_s >= _CALM_S:
            self._held_s = None
            self._tell("new requests wait no longer")

    async def enter(self) -> None:
        """Returns when the next request may go in. Raises Overloaded when too many wait already."""
        if not self._rails.ceilings.is_set:
            return
        if self._n_waiting >= _MOST_WAITING:
            raise Overloaded(
                f"{self._n_waiting} requests wait because {self.reason}", hint="come back later"
            )
        self._n_waiting += 1
        try:
            async with self._in_turn:
                await self._wait()
        finally:
            self._n_waiting -= 1

    async def _wait(self) -> None:
        began_s = self._clock()
        while (pause_s := self._rails.look(self._samples()).pause_s) is None:
            if self._clock() - began_s >= _LONGEST_HOLD_S:
                return
            await self._sleep(_LOOK_S)
        if pause_s:
            await self._sleep(pause_s)
