"""The engines of one server: started, tried again smaller, swapped, and stopped at the end.

A model is listed while it still loads, so that a client who asks is told to wait and the screen
shows how far it is; `Models` is what the server reads. One that sleeps is loaded when it is asked
for.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from edgellm.chat.events import Finished
from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.serving.find import short_forms
from edgellm.errors import DoesNotFit, EdgellmError, NotServing
from edgellm.probe.hardware import Hardware
from edgellm.runner.engine import Engine
from edgellm.runner.on_demand.caretaker import Caretaker
from edgellm.runner.on_demand.engine import OnDemand
from edgellm.runner.on_demand.room import Room
from edgellm.runner.supervisor import Supervisor
from edgellm.selector.plan import Plan
from edgellm.server.served import Models, Served
from edgellm.status import Download
from edgellm.units import format_bytes

_MAX_SMALLER_PLANS = 3
_STOP_GRACE_S = 5.0
_LOADING_GRACE_S = 0.2  # a worker that loads doesn't listen
_LOST_GRACE_S = 0.2  # a worker whose device is gone may never answer
_SWAP_GRACE_S = 60.0  # for the answers that the old model has begun
_LOOK_EVERY_S = 0.1
_SETTLE_S = 0.5  # until the gauge counts a request that came in the moment before


NewEngine = Callable[[Prepared, Plan, int], Engine]  # the last: how many requests may wait
Left = Callable[[Served, str, Finished], None]  # see Engine.on_left; and of which model


def supervise(prepared: Prepared, plan: Plan, max_queue: int) -> Engine:
    path, adapters = str(prepared.path), prepared.adapters
    return Supervisor(path, plan, max_queue=max_queue, adapters=adapters)


def nobody_counts(served: Served, key: str, finished: Finished) -> None:
    pass


class Fleet:
    def __init__(
        self,
        max_queue: int,
        say: Callable[[str], None],
        new_engine: NewEngine = supervise,
        aliases: Sequence[str] = (),
        caretaker: Caretaker | None = None,
    ) -> None:
        """`caretaker`: of those that sleep."""
        self.models = Models(aliases=aliases)
        self.on_left: Left = nobody_counts  # who counts comes later than the first engine may
        self.download: Download | None = None  # what the screen shows of one on its way
        self._max_queue, self._say, self._new_engine = max_queue, say, new_engine
        self._caretaker = caretaker or Caretaker(Room({}))
        self._engines: list[Engine] = []
        self._prepared: dict[Engine, Prepared] = {}

    def add(self, prepared: Prepared) -> Served:
        """It is listed, and waits to be started."""
        served = self._served(prepared, prepared.plan)
        self.models.add(served)
        return served

    async def load(self, prepared: Prepared) -> Served:
        """It is listed and started."""
        return await self.start(self.add(prepared))

    async def start(self, served: Served) -> Served:
        """Ready on return, unless it was moved meanwhile: who did that tells how it went. Raises
        DoesNotFit, BadGGUF, WorkerDied, NotServing."""
        try:
            return await self._start(self._prepared[served.engine], served)
        except NotServing:
            now = next((one for one in self.models if one.name == served.name), served)
            if now.engine.state in ("stopping", "stopped"):
                raise
            return now

    async def swap(self, old: Served, prepared: Prepared) -> Served:
        """`old` answers until the new one is ready, and ends what it has begun.

        When the new one can't be loaded, nothing has changed. Raises as `load` does.
        """
        sleeps = self._prepared[old.engine].sleeps and not prepared.is_pinned
        prepared = replace(prepared, sleeps=sleeps or prepared.sleeps)
        made = self._served(prepared, prepared.plan)
        try:
            new = await self._start(prepared, made, listed=False)
        except EdgellmError:
            await made.engine.stop()  # one that sleeps would be tried again
            raise
        self.models.swap(old, new)
        await self._retire(old)
        return new

    async def move(self, old: Served, hardware: Hardware) -> Served:
        """The same model, with its adapters, on what is left of the machine.

        Requests that come meanwhile wait for it, what `old` had begun is lost. Raises as `load`
        does; with no plan nothing has changed.
        """
        before, is_asleep = self._prepared[old.engine], old.engine.state == "sleeping"
        if before.on is None:
            raise DoesNotFit(f"{old.name} can't be planned again")
        now = await asyncio.to_thread(before.on, hardware)
        adapters = tuple(old.engine.adapters)
        prepared = replace(before, plan=now.plan, replan=now.replan, adapters=adapters)
        new = self._served(prepared, prepared.plan)
        new.engine.log.extend(old.engine.log)  # it tells why it was moved
        self.models.swap(old, new)
        await old.engine.stop(_LOST_GRACE_S)
        return new if is_asleep else await self._start(prepared, new)

    async def remove(self, served: Served) -> None:
        """It is served no more."""
        self.models.remove(served)
        self._engines.remove(served.engine)
        del self._prepared[served.engine]
        await self._stop(served.engine)

    async def stop(self) -> None:
        await asyncio.gather(*(self._stop(engine) for engine in self._engines))

    async def _start(self, prepared: Prepared, served: Served, *, listed: bool = True) -> Served:
        if prepared.sleeps:  # then it is tried smaller whenever it wakes
            await served.engine.start()
            return served

        def smaller(plan: Plan) -> Engine:
            nonlocal served
            before, served = served, self._served(prepared, plan)
            if listed:
                self.models.swap(before, served)
            return served.engine

        await self._started(prepared, served.engine, smaller)
        return served

    async def _started(
        self, prepared: Prepared, engine: Engine, smaller: Callable[[Plan], Engine]
    ) -> None:
        """This one, or the first with a smaller plan that loads."""
        for n_smaller in range(_MAX_SMALLER_PLANS + 1):
            try:
                await engine.start()
                return
            except DoesNotFit as error:
                failed = engine.plan
                if n_smaller == _MAX_SMALLER_PLANS:
                    raise
                less = await asyncio.to_thread(prepared.replan, failed, n_smaller)
                if less is None:
                    raise
                self._say(f"{prepared.name} did not load: {error}")
                self._say(f"trying a smaller plan: {difference(less, failed)}")
            engine = smaller(less)

    def _new(self, prepared: Prepared, plan: Plan) -> Engine:
        engine = self._new_engine(prepared, plan, self._max_queue)
        engine.on_death = self._say
        return engine

    def _on_demand(self, prepared: Prepared, plan: Plan) -> Engine:
        new, start = partial(self._new, prepared), partial(self._started, prepared)
        return OnDemand(self._caretaker, plan, new, start, prepared.keep_s)

    def _served(self, prepared: Prepared, plan: Plan) -> Served:
        make = self._on_demand if prepared.sleeps else self._new
        engine: Engine = make(prepared, plan)
        self._engines.append(engine)
        self._prepared[engine] = prepared
        served = Served(
            name=prepared.name,
            engine=engine,
            template=prepared.template,
            aliases=(*short_forms(prepared.name), *prepared.aliases),
            created=prepared.created_s,
            demo=prepared.is_demo,
            may_go=prepared.may_go,
            spec=prepared.spec,
            defaults=prepared.defaults,
        )
        engine.on_left = lambda key, finished: self.on_left(served, key, finished)
        return served

    async def _retire(self, old: Served) -> None:
        await asyncio.sleep(_SETTLE_S)
        deadline_s = time.monotonic() + _SWAP_GRACE_S
        while time.monotonic() < deadline_s:
            gauge = old.engine.gauge
            if gauge is None or gauge.n_running + gauge.n_waiting == 0:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        await old.engine.stop()

    async def _stop(self, engine: Engine) -> None:
        if engine.state != "stopped":
            is_listening = engine.state == "ready"
            await engine.stop(_STOP_GRACE_S if is_listening else _LOADING_GRACE_S)


def describe(plan: Plan) -> str:
    """ "Q4_K_M, 4 × 8192 tokens, 5.9 GiB"."""
    size = format_bytes(plan.total_bytes)
    return f"{plan.quant}, {plan.n_parallel} × {plan.n_ctx_seq} tokens, {size}"


def difference(less: Plan, failed: Plan) -> str:
    """ "KV q8_0 instead of f16, 5.1 GiB instead of 5.9 GiB": what is another in the first one."""
    pairs = zip(_aspects(less), _aspects(failed), strict=True)
    return ", ".join(f"{now} instead of {before}" for now, before in pairs if now != before)


def _aspects(plan: Plan) -> tuple[str, ...]:
    on_cpu = plan.placement.n_cpu_moe
    return (
        plan.quant,
        f"{plan.n_parallel} × {plan.n_ctx_seq} tokens",
        f"KV {plan.kv_type_k}/{plan.kv_type_v}",
        f"micro-batch {plan.n_ubatch}",
        f"{plan.placement.n_gpu_layers} layers on GPU",
        f"experts of {on_cpu} layers on the CPU",
        format_bytes(plan.total_bytes),
    )
