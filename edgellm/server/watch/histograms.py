"""Histograms for Prometheus that a token can afford. One thread observes and collects."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Buckets:
    """How many observations are at most as large as each bound, and larger than the one before."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """The library's own takes two locks, and looks at one bound after the other."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Histogram(Collector):
    """Of seconds, by model. Its buckets are cumulative where they are told, as Prometheus wants."""

    def __init__(
        self, name: str, help: str, bounds: tuple[float, ...], registry: CollectorRegistry
    ) -> None:
        self._name, self._help, self._bounds = name, help, bounds
        self._of: dict[str, Buckets] = {}
        registry.register(self)

    def of(self, model: str) -> Buckets:
        if model not in self._of:
            self._of[model] = Buckets(self._bounds)
        return self._of[model]

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._help, labels=("model",))
        for model, buckets in self._of.items():
            names = (*(str(float(bound)) for bound in self._bounds), "+Inf")
            told = [*zip(names, map(float, accumulate(buckets.counts)), strict=True)]
            family.add_metric((model,), told, buckets.total)
        yield family
