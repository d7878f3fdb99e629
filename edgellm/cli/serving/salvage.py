"""When a device is lost: the model that was on it is planned anew on what is left, and loaded.

A silent sensor is no proof. The machine is probed once more, and only a device that the probe
doesn't find either, or that llama.cpp lists no more, is given up. As long as one is said to be lost
and is found all the same, the machine is looked at again, more and more seldom; but at once when
its worker says that it misses one.
"""

import asyncio
import contextlib
import dataclasses
import time
import weakref
from collections.abc import Callable, Iterable, Iterator

from edgellm.cli.preparing import machine
from edgellm.cli.serving.engines import Fleet, describe
from edgellm.errors import EdgellmError
from edgellm.meter.health import Health
from edgellm.probe.hardware import Device, Hardware
from edgellm.runner.engine import Engine
from edgellm.selector.plan import Plan
from edgellm.server.served import Served

_AGAIN_S, _MOST_S = 30.0, 600.0


def look_again() -> Hardware:
    """In silence: an answer may be being written, or a screen be drawn."""
    return machine.look(waiting=lambda waits: None)


def pauses_s(first_s: float) -> Iterator[float]:
    """A look costs what serves meanwhile: llama.cpp's own takes memory of each card."""
    while True:
        yield first_s
        first_s = min(2 * first_s, _MOST_S)


@dataclasses.dataclass(slots=True)
class _Doubt:
    """What is remembered of an engine from one flicker of its sensors to the next."""

    pauses_s: Iterator[float]
    due_s: float = 0.0  # time.monotonic's, when it is to be looked at again
    word: str | None = None  # the worker's, of a missing device, that needs no other look


class Salvage:
    """`noticed` takes the news of a model's health; `uses` are told what is left of the machine."""

    def __init__(
        self,
        fleet: Fleet,
        hardware: Hardware,
        *,
        say: Callable[[str], None],
        uses: Iterable[Callable[[Hardware], None]],
        look: Callable[[], Hardware] = look_again,
        again_s: float = _AGAIN_S,
    ) -> None:
        self._fleet, self._hardware = fleet, hardware
        self._say, self._uses, self._look, self._again_s = say, tuple(uses), look, again_s
        # Those that are said to lack a device, and what is set when they are said to be well again.
        self._lost: dict[Engine, asyncio.Event] = {}
        self._doubts = weakref.WeakKeyDictionary[Engine, _Doubt]()
        self._one_by_one = asyncio.Lock()
        self._moves: set[asyncio.Task[None]] = set()

    def noticed(self, served: Served, health: Health) -> None:
        """Returns at once. To be called within the event loop."""
        engine = served.engine
        if health.state != "lost":
            if well := self._lost.pop(engine, None):
                well.set()
            if doubt := self._doubts.get(engine):
                doubt.word = engine.missing_device  # said once more, the same word is news
        elif engine not in self._lost:
            well = self._lost[engine] = asyncio.Event()
            move = asyncio.create_task(self._move(served, well))
            self._moves.add(move)
            move.add_done_callback(self._moves.discard)

    def stop(self) -> None:
        for move in self._moves:
            move.cancel()

    async def _move(self, served: Served, well: asyncio.Event) -> None:
        """Until it is moved, or well, or no longer served."""
        told = ""
        doubt = self._doubts.setdefault(served.engine, _Doubt(pauses_s(self._again_s)))
        while await self._is_due(served, doubt, well):
            async with self._one_by_one:
                if well.is_set() or not self._is_served(served):
                    break
                doubt.word = served.engine.missing_device
                doubt.due_s = time.monotonic() + next(doubt.pauses_s)
                now = await asyncio.to_thread(self._look)
                lost = lost_devices(served.engine.plan, self._hardware, now)
                if lost:
                    await self._without(lost, served, now)
                    break
            text = f"its devices are all there, {_though(doubt.word)}"
            if text != told:
                self._tell(served, text)
                told = text
        if not well.is_set():
            self._lost.pop(served.engine, None)

    async def _is_due(self, served: Served, doubt: _Doubt, well: asyncio.Event) -> bool:
        """Returns when it is time for a look, or when the worker misses a device: its word costs
        nothing, and a pause may have grown long. False: it is well, or no longer served."""
        while not well.is_set() and self._is_served(served):
            word = served.engine.missing_device
            left_s = doubt.due_s - time.monotonic()
            if left_s <= 0 or (word and word != doubt.word):
                return True
            doubt.word = word
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(well.wait(), min(left_s, self._again_s))
        return False

    def _is_served(self, served: Served) -> bool:
        return any(one is served for one in self._fleet.models)

    async def _without(self, lost: list[str], served: Served, now: Hardware) -> None:
        before, self._hardware = self._hardware, remaining(self._hardware, now)
        for use in self._uses:
            use(self._hardware)
        await self._move_from(lost, served)
        for other in self._fleet.models:  # nobody would notice before it is asked for
            lost = lost_devices(other.engine.plan, before, now)
            if lost and other.engine.state == "sleeping":
                await self._move_from(lost, other)

    async def _move_from(self, lost: list[str], served: Served) -> None:
        self._tell(served, f"{', '.join(lost)} is lost: it is planned on what is left")
        try:
            new = await self._fleet.move(served, self._free_for(served))
        except EdgellmError as error:
            self._tell(served, f"it can't be served without: {error}")
        else:
            self._tell(new, f"it is served again: {describe(new.engine.plan)}")

    def _tell(self, served: Served, text: str) -> None:
        """On the terminal, and in the log that the screen and the status show."""
        line = f"{served.name}: {text}"
        served.engine.log.append(line)
        self._say(line)

    def _free_for(self, served: Served) -> Hardware:
        left = self._hardware
        for other in self._fleet.models:
            if other is not served and not _makes_place(other.engine, served.engine):
                left = machine.without(left, other.engine.plan)
        return left


