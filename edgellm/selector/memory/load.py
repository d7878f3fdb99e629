"""A model in a context, as a placement sees it: what any run of its layers weighs.

The output head is the last layer, as in llama.cpp. Sums are cumulated, so that the weight of a
run is one subtraction and filling a device is a bisection.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add, sub

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.buffers import Buffers
from edgellm.selector.memory.kv import cumulated_kv_bytes
from edgellm.selector.memory.layout import NOTHING_ASIDE, Aside, Layout
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.memory.weights import cumulated_aside_bytes, cumulated_layer_bytes, held_bytes
from edgellm.selector.oracle import BufferBytes
from edgellm.values import frozen


@frozen
class Bulk:
    """A model's weights, whatever the context. `weights[n]`: of its first n layers."""

    spec: ModelSpec
    weights: tuple[int, ...]
    experts: tuple[int, ...]
    largest_bytes: int  # of any layer's tensors
    largest_expert_bytes: int
    _aside: dict[Aside, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, spec: ModelSpec) -> "Bulk":
        experts = accumulate((layer.expert_bytes for layer in spec.layers), initial=0)
        return cls(
            spec,
            cumulated_layer_bytes(spec),
            tuple(experts),
            max((layer.largest_bytes for layer in spec.layers), default=0),
            max((layer.largest_expert_bytes for layer in spec.layers), default=0),
        )

    @property
    def has_experts(self) -> bool:
        return self.experts[-1] > 0

    def aside_bytes(self, aside: Aside) -> tuple[int, ...]:
        """Entry n: the host's experts among the first n layers. The head is the last one."""
        if aside not in self._aside:
            self._aside[aside] = cumulated_aside_bytes(self.spec, aside)
        return self._aside[aside]

    def load(self, shape: ContextShape, assumed: Buffers | None = None) -> "Load":
        """`assumed`: compute buffers that many contexts share; by default it has its own."""
        cells = shape.cells_per_stream
        assumed = assumed or Buffers(self.spec, cells, cells, shape.n_seq_max, shape.n_outputs_max)
        return Load(self, shape, cumulated_kv_bytes(self.spec, shape), assumed)


@dataclass(slots=True, eq=False)
class Load:
    bulk: Bulk
    shape: ContextShape
    kv: tuple[int, ...]  # of the first n layers
    _assumed: Buffers
    _whole: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._whole = list(map(add, self.bulk.weights, (*self.kv, self.kv[-1])))

    @property
    def spec(self) -> ModelSpec:
        return self.bulk.spec

    @property
    def n_blocks(self) -> int:
        return len(self.kv) - 1

    @property
    def n_all(self) -> int:
        return len(self.kv)

    def totals(self, aside: Aside = NOTHING_ASIDE) -> list[int]:
        """Weights and KV of the first n layers, without the experts that are aside."""
        if not aside:
            return self._whole
        return list(map(sub, self._whole, self.bulk.aside_bytes(aside)))

    def buffers(self, layout: Layout) -> tuple[int, ...]:
        """Compute buffers as assumed: of each accelerator, then of the host."""
        return self._assumed.at(self.shape, layout)

    def parts(self, layout: Layout, buffers: Sequence[int]) -> tuple[BufferBytes, ...]:
        """As `memory.needs`, with given buffers."""
        aside = self.bulk.aside_bytes(layout.aside)
        held = held_bytes(self.spec, layout, self.bulk.weights, aside)
        n, n_host = self.n_blocks, layout.n_host_layers(self.n_blocks)
        kv = [self.kv[min(run.stop, n)] - self.kv[min(run.start, n)] for run in layout.layers]
        rows = zip(held, (*kv, self.kv[min(n_host, n)]), buffers, strict=True)
        return tuple(BufferBytes(*row) for row in rows)


def take(
    totals: Sequence[int], rooms: Sequence[int], stop: int, floor: int, upwards: bool = False
) -> list[range]:
    """One run for each room, from layer `stop` downwards, or from `floor` upwards; empty where
    nothing fits."""
    if upwards:
        return _take_upwards(totals, rooms, stop, floor)
    runs = []
    for room in rooms:
        start = bisect_left(totals, totals[stop] - room, floor, stop) if stop > floor else stop
        runs.append(range(start, stop))
        stop = start
    return runs


def _take_upwards(
    totals: Sequence[int], rooms: Sequence[int], stop: int, floor: int
) -> list[range]:
    runs = []
    for room in rooms:
        end = bisect_right(totals, totals[floor] + room, floor, stop + 1) - 1
        runs.append(range(floor, max(floor, end)))
        floor = runs[-1].stop
    return runs
