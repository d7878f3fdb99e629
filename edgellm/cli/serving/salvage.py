"""When a device is lost: the model that was on it is planned anew on what is left, and loaded.

A silent sensor is no proof. The machine is probed once more, and only a device that the probe
doesn't find either is given up.
"""

import asyncio
import dataclasses
from collections.abc import Callable

from edgellm.cli.preparing import machine
from edgellm.cli.serving.engines import Fleet, describe
from edgellm.errors import EdgellmError
from edgellm.meter.health import Health
from edgellm.probe.hardware import Hardware
from edgellm.server.served import Served


class Salvage:
    """`noticed` takes the news of a model's health; `use` is told what is left of the machine."""

    def __init__(
        self,
        fleet: Fleet,
        hardware: Hardware,
        *,
        say: Callable[[str], None],
        use: Callable[[Hardware], None],
        look: Callable[[], Hardware] = machine.look,
    ) -> None:
        self._fleet, self._hardware = fleet, hardware
        self._say, self._use, self._look = say, use, look
        self._one_by_one = asyncio.Lock()
        self._moves: set[asyncio.Task[None]] = set()

    def noticed(self, served: Served, health: Health) -> None:
        """Returns at once. To be called within the event loop."""
        if health.state == "lost":
            move = asyncio.create_task(self._move(served))
            self._moves.add(move)
            move.add_done_callback(self._moves.discard)

    def stop(self) -> None:
        for move in self._moves:
            move.cancel()

    async def _move(self, served: Served) -> None:
        async with self._one_by_one:
            if not any(one is served for one in self._fleet.models):
                return  # it was moved or unloaded meanwhile
            now = await asyncio.to_thread(self._look)
            here = {device.id for device in now.devices}
            lost = [id_ for id_ in served.engine.plan.placement.device_ids if id_ not in here]
            if not lost:
                self._say(f"{served.name}: its devices are all there, only a sensor is silent")
                return
            self._hardware = remaining(self._hardware, now)
            self._use(self._hardware)
            self._say(f"{', '.join(lost)} is lost: planning {served.name} on what is left")
            try:
                new = await self._fleet.move(served, self._free_for(served))
            except EdgellmError as error:
                self._say(f"{served.name} can't be served without it: {error}")
            else:
                self._say(f"{served.name} is served again: {describe(new.engine.plan)}")

    def _free_for(self, served: Served) -> Hardware:
        left = self._hardware
        for other in self._fleet.models:
            if other is not served:
                left = machine.without(left, other.engine.plan)
        return left


def remaining(before: Hardware, now: Hardware) -> Hardware:
    """What is left of `before`. Its memory is told as it was before anything was loaded; devices
    are called as llama.cpp calls them from now on, which counts those that it sees."""
    names = {device.id: device.ggml_name for device in now.devices}
    devices = tuple(
        dataclasses.replace(device, ggml_name=names[device.id])
        for device in before.devices
        if device.id in names
    )
    pools = {device.pool_id for device in devices}
    return dataclasses.replace(
        before,
        devices=devices,
        pools=tuple(pool for pool in before.pools if pool.id in pools),
        peers=tuple(p for p in before.peers if p.one in names and p.other in names),
    )
