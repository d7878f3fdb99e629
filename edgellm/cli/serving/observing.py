"""What really came of a plan: told to the calibrations, so that the next plan starts from it.

Speed is taken from requests that had the machine to themselves from begin to end, the first few
after a load: later ones would make a slow fan or a busy neighbour the rule; and on a machine that
others keep busy none is taken. A driver's own memory is what a load took of a card beyond
llama.cpp's figures.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edgellm.chat.events import Event, Finished
from edgellm.chat.messages import GenerateParams
from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.serving import busy
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Device, Hardware
from edgellm.profiles import load_profiles
from edgellm.runner.account import measured_shares
from edgellm.runner.adapters import Adapter
from edgellm.runner.calibration import Calibrations, Measured
from edgellm.runner.engine import Engine
from edgellm.runner.inflight import EventStream
from edgellm.runner.sandbox.rules import USUAL, Wish
from edgellm.runner.supervisor import Supervisor
from edgellm.selector.plan import Plan
from edgellm.selector.speed.speed_profile import LEAST_MEASURED_BYTES

_MOST_OBSERVED = 3  # of each kind, after each load
_LEAST_OUTPUT, _LEAST_PROMPT = 16, 128  # tokens; less is mostly noise
_LOOK_EVERY_S, _PATIENCE_S = 0.2, 10.0  # for a sample that was taken after the load

Notice = Callable[[Measured], None]


class Observer:
    """Of one server. `samples` are the newest of each device, as the meter has them."""

    def __init__(
        self,
        hardware: Hardware,
        samples: Callable[[], Sequence[Sample]],
        calibrations: Calibrations | None = None,
        load: Callable[[], float] = busy.load,
        sandbox: Wish = USUAL,
    ) -> None:
        self._hardware, self._samples, self._load = hardware, samples, load
        self._calibrations, self._sandbox = calibrations or Calibrations(), sandbox
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = _Open()

    def supervise(self, prepared: Prepared, plan: Plan, max_queue: int) -> Engine:
        path, spec, adapters = str(prepared.path), prepared.spec, prepared.adapters
        if plan.embedding or prepared.is_demo or spec.weight_bytes < LEAST_MEASURED_BYTES:
            return Supervisor(
                path, plan, max_queue=max_queue, adapters=adapters, sandbox=self._sandbox
            )
        left = {"decode": _MOST_OBSERVED, "prefill": _MOST_OBSERVED}

        def notice(seen: Measured) -> None:
            if busy.crowd(self._load(), self._hardware):
                return
            told = _rationed(seen, left)
            if told.decode_tok_s or told.prefill_tok_s:
                speed = load_profiles().speed
                self._soon(self._calibrations.observe, plan, spec, self._hardware, speed, told)

        return Watched(
            path,
            plan,
            self._open,
            notice,
            max_queue=max_queue,
            adapters=adapters,
            sandbox=self._sandbox,
        )

    def used_bytes(self) -> dict[str, int]:
        """Of each device that tells it, now."""
        return {s.device_id: s.used_bytes for s in self._samples() if s.used_bytes is not None}

    def begin(self, engine: Engine, before: dict[str, int]) -> None:
        """Beside what goes on. Within the event loop."""
        self._keep(asyncio.create_task(self.loaded(engine, before)))

    async def loaded(self, engine: Engine, before: dict[str, int]) -> None:
        """`before` the load: what `used_bytes` told. Waits for what the meter reads after it."""
        memory = engine.ready.memory if engine.ready else ()
        taken = measured_shares(memory, engine.plan.placement, self._hardware)
        cards = [self._hardware.device(id) for id in engine.plan.placement.device_ids]
        known = [card for card in cards if card.id in before and self._owns_memory(card)]
        if not taken or not known:
            return
        after = await self._fresh([card.id for card in known])
        for share, part in zip(engine.plan.shares, taken, strict=True):
            card = next((card for card in known if card.id == share.device_id), None)
            if card and card.id in after:
                total = self._hardware.pool(card.pool_id).total_bytes
                accounted = part.weight_bytes + part.kv_bytes + part.compute_bytes
                await asyncio.to_thread(
                    self._calibrations.observe_overhead,
                    card, total - before[card.id], total - after[card.id], accounted,
                )  # fmt: skip

    def _owns_memory(self, card: Device) -> bool:
        """Of what is shared, too many others take their part meanwhile."""
        return self._hardware.pool(card.pool_id).kind == "dedicated"

    async def _fresh(self, ids: Sequence[str]) -> dict[str, int]:
        """Samples that were taken from here on; empty when none comes in time."""
        since_s = time.monotonic()
        while time.monotonic() < since_s + _PATIENCE_S:
            new = {s.device_id: s.used_bytes for s in self._samples() if s.at_s > since_s}
            if all(new.get(id) is not None for id in ids):
                return {id: n_bytes for id, n_bytes in new.items() if n_bytes is not None}
            await asyncio.sleep(_LOOK_EVERY_S)
        return {}

    def _soon(self, work: Callable[..., None], *args: object) -> None:
        self._keep(asyncio.create_task(asyncio.to_thread(work, *args)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def measured(done: Finished) -> Measured:
    """A request that ran alone, as the calibrations take it."""
    times, n_read = done.timings, done.n_prompt - done.n_cached
    decode = prefill = None
    if done.n_output >= _LEAST_OUTPUT and times.decode_s > 0:
        decode = (done.n_output - 1) / times.decode_s
    if n_read >= _LEAST_PROMPT and times.prefill_s > 0:
        prefill = n_read / times.prefill_s
    return Measured(
        decode_tok_s=decode,
        depth=done.n_prompt + done.n_output // 2,
        prefill_tok_s=prefill,
        n_prompt=n_read,
        prompt_depth=done.n_cached,
    )


def _rationed(seen: Measured, left: dict[str, int]) -> Measured:
    """Without what was told often enough."""
    decode = seen.decode_tok_s if left["decode"] > 0 else None
    prefill = seen.prefill_tok_s if left["prefill"] > 0 else None
    left["decode"] -= decode is not None
    left["prefill"] -= prefill is not None
    return replace(seen, decode_tok_s=decode, prefill_tok_s=prefill)


@dataclass(slots=True)
class _Open:
    """The requests of all models of a server: they share what computes."""

    n: int = 0
    n_crowds: int = 0  # how often one came while another ran


class Watched(Supervisor):
    """Tells of each request that had the machine to itself."""

    def __init__(
        self,
        path: str,
        plan: Plan,
        everyone: _Open,
        notice: Notice,
        *,
        max_queue: int,
        adapters: Sequence[Adapter] = (),
        sandbox: Wish = USUAL,
    ) -> None:
        super().__init__(path, plan, max_queue=max_queue, adapters=adapters, sandbox=sandbox)
        self._open, self._notice = everyone, notice

    def generate(
        self, prompt: str | tuple[int, ...], params: GenerateParams
    ) -> AsyncIterator[Event]:
        events = super().generate(prompt, params)
        assert isinstance(events, EventStream)
        # structure and logprobs cost time of their own
        is_plain = not (params.structure or params.logprobs is not None or params.adapters)
        events.on_end = partial(self._left, self._entered(), is_plain)
        return events

    def _entered(self) -> int | None:
        """None: somebody else is there already."""
        self._open.n += 1
        if self._open.n > 1:
            self._open.n_crowds += 1
            return None
        return self._open.n_crowds

    def _left(self, since: int | None, is_plain: bool, ending: Event | None) -> None:
        self._open.n -= 1
        if is_plain and isinstance(ending, Finished) and since == self._open.n_crowds:
            self._notice(measured(ending))
