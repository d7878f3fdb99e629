"""Compute buffers for the search: few that are exact, and the rest between them.

A buffer's peak is a line over the cells of one stream, or a few lines of which the highest counts
(its mask and the copies of a quantized cache grow with them). So two contexts, the shortest and
the longest that the search will try, stand for all: what lies between is at most a little too
much. How many sequences share the batch hardly matters; the most of them is taken. The placement
that wins is added up exactly in any case.
"""

from dataclasses import dataclass, field, replace

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.compute import compute_bytes
from edgellm.selector.memory.layout import Layout
from edgellm.selector.memory.shape import ContextShape


@dataclass(slots=True)
class Buffers:
    """Of one model. `least` and `most`: cells of one stream; the others: the most of a setting."""

    spec: ModelSpec
    least: int
    most: int
    n_seq_max: int
    n_outputs_max: int
    _known: dict[tuple[ContextShape, Layout], tuple[int, ...]] = field(default_factory=dict)
    _exact: dict[tuple[ContextShape, Layout], tuple[int, ...]] = field(default_factory=dict)

    def at(self, shape: ContextShape, layout: Layout) -> tuple[int, ...]:
        """Of each accelerator, then of the host."""
        if (shape, layout) not in self._known:
            self._known[shape, layout] = self._between(shape, layout)
        return self._known[shape, layout]

    def _between(self, shape: ContextShape, layout: Layout) -> tuple[int, ...]:
        if self.least == self.most or shape.embedding:
            return compute_bytes(self.spec, shape, layout)
        if shape.cells_per_stream in (self.least, self.most):
            return self._end(shape, shape.cells_per_stream, layout)
        part = (shape.cells_per_stream - self.least) / (self.most - self.least)
        low, high = (self._end(shape, cells, layout) for cells in (self.least, self.most))
        return tuple(round(a + part * (b - a)) for a, b in zip(low, high, strict=True))

    def _end(self, shape: ContextShape, cells: int, layout: Layout) -> tuple[int, ...]:
        n_streams = 1 if shape.kv_unified else self.n_seq_max
        end = replace(
            shape,
            n_ctx=cells * n_streams,
            n_seq_max=self.n_seq_max,
            n_outputs_max=max(shape.n_outputs_max, self.n_outputs_max),
        )
        if (end, layout) not in self._exact:
            self._exact[end, layout] = compute_bytes(self.spec, end, layout)
        return self._exact[end, layout]
