"""Does what `room` decides: loads and unloads models, one move after the other."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from edgellm.errors import EdgellmError, NotServing
from edgellm.runner.on_demand.room import Bytes, Room, Stay, Tenant

# look(taken, since_s): what all together may take now, if those in memory take so much since then.
Look: TypeAlias = Callable[[Bytes, float], Bytes]


class Sleeper(Protocol):
    tenant: Tenant

    async def wake(self) -> None:
        """Its stay has begun: load it. Raises EdgellmError if that can't be done."""
        ...

    async def sleep(self) -> None:
        """Its stay ends, and nobody uses it: unload it."""
        ...


class Caretaker:
    """One for all models that share a Room, within one event loop. Without `look` the room's
    budgets never change."""

    def __init__(
        self, room: Room, clock: Callable[[], float] = time.monotonic, look: Look | None = None
    ) -> None:
        self._room, self._clock, self._look = room, clock, look
        self._changed_s = clock()  # when the last model was unloaded
        self._sleepers: dict[Tenant, Sleeper] = {}
        self._move: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._hopes: dict[Stay, asyncio.Future[None]] = {}  # of those who wait for a load to end

    def add(self, sleeper: Sleeper) -> None:
        self._sleepers[sleeper.tenant] = sleeper
        self._room.add(sleeper.tenant)

    def remove(self, sleeper: Sleeper) -> None:
        """It is stopped for good. It tells the requests that wait for it itself."""
        if self._sleepers.pop(sleeper.tenant, None):
            self._room.remove(sleeper.tenant)
            self._tell(sleeper.tenant.here or sleeper.tenant.coming, NotServing("it was stopped"))
        if not self._sleepers and self._timer:
            self._timer.cancel()

    def enter(self, tenant: Tenant, keep_s: float | None = None) -> Stay:
        stay = self._room.enter(tenant, self._clock(), keep_s)
        self._go_on_soon()
        return stay

    def leave(self, tenant: Tenant, stay: Stay) -> None:
        self._room.leave(tenant, stay, self._clock())
        self._go_on_soon()

    def dismiss(self, tenant: Tenant) -> None:
        """Unload it when its last answer has ended, unless somebody asks for it before."""
        tenant.is_dismissed = tenant.here is not None
        self._go_on_soon()

    def keep(self, tenant: Tenant, keep_s: float) -> None:
        self._room.keep(tenant, keep_s, self._clock())
        self._go_on_soon()

    def left_s(self, tenant: Tenant) -> float | None:
        return self._room.left_s(tenant, self._clock())

    async def loaded(self, stay: Stay) -> None:
        """Returns when this stay has been loaded. Raises what prevented it."""
        await self._hopes.setdefault(stay, asyncio.get_running_loop().create_future())

    def _go_on_soon(self) -> None:
        """Not within the call, whose caller relies on the stay that it was just given."""
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._move is not None:
            return  # when that move ends, this is called again
        if self._timer:
            self._timer.cancel()
            self._timer = None
        now_s = self._clock()
        if self._look and self._room.is_awaited:
            self._room.budgets = self._look(self._room.taken, self._changed_s)
        if move := self._room.next_move(now_s):
            leaving = [self._sleepers[tenant] for tenant in move.leaving]
            waking = self._sleepers[move.waking] if move.waking else None
            self._move = asyncio.create_task(self._make(leaving, waking))
        elif due_s := self._room.due_s(now_s):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(due_s - now_s, self._go_on)

    async def _make(self, leaving: Sequence[Sleeper], waking: Sleeper | None) -> None:
        try:
            await asyncio.gather(*map(self._put_to_sleep, leaving))
            if waking:
                await self._wake(waking)
        finally:
            self._move = None
            self._go_on()

    async def _put_to_sleep(self, sleeper: Sleeper) -> None:
        self._room.close(sleeper.tenant)
        await sleeper.sleep()
        self._room.end(sleeper.tenant)
        self._changed_s = self._clock()

    async def _wake(self, sleeper: Sleeper) -> None:
        stay = self._room.begin(sleeper.tenant)
        try:
            await sleeper.wake()
        except EdgellmError as error:
            self._room.end(sleeper.tenant)
            self._tell(stay, error)
        else:
            stay.loaded_s = self._clock()
            self._tell(stay, None)

    def _tell(self, stay: Stay, error: EdgellmError | None) -> None:
        hope = self._hopes.pop(stay, None)
        if hope is None or hope.done():
            return
        if error:
            hope.set_exception(error)
        else:
            hope.set_result(None)
