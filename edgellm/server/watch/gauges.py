"""Gauges for /metrics, read from the Status at each scrape. Unknown is absent, never 0."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgellm.server.door.bodies import Bodies
from edgellm.status import DeviceStatus, EnergyStatus, ModelStatus, ResponsesStatus, Status

_MODEL: tuple[tuple[str, str, Callable[[ModelStatus], float | None]], ...] = (
    ("model_ready", "1 when it answers", lambda m: float(m.state == "ready")),
    ("requests_running", "Sequences being computed", lambda m: m.n_running),
    ("requests_waiting", "Requests in the queue", lambda m: m.n_waiting),
    ("sequences_retained", "Ended sequences whose KV is kept", lambda m: m.n_retained),
    ("kv_cells", "KV cells there are", lambda m: m.n_cells),
    ("kv_cells_used", "KV cells that hold a token", lambda m: m.n_cells_used),
    ("kv_cells_looked_at", "By every row of a step", lambda m: m.n_kv),
    ("prefix_ram_bytes", "Memory of what left the cells", lambda m: m.prefix_ram_bytes),
    ("prefix_disk_bytes", "The same on disk", lambda m: m.prefix_disk_bytes),
    ("prefix_ram_tokens", "Prompt tokens that came back from memory", lambda m: m.n_restored),
    ("prefix_disk_tokens", "Prompt tokens that came back from disk", lambda m: m.n_loaded),
    ("decode_tokens_per_second", "Over the last seconds", lambda m: m.decode_tok_s),
    ("prefill_tokens_per_second", "Over the last seconds", lambda m: m.prefill_tok_s),
    ("worker_rss_bytes", "The worker's resident memory", lambda m: m.rss_bytes),
    ("worker_restarts", "Since the server began", lambda m: m.n_restarts),
    ("model_load_seconds", "What the last load took", lambda m: m.load_s),
)
_DEVICE: tuple[tuple[str, str, Callable[[DeviceStatus], float | None]], ...] = (
    ("device_memory_bytes", "Memory of its pool", lambda d: d.total_bytes),
    ("device_memory_used_bytes", "Of this, in use by anyone", lambda d: d.used_bytes),
    ("device_busy_ratio", "0 to 1", lambda d: d.busy_ratio),
    ("device_temperature_celsius", "Its own sensor", lambda d: d.temperature_c),
    ("device_power_watts", "Its own sensor", lambda d: d.power_w),
    ("device_power_limit_watts", "What it may draw", lambda d: d.power_limit_w),
    ("device_clock_hertz", "Of its cores", lambda d: d.clock_hz),
    ("device_hotspot_celsius", "The hottest place of its chip", lambda d: d.hotspot_c),
    ("device_memory_celsius", "Of its memory", lambda d: d.memory_c),
    ("device_memory_clock_hertz", "Of its memory", lambda d: d.memory_clock_hz),
    ("device_fan_ratio", "0 to 1, of full speed", lambda d: d.fan_ratio),
    ("device_pcie_lanes", "That run", lambda d: d.n_lanes),
    ("device_pcie_errors", "Since the machine started", lambda d: d.n_link_errors),
    (
        "device_throttled",
        "1 while heat or power slows it",
        lambda d: float(bool(d.throttle)) if d.sees_throttle else None,
    ),
)
_ENERGY: tuple[tuple[str, str, Callable[[EnergyStatus], float]], ...] = (
    ("energy_joules", "All that the sensors told of", lambda e: e.total_j),
    ("energy_idle_joules", "Of this, while nothing was computed", lambda e: e.idle_j),
)
_RESPONSES: tuple[tuple[str, str, Callable[[ResponsesStatus], float]], ...] = (
    ("responses_kept", "That clients may come back to", lambda r: r.n_kept),
    ("responses_kept_bytes", "Memory that these take", lambda r: r.kept_bytes),
    ("responses_kept_limit_bytes", "That they may have", lambda r: r.most_bytes),
    ("responses_background", "Written in the background", lambda r: r.n_running),
)
_STATES = ("ok", "degraded", "lost")


class Gauges(Collector):
    def __init__(
        self, status: Callable[[], Status], registry: CollectorRegistry, bodies: Bodies
    ) -> None:
        self._status, self._bodies = status, bodies
        registry.register(self)

    def describe(self) -> list[Metric]:
        return []  # or registering would collect, before there is anything to read

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        yield _one("uptime_seconds", "Since the server began", status.uptime_s)
        for name, help, read in _MODEL:
            family = GaugeMetricFamily(f"edgellm_{name}", help, labels=("model",))
            for model in status.models:
                if (value := read(model)) is not None:
                    family.add_metric((model.name,), value)
            yield family
        for name, help, read_device in _DEVICE:
            family = GaugeMetricFamily(f"edgellm_{name}", help, labels=("device", "name"))
            for device in status.devices:
                if (value := read_device(device)) is not None:
                    family.add_metric((device.id, device.name), value)
            yield family
        held_up = float(status.held_up is not None)
        yield _one("admission_held", "1 while a guard rail slows requests", held_up)
        yield _one("request_bodies_bytes", "Of all requests together", self._bodies.held_bytes)
        yield _one("request_bodies_limit_bytes", "That they may have", self._bodies.most_bytes)
        if status.responses:
            for name, help, read_responses in _RESPONSES:
                yield _one(name, help, read_responses(status.responses))
        yield from _energy(status.energy)
        yield _health(status.models)


def _one(name: str, help: str, value: float) -> Metric:
    family = GaugeMetricFamily(f"edgellm_{name}", help)
    family.add_metric((), value)
    return family


def _health(models: Iterable[ModelStatus]) -> Metric:
    """One sample a model: 0 when it is well, 1 degraded, 2 lost."""
    family = GaugeMetricFamily(
        "edgellm_model_health", "0 well, 1 degraded, 2 lost", labels=("model", "cause")
    )
    for model in models:
        if model.health:
            cause = model.health.cause or ""
            family.add_metric((model.name, cause), _STATES.index(model.health.state))
    return family


def _energy(energy: EnergyStatus | None) -> Iterator[Metric]:
    for name, help, read in _ENERGY:
        counter = CounterMetricFamily(f"edgellm_{name}", help)
        if energy:
            counter.add_metric((), read(energy))
        yield counter
    power = GaugeMetricFamily("edgellm_power_watts", "Of all devices together, each watt once")
    if energy and energy.power_w is not None:
        power.add_metric((), energy.power_w)
    yield power
    paid = CounterMetricFamily("edgellm_energy_cost", "Of all joules", labels=("currency",))
    if energy and energy.cost is not None:
        paid.add_metric((energy.currency,), energy.cost)
    yield paid
