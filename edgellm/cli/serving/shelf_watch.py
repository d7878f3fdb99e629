"""The errand of a server that has all models of this disk: one that comes is served, too."""

import asyncio
import contextlib
from collections.abc import Callable

from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.preparing.shelf import Change, Shelf
from edgellm.cli.serving.engines import Fleet, describe
from edgellm.errors import EdgellmError

_LOOK_EVERY_S = 3.0


class ShelfWatch:
    """`errand` is the server's; `refresh` looks at once."""

    def __init__(
        self, shelf: Shelf, say: Callable[[str], None], every_s: float = _LOOK_EVERY_S
    ) -> None:
        self._shelf, self._say, self._every_s = shelf, say, every_s
        self._one_by_one = asyncio.Lock()
        self._following: Following | None = None
        self._looks: set[asyncio.Task[None]] = set()

    async def errand(self, fleet: Fleet) -> None:
        self._following = Following(fleet, self._say)
        while True:
            await asyncio.sleep(self._every_s)
            with contextlib.suppress(EdgellmError, OSError):  # the next time it may be as it was
                await self.refresh()

    async def refresh(self) -> None:
        """Raises StorageError. What a look has found isn't looked for again: so it goes on to its
        end when who waits for it leaves."""
        look = asyncio.create_task(self._look())
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)
        await asyncio.shield(look)

    async def _look(self) -> None:
        async with self._one_by_one:
            if self._following:
                self._following.note(await asyncio.to_thread(self._shelf.look))
                await self._following.settle()


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
            elif served.name in self._gone and served.engine.lease:
                served.engine.lease.dismiss()
        self._gone &= {served.name for served in self._fleet.models}
        for name in self._come.keys() - self._gone:
            prepared = self._come.pop(name)
            self._fleet.add(prepared)
            self._say(f"{name} is served, too: {describe(prepared.plan)}")
