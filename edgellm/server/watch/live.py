"""The whole live state, gathered when somebody asks: models, engines, devices, one `Status`.

What is measured lies with the engines (Gauge, ten times a second) and with the meter (Sample,
once a second); only the rates are ours, from the worker's counters over the last seconds.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import psutil

import edgellm
from edgellm.chat.events import Finished
from edgellm.meter.health import Health
from edgellm.meter.sample import Sample
from edgellm.meter.usage.counts import Allowance
from edgellm.probe.hardware import Device, Hardware
from edgellm.runner.account import measured_shares
from edgellm.runner.engine import Engine
from edgellm.runner.messages import Gauge
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.plan import Plan, Share
from edgellm.server.served import Models, Served
from edgellm.server.watch.checkup import Checkup, OnChange
from edgellm.server.watch.joules import Joules, Tariff
from edgellm.status import (
    RATE_WINDOW_S,
    DeviceStatus,
    Download,
    HealthStatus,
    KeyStatus,
    MemoryParts,
    ModelStatus,
    PlanStatus,
    ResponsesStatus,
    SequenceStatus,
    ShareStatus,
    Status,
)

_LOG_LINES = 100


def no_samples() -> tuple[Sample, ...]:
    return ()


def nobody_hears(served: Served, health: Health) -> None:
    pass


def nobody_waits() -> str | None:
    return None


def no_responses() -> ResponsesStatus | None:
    return None


def no_download() -> Download | None:
    return None


@dataclass(frozen=True, slots=True)
class Watched:
    """What is seen beside the models, and who is told of their health."""

    hardware: Hardware | None = None
    samples: Callable[[], tuple[Sample, ...]] = no_samples
    download: Callable[[], Download | None] = no_download
    tariff: Tariff = field(default_factory=Tariff)
    on_health: OnChange = nobody_hears


_NOTHING = Watched()


class Live:
    """`tick` it about once a second; without, rates span the time between two questions."""

    def __init__(
        self,
        models: Models,
        watched: Watched = _NOTHING,
        *,
        held_up: Callable[[], str | None] = nobody_waits,
        responses: Callable[[], ResponsesStatus | None] = no_responses,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = ""  # known once the server listens
        hardware, samples = watched.hardware, watched.samples
        self._models, self._samples, self._hardware = models, samples, hardware
        self._download, self._clock = watched.download, clock
        self._began_s = clock()
        self._paces: dict[Engine, _Pace] = {}
        self._joules = Joules(hardware, samples, watched.tariff) if hardware else None
        self._checkup = Checkup(hardware, samples, self._noted) if hardware else None
        self._on_health, self._held_up = watched.on_health, held_up
        self._responses = responses

    def tick(self) -> None:
        now_s = self._clock()
        paces = {served.engine: self._pace(served.engine) for served in self._models}
        for engine, pace in paces.items():
            pace.note(now_s, engine.gauge)
        self._paces = paces  # those of swapped models are forgotten
        if self._joules:
            self._joules.tick(now_s, self._models)
        if self._checkup:
            self._checkup.tick(now_s, self._models)

    def use(self, hardware: Hardware) -> None:
        """It has changed: a device was lost."""
        self._hardware = hardware
        if self._checkup:
            self._checkup.hardware = hardware

    def priced(self, engine: Engine, finished: Finished) -> Finished:
        """With its joules, where sensors tell them."""
        return self._joules.priced(engine, finished) if self._joules else finished

    def machine_j(self) -> float | None:
        """All that the sensors have told of since the server began."""
        energy = self._joules.status() if self._joules else None
        return energy.total_j if energy else None

    def status(self, models: Models | None = None, keys: Iterable[Allowance] = ()) -> Status:
        """`models`: those that are there for whoever asks; None: all. `keys`: those whose use he
        may see."""
        self.tick()
        now_s, shown = self._clock(), self._models if models is None else models
        lines = [line for served in shown for line in served.engine.log]
        return Status(
            version=edgellm.__version__,
            pid=os.getpid(),
            url=self.url,
            uptime_s=now_s - self._began_s,
            models=tuple(self._model(served, shown, now_s) for served in shown),
            devices=self._devices(),
            download=self._download() if shown is self._models else None,
            held_up=self._held_up(),
            responses=self._responses(),
            energy=self._joules.status() if self._joules else None,
            keys=tuple(
                KeyStatus(name=one.key, n_running=one.n_running, used_today=one.used_today)
                for one in keys
            ),
            log=tuple(lines[-_LOG_LINES:]),
        )

    def _noted(self, served: Served, health: Health) -> None:
        served.engine.log.append(f"health of {served.name}: {health}")
        self._on_health(served, health)

    def _health(self, engine: Engine, now_s: float) -> HealthStatus | None:
        if self._checkup is None:
            return None
        health = self._checkup.health(engine)
        return HealthStatus(
            state=health.state,
            cause=health.cause,
            message=health.finding.message if health.finding else None,
            age_s=now_s - max(health.since_s, self._began_s),
        )

    def _pace(self, engine: Engine) -> "_Pace":
        return self._paces.get(engine) or _Pace()

    def _model(self, served: Served, shown: Models, now_s: float) -> ModelStatus:
        engine, gauge = served.engine, served.engine.gauge
        pace = self._pace(engine)
        counts = {} if gauge is None else _counts(gauge)
        return ModelStatus(
            name=served.name,
            aliases=shown.aliases_of(served),
            state=engine.state,
            embedding=served.is_embedding,
            reranking=served.kind == "reranking",
            demo=served.demo,
            may_go=served.may_go,
            sleeps_in_s=engine.lease.left_s if engine.lease else None,
            switches_thoughts=served.template.switches_thoughts,
            n_ctx_train=served.n_ctx_train,
            shows_tools=served.template.shows_tools,
            progress_ratio=engine.progress_ratio,
            detail=str(engine.failure) if engine.failure else None,
            pid=engine.pid,
            rss_bytes=_rss_bytes(engine.pid),
            n_restarts=engine.n_restarts,
            landlock=engine.ready.landlock if engine.ready else None,
            load_s=engine.ready.load_s if engine.ready else None,
            decode_tok_s=pace.decode_tok_s,
            prefill_tok_s=pace.prefill_tok_s,
            stream_tok_s=pace.stream_tok_s,
            sequences=pace.sequences(gauge, now_s),
            plan=_plan_status(engine.plan, engine, self._hardware),
            health=self._health(engine, now_s),
            **counts,
        )

    def _devices(self) -> tuple[DeviceStatus, ...]:
        if self._hardware is None:
            return ()
        newest = {sample.device_id: sample for sample in self._samples()}
        return tuple(
            _device_status(device, self._hardware, newest.get(device.id))
            for device in self._hardware.devices
        )


class _Pace:
    """The worker's counters over the last seconds, and when each request was first seen."""

    def __init__(self) -> None:
        # at, decoded, prefilled, and of answers alone: decoded, in so many seconds
        self._notes: deque[tuple[float, int, int, int, float]] = deque()
        self.stream_tok_s: float | None = None
        self._first_seen_s: dict[int, float] = {}

    def note(self, now_s: float, gauge: Gauge | None) -> None:
        is_new = bool(self._notes) and gauge is not None and gauge.n_decoded < self._notes[-1][1]
        if gauge is None or is_new:  # a new worker counts from zero, and may have another plan
            self._notes.clear()
            self.stream_tok_s = None
        if gauge is None:
            return
        n_alone = self._notes[-1][3] if self._notes else 0
        note = (now_s, gauge.n_decoded, gauge.n_prefilled, gauge.n_alone, gauge.alone_s)
        self._notes.append(note)
        while len(self._notes) > 2 and self._notes[1][0] <= now_s - RATE_WINDOW_S:
            self._notes.popleft()
        if gauge.n_alone > n_alone:
            self.stream_tok_s = self._alone()

    def _alone(self) -> float | None:
        """Seconds of decoding are counted, so that a short answer has the speed of a long one."""
        first, last = self._notes[0], self._notes[-1]
        n_before, before_s = first[3:] if len(self._notes) > 1 else (0, 0.0)
        seconds = last[4] - before_s
        return (last[3] - n_before) / seconds if seconds > 0 else None

    @property
    def decode_tok_s(self) -> float | None:
        return self._rate(1)

    @property
    def prefill_tok_s(self) -> float | None:
        return self._rate(2)

    def _rate(self, column: int) -> float | None:
        """None where nothing ran: no work is not "0 tokens a second"."""
        if len(self._notes) < 2:
            return None
        first, last = self._notes[0], self._notes[-1]
        n_tokens, seconds = last[column] - first[column], last[0] - first[0]
        return n_tokens / seconds if n_tokens > 0 and seconds > 0 else None

    def sequences(self, gauge: Gauge | None, now_s: float) -> tuple[SequenceStatus, ...]:
        rows = gauge.sequences if gauge else ()
        self._first_seen_s = {row[0]: self._first_seen_s.get(row[0], now_s) for row in rows}
        return tuple(
            SequenceStatus(
                request_id=request_id,
                state=_phase(n_prompt, n_computed, n_output),
                n_prompt=n_prompt,
                n_computed=n_computed,
                n_output=n_output,
                age_s=now_s - self._first_seen_s[request_id],
            )
            for request_id, n_prompt, n_computed, n_output in rows
        )


