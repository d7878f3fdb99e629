"""The errand of a server that has all models of this disk: one that comes is served, too."""

import asyncio
from collections.abc import Awaitable, Callable

from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.preparing.shelf import Change, Shelf
from edgellm.cli.serving.engines import Fleet, describe
from edgellm.errors import StorageError

Errand = Callable[[Fleet], Awaitable[None]]
_LOOK_EVERY_S = 3.0


def following(shelf: Shelf, say: Callable[[str], None], every_s: float = _LOOK_EVERY_S) -> Errand:
    async def errand(fleet: Fleet) -> None:
        following = Following(fleet, say)
        while True:
            await asyncio.sleep(every_s)
            try:
                following.note(await asyncio.to_thread(shelf.look))
            except StorageError:
                continue  # the disk may be back the next time
            await following.settle()

    return errand


class Following:
    """A model that answers goes when it sleeps, and what takes its place comes then."""

    def __init__(self, fleet: Fleet, say: Callable[[str], None]) -> None:
        self._fleet, self._say = fleet, say
        self._come: dict[str, Prepared] = {}
        self._gone: set[str] = set()

    def note(self, change: Change) -> None:
        self._gone |= change.gone
        for name in change.gone:
            self._come.pop(name, None)
        self._come |= {one.name: one for one in change.come}

    async def settle(self) -> None:
        for served in self._fleet.models:
            if served.name in self._gone and served.engine.state == "sleeping":
                await self._fleet.remove(served)
                if not served.demo:  # which has only made place
                    self._say(f"{served.name} is no longer on this disk")
            elif served.name in self._gone and served.engine.dismiss:
                served.engine.dismiss()
        self._gone &= {served.name for served in self._fleet.models}
        for name in self._come.keys() - self._gone:
            prepared = self._come.pop(name)
            self._fleet.add(prepared)
            self._say(f"{name} is served, too: {describe(prepared.plan)}")
