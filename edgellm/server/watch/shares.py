"""What each key has used since the server began, for Prometheus. A registry of its own: it is shown
to who may see what others use."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from edgellm.meter.usage.counts import Day, Use

_COUNTS: tuple[tuple[str, str, Callable[[Use], float | None]], ...] = (
    ("key_requests", "That were let in", lambda use: use.n_requests),
    ("key_refused_requests", "For a quota", lambda use: use.n_refused),
    ("key_prompt_tokens", "Prompt tokens asked for", lambda use: use.n_prompt),
    ("key_cached_tokens", "Of these, found in the prefix cache", lambda use: use.n_cached),
    ("key_generated_tokens", "Tokens written", lambda use: use.n_output),
    ("key_work_seconds", "Of the models' time, where it is known", lambda use: use.work_s),
    ("key_energy_joules", "Of answers whose joules are known", lambda use: use.energy_j),
)


class Shares(Collector):
    def __init__(self, since_start: Day) -> None:
        self._day, self.registry = since_start, CollectorRegistry()
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        for name, help, read in _COUNTS:
            family = CounterMetricFamily(f"edgellm_{name}", help, labels=("key", "model"))
            for key, models in self._day.keys.items():
                for model, use in models.items():
                    if (value := read(use)) is not None:
                        family.add_metric((key, model), value)
            yield family