def _phase(n_prompt: int, n_computed: int, n_output: int) -> str:
    if n_output or (n_prompt and n_computed >= n_prompt):
        return "decode"
    return "prefill" if n_computed else "waiting"


def _counts(gauge: Gauge) -> dict[str, Any]:
    names = (
        "n_waiting", "n_running", "n_retained", "n_cells", "n_cells_used",
        "n_decoded", "n_prompt", "n_cached", "n_drafted", "n_draft_accepted",
        "n_kv", "n_restored", "n_loaded", "prefix_ram_bytes", "prefix_disk_bytes",
    )  # fmt: skip
    return {name: getattr(gauge, name) for name in names}


def _rss_bytes(pid: int | None) -> int | None:
    try:
        return None if pid is None else int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it has just ended
        return None


def _plan_status(plan: Plan, engine: Engine, hardware: Hardware | None) -> PlanStatus:
    decode = plan.decode_tok_s
    return PlanStatus(
        file=plan.file,
        draft=plan.draft,
        projector=plan.projector,
        quant=plan.quant,
        n_ctx=plan.n_ctx,
        n_ctx_seq=plan.n_ctx_seq,
        n_parallel=plan.n_parallel,
        kv_type_k=plan.kv_type_k,
        kv_type_v=plan.kv_type_v,
        n_threads=plan.n_threads,
        n_gpu_layers=plan.placement.n_gpu_layers,
        n_cpu_moe=plan.placement.n_cpu_moe,
        expert_parts=plan.placement.expert_parts,
        shares=_shares(plan, engine, hardware),
        bytes_from=plan.bytes_from,
        decode_tok_s_p10=decode.p10 if decode else None,
        decode_tok_s_p50=decode.p50 if decode else None,
        decode_tok_s_p90=decode.p90 if decode else None,
        reasons=plan.reasons,
    )


