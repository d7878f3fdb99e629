"""A model in a context, as a placement sees it: what any run of its layers weighs.

The output head is the last layer, as in llama.cpp. Sums are cumulated, so that the weight of a
run is two subtractions and filling a device is a bisection.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory import ContextShape, cumulated_kv_bytes, cumulated_layer_bytes


@dataclass(frozen=True, slots=True)
class Bulk:
    """A model's weights, whatever the context. `weights[n]`: of its first n layers."""

    spec: ModelSpec
    weights: tuple[int, ...]
    experts: tuple[int, ...]

    @classmethod
    def of(cls, spec: ModelSpec) -> "Bulk":
        experts = accumulate((layer.expert_bytes for layer in spec.layers), initial=0)
        return cls(spec, cumulated_layer_bytes(spec), tuple(experts))

    @property
    def has_experts(self) -> bool:
        return self.experts[-1] > 0

    def load(self, shape: ContextShape) -> "Load":
        return Load(self, shape, cumulated_kv_bytes(self.spec, shape))


@dataclass(frozen=True, slots=True)
class Load:
    bulk: Bulk
    shape: ContextShape
    kv: tuple[int, ...]  # of the first n layers

    @property
    def spec(self) -> ModelSpec:
        return self.bulk.spec

    @property
    def n_blocks(self) -> int:
        return self.spec.n_layers

    @property
    def n_all(self) -> int:
        return self.spec.n_layers + 1

    def run_bytes(self, start: int, stop: int, n_cpu_moe: int = 0) -> int:
        """Weights and KV of layers start … stop − 1 without the experts of the first n_cpu_moe."""
        weights, experts, n = self.bulk.weights, self.bulk.experts, self.n_blocks
        total = weights[stop] - weights[start]
        total += self.kv[min(stop, n)] - self.kv[min(start, n)]
        if start < n_cpu_moe:
            total -= experts[min(stop, n_cpu_moe, n)] - experts[start]
        return total

    def lowest_that_fits(self, room: int, floor: int, stop: int, n_cpu_moe: int) -> int:
        """The smallest `start` >= floor for which the run up to `stop` takes no more than room."""
        return bisect_left(
            range(stop), -room, lo=floor, key=lambda i: -self.run_bytes(i, stop, n_cpu_moe)
        )

    def take(self, rooms: Sequence[int], stop: int, floor: int, n_cpu_moe: int) -> list[range]:
        """One run for each room, from `stop` downwards; empty where nothing fits."""
        runs = []
        for room in rooms:
            start = self.lowest_that_fits(room, floor, stop, n_cpu_moe) if stop > floor else stop
            runs.append(range(start, stop))
            stop = start
        return runs
