"""Looks after every model once a second: what sensors, worker and plan say, for meter/health.py."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

from edgellm.meter.health import OK, Health, Vitals, Watch
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Hardware
from edgellm.runner.account import measured_shares
from edgellm.runner.engine import Engine
from edgellm.runner.messages import Gauge
from edgellm.server.served import Served
from edgellm.server.watch.contention import CpuTime, Others, computes_on_cpu, cpu_s
from edgellm.server.watch.expected import expected_tok_s_p10

_PERIOD_S = 0.9
_BUSY_RATIO = 0.3  # at rest a link may be narrow to save power
_LEAST_TOKENS = 2  # that must have been expected before an interval says anything

OnChange = Callable[[Served, Health], None]


def swapped_in_bytes() -> int | None:
    """By the whole machine, since it was started."""
    try:
        return int(psutil.swap_memory().sin)
    except (OSError, RuntimeError, RuntimeWarning):  # a container that hides it
        return None


class Checkup:
    def __init__(
        self,
        hardware: Hardware,
        samples: Callable[[], tuple[Sample, ...]],
        on_change: OnChange,
        swapped_in: Callable[[], int | None] = swapped_in_bytes,
        own_cpu_s: CpuTime = cpu_s,
    ) -> None:
        self.hardware = hardware
        self._samples, self._on_change, self._swapped_in = samples, on_change, swapped_in
        self._own_cpu_s, self._n_cpus = own_cpu_s, psutil.cpu_count() or 1
        self._charts: dict[Engine, _Chart] = {}
        self._told: dict[str, Health] = {}  # by the model's name: engines come and go
        self._sampled: set[str] = set()  # devices that have answered once
        self._most_lanes: dict[str, int] = {}
        self._ticked_s: float | None = None
        self._swap: tuple[float, int] | None = None

    def tick(self, now_s: float, models: Iterable[Served]) -> None:
        """More often than about once a second it does nothing: what is seen must be comparable."""
        if self._ticked_s is not None and now_s - self._ticked_s < _PERIOD_S:
            return
        self._ticked_s = now_s
        samples = {sample.device_id: sample for sample in self._samples()}
        self._sampled |= samples.keys()
        swap_bytes_s = self._swap_bytes_s(now_s)
        models = tuple(models)
        self._charts = {one.engine: self._charts.get(one.engine) or _Chart() for one in models}
        working = [one for one in models if self._charts[one.engine].has_worked(one.engine.gauge)]
        for served in models:
            chart = self._charts[served.engine]
            others_work = any(one is not served for one in working)
            vitals = self._vitals(now_s, served, samples, swap_bytes_s, others_work)
            self._tell(served, chart.watch.look(vitals))
        self._told = {one.name: self._told[one.name] for one in models if one.name in self._told}

    def _tell(self, served: Served, health: Health) -> None:
        """What has changed; of one that was ill no good news before it answers again."""
        told = self._told.get(served.name, OK)
        is_good_news = health.state == "ok" and served.engine.state != "ready"
        if (told.state, told.cause) != (health.state, health.cause) and not is_good_news:
            self._told[served.name] = health
            self._on_change(served, health)

    def health(self, engine: Engine) -> Health:
        chart = self._charts.get(engine)
        return chart.watch.health if chart else OK

    def _vitals(
        self,
        now_s: float,
        served: Served,
        samples: dict[str, Sample],
        swap_bytes_s: float | None,
        others_work: bool,
    ) -> Vitals:
        """The plan's speed is a lone model's: beside another that computes, none is expected."""
        engine, planned = served.engine, served.engine.plan.placement.device_ids
        chart, depths = self._charts[engine], () if others_work else _depths(engine.gauge)
        expected = expected_tok_s_p10(served, self.hardware, depths)
        held, used = self._held_bytes(engine), self._used_bytes(planned, samples)
        host = samples.get("cpu", Sample("cpu", now_s))
        here = {*samples, *(id_ for id_ in planned if chart.works or id_ not in self._sampled)}
        return Vitals(
            at_s=now_s,
            expected_tok_s_p10=expected,
            measured_tok_s=chart.measured_tok_s(now_s, engine.gauge, expected),
            planned_devices=planned,
            present_devices=tuple(id_ for id_ in planned if id_ in here),
            missing_device=engine.missing_device,
            planned_bytes=sum(s.weight_bytes for s in engine.plan.placement.shares[:-1]) or None,
            held_bytes=held,
            used_bytes=used,
            throttle=tuple(
                reason
                for id_ in (*planned, "cpu")
                if id_ in samples
                for reason in samples[id_].throttle
            ),
            lanes=self._lanes(planned, samples),
            swapped_in_bytes_s=swap_bytes_s,
            host_free_bytes=_difference(host.total_bytes, host.used_bytes),
            host_total_bytes=host.total_bytes,
            others_busy_ratio=self._others_busy_ratio(now_s, engine, host),
        )

    def _others_busy_ratio(self, now_s: float, engine: Engine, host: Sample) -> float | None:
        if not computes_on_cpu(engine.plan):
            return None
        own_s = self._own_cpu_s(engine.pid)
        return self._charts[engine].others.look(now_s, host.busy_ratio, own_s, self._n_cpus)

    def _held_bytes(self, engine: Engine) -> int | None:
        told = engine.ready.memory if engine.ready else ()
        shares = measured_shares(told, engine.plan.placement, self.hardware)
        return sum(share.weight_bytes for share in shares[:-1]) if shares else None

    def _used_bytes(self, planned: tuple[str, ...], samples: dict[str, Sample]) -> int | None:
        """On the planned devices, if all of them have memory of their own and tell."""
        known = {device.id: device.pool_id for device in self.hardware.devices}
        used = [
            samples[id_].used_bytes
            for id_ in planned
            if id_ in samples and self.hardware.pool(known[id_]).kind == "dedicated"
        ]
        told = [n for n in used if n is not None]
        return sum(told) if told and len(told) == len(planned) else None

    def _lanes(
        self, planned: tuple[str, ...], samples: dict[str, Sample]
    ) -> tuple[tuple[str, int, int], ...]:
        found = []
        for id_ in planned:
            sample = samples.get(id_)
            if sample and sample.n_lanes and (sample.busy_ratio or 0) >= _BUSY_RATIO:
                most = max(sample.n_lanes, self._most_lanes.get(id_, 0))
                self._most_lanes[id_] = most
                found.append((id_, sample.n_lanes, most))
        return tuple(found)

    def _swap_bytes_s(self, now_s: float) -> float | None:
        read = self._swapped_in()
        before, self._swap = self._swap, None if read is None else (now_s, read)
        if before is None or read is None or now_s <= before[0]:
            return None
        return max(0, read - before[1]) / (now_s - before[0])


@dataclass(frozen=True, slots=True)
class _Mark:
    at_s: float
    n_decoded: int
    n_prefilled: int
    streams: frozenset[int]  # who decodes


class _Chart:
    """What is remembered of one engine."""

    def __init__(self) -> None:
        self.watch, self.others = Watch(), Others()
        self._mark: _Mark | None = None
        self._n_steps: int | None = None
        self.works = False

    def has_worked(self, gauge: Gauge | None) -> bool:
        """Since the last look. Whoever computes on a device has it, whatever the sensors say."""
        before, self._n_steps = self._n_steps, gauge.n_steps if gauge else None
        known = before is not None and self._n_steps is not None
        self.works = known and (self._n_steps or 0) > (before or 0)
        return self.works

    def measured_tok_s(
        self, now_s: float, gauge: Gauge | None, expected_tok_s: float | None
    ) -> float | None:
        """Of an interval in which the same streams decoded and nothing else was computed."""
        streams = frozenset(row[0] for row in gauge.sequences if row[3]) if gauge else frozenset()
        if gauge is None or not streams or expected_tok_s is None:
            self._mark = None
            return None
        mark = _Mark(now_s, gauge.n_decoded, gauge.n_prefilled, streams)
        before = self._mark
        if before is None or (before.streams, before.n_prefilled) != (streams, mark.n_prefilled):
            self._mark = mark
            return None
        seconds = now_s - before.at_s
        if seconds * expected_tok_s < _LEAST_TOKENS or seconds < 0.5:
            return None
        self._mark = mark
        return (mark.n_decoded - before.n_decoded) / seconds


def _depths(gauge: Gauge | None) -> list[int]:
    return [row[2] for row in gauge.sequences if row[3]] if gauge else []


def _difference(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else whole - part