def _shares(plan: Plan, engine: Engine, hardware: Hardware | None) -> tuple[ShareStatus, ...]:
    told = engine.ready.memory if engine.ready and hardware else ()
    measured = measured_shares(told, plan.placement, hardware) if hardware else ()
    return tuple(
        ShareStatus(
            device_id=share.device_id,
            n_layers=len(share.layers),
            predicted=_parts(share),
            measured=_parts(measured[i]) if measured else None,
            overhead_bytes=share.overhead_bytes,
        )
        for i, share in enumerate(plan.shares)
    )


def _parts(of: Share | BufferBytes) -> MemoryParts:
    return MemoryParts(
        weight_bytes=of.weight_bytes, kv_bytes=of.kv_bytes, compute_bytes=of.compute_bytes
    )


def _device_status(device: Device, hardware: Hardware, sample: Sample | None) -> DeviceStatus:
    pool = hardware.pool(device.pool_id)
    now = sample or Sample(device.id, 0.0)
    return DeviceStatus(
        id=device.id,
        name=device.name,
        backend=device.backend,
        total_bytes=now.total_bytes or pool.total_bytes,
        used_bytes=now.used_bytes,
        busy_ratio=now.busy_ratio,
        temperature_c=now.temperature_c,
        power_w=now.power_w,
        power_limit_w=now.power_limit_w,
        clock_hz=now.clock_hz,
        throttle=now.throttle,
        sees_throttle=now.sees_throttle,
        hotspot_c=now.hotspot_c,
        memory_c=now.memory_c,
        memory_clock_hz=now.memory_clock_hz,
        fan_ratio=now.fan_ratio,
        n_lanes=now.n_lanes,
        n_link_errors=now.n_link_errors,
        unified=pool.kind == "unified",
    )