def _makes_place(one: Engine, other: Engine) -> bool:
    """Two that are loaded when they are asked for need not be there at once."""
    takes_turns = one.lease is not None and other.lease is not None
    return takes_turns or one.state == "sleeping"


def _though(missing_device: str | None) -> str:
    """`missing_device`: llama.cpp's word, where it is what says that one is lost."""
    return f"though {missing_device}" if missing_device else "only a sensor is silent"


def lost_devices(plan: Plan, before: Hardware, now: Hardware) -> list[str]:
    """Of those that the plan is on."""
    left = {device.id for device in remaining(before, now).devices}
    return [id_ for id_ in plan.placement.device_ids if id_ not in left]


def remaining(before: Hardware, now: Hardware) -> Hardware:
    """What is left of `before`. Its memory is told as it was before anything was loaded; devices
    are called as llama.cpp calls them from now on, which counts those that it sees. A card whose
    files are still there and that llama.cpp no longer lists is lost, too, unless its list couldn't
    be had at all."""
    devices = tuple(kept for device in before.devices if (kept := _kept(device, before, now)))
    here = {device.id for device in devices}
    pools = {device.pool_id for device in devices}
    return dataclasses.replace(
        before,
        devices=devices,
        pools=tuple(pool for pool in before.pools if pool.id in pools),
        peers=tuple(p for p in before.peers if p.one in here and p.other in here),
    )


def _kept(device: Device, before: Hardware, now: Hardware) -> Device | None:
    """As it is called from now on. None: it is lost."""
    seen = next((one for one in now.devices if one.id == device.id), None)
    if seen is None:
        return device if _are_all_listed(device, before, now) else None
    if not now.ggml_registries and not any(one.ggml_name for one in now.devices):
        return device  # llama.cpp's list couldn't be had
    if device.ggml_name and not seen.ggml_name:
        return None
    return dataclasses.replace(device, ggml_name=seen.ggml_name, ggml_address=seen.ggml_address)


def _are_all_listed(device: Device, before: Hardware, now: Hardware) -> bool:
    """Whether llama.cpp lists as many of its kind as before: then it is only the vendor's tool that
    was silent this time, and would have told which is which."""
    listed = [
        sum(one.backend == device.backend and one.ggml_name is not None for one in seen.devices)
        for seen in (before, now)
    ]
    return device.ggml_name is not None and listed[0] == listed[1]
