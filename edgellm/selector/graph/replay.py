"""From a model, a context and a layout to the compute buffer of each backend.

Layers that are alike take the same memory, so a run of them is drawn by its first ones and its
last: what is kept holds every kind of layer beside every neighbour that it has.
"""

from dataclasses import dataclass
from functools import lru_cache

from edgellm.models.spec import ModelSpec
from edgellm.selector.flash import runs_on
from edgellm.selector.graph.allocator import Arena, allocate
from edgellm.selector.graph.backends import CPU, rules_of
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.families import FAMILIES, draw
from edgellm.selector.graph.outline import Outline, outline_of
from edgellm.selector.graph.schedule import OFFLOAD_MIN_ROWS, Machinery, schedule
from edgellm.selector.layout import Layout
from edgellm.selector.shape import ContextShape

_CACHED = 8192  # replays: some hundred for each model and machine that a plan is made for


@dataclass(frozen=True, slots=True)
class Stop:
    """A layer to be drawn, by its kind, and the backends that keep its parts."""

    kind: int
    home: int
    expert_home: int
    is_last: bool


def is_known(spec: ModelSpec) -> bool:
    return spec.architecture in FAMILIES and all(
        layer.tensors for layer in spec.layers[: spec.n_layers - spec.n_draft_layers]
    )


def reserved_bytes(spec: ModelSpec, shape: ContextShape, layout: Layout) -> tuple[int, ...]:
    """Each accelerator's, then the CPU's. Only for a model that `is_known`."""
    machinery = _machinery(spec, shape, layout)
    copies = layout.op_offload and machinery.cpu > 0 and _keeps_weights_on_host(spec, layout)
    outline = outline_of(spec, with_bytes=copies)
    head = layout.owner(spec.n_layers)
    # A pipeline keeps every copy between backends, so there each layer counts.
    whole = machinery.pipeline and machinery.attends_on_cpu
    return _replayed(
        outline,
        shape,
        flash_runs(spec, shape, layout),
        _stops(outline, layout, whole=whole),
        machinery.cpu if head is None else head,
        machinery,
    )


def flash_runs(spec: ModelSpec, shape: ContextShape, layout: Layout) -> bool:
    """What becomes of llama.cpp's "auto": flash attention is off everywhere when one layer's
    device can't compute it, or would not. A quantized V keeps it on.

    Source: src/llama-context.cpp resolve_fused_ops, llama_init_from_model.
    """
    if not shape.flash_attention or shape.v_quantized:
        return shape.flash_attention
    attending = [
        backend
        for backend, part in zip(layout.backends, layout.layers, strict=True)
        if part and part.start < spec.n_layers
    ]
    # A token for each sequence is tried. Many are a batch that op_offload takes from the host.
    taken = layout.op_offload and shape.n_seq_max >= OFFLOAD_MIN_ROWS
    on_host = bool(layout.backends) and layout.n_host_layers(spec.n_layers) > 0
    return runs_on(spec, attending) and not (taken and on_host)


@lru_cache(maxsize=_CACHED)
def _replayed(
    outline: Outline,
    shape: ContextShape,
    flash: bool,
    stops: tuple[Stop, ...],
    head: int,
    machinery: Machinery,
) -> tuple[int, ...]:
    build = Build(
        outline, shape, flash=flash, cpu=machinery.cpu, head_home=head, first_home=stops[0].home
    )
    places = [
        Place(outline.kinds[stop.kind], stop.home, stop.expert_home, stop.is_last)
        for stop in stops
    ]  # fmt: skip
    draw(build, places)
    planned = schedule(build.graph, machinery)
    arenas = [Arena(rules) for rules in machinery.rules]
    allocate(planned.nodes, planned.leafs, arenas)
    return tuple(arena.peak_bytes for arena in arenas)


def _machinery(spec: ModelSpec, shape: ContextShape, layout: Layout) -> Machinery:
    rules = tuple(rules_of(backend) for backend in layout.backends)
    whole = not _keeps_weights_on_host(spec, layout)
    return Machinery(
        (*rules, CPU),
        op_offload=layout.op_offload,
        pipeline=len(rules) > 1 and whole and all(row.pipelines for row in rules),
        attends_on_cpu=shape.flash_attention and not runs_on(spec, layout.backends),
    )


def _keeps_weights_on_host(spec: ModelSpec, layout: Layout) -> bool:
    """The embedding aside, which no accelerator ever asks for."""
    return layout.n_host_layers(spec.n_layers) > 0 or layout.n_cpu_moe > 0


def _stops(outline: Outline, layout: Layout, *, whole: bool) -> tuple[Stop, ...]:
    """All layers, or those whose kind and place, beside those of the two before, are new."""
    cpu, last = layout.n_accelerators, len(outline.order) - 1
    seen: set[tuple[Stop | None, ...]] = set()
    stops: list[Stop] = []
    before: tuple[Stop | None, Stop | None] = None, None
    for il, kind in enumerate(outline.order):
        owner = layout.owner(il)
        home = cpu if owner is None else owner
        stop = Stop(kind, home, cpu if layout.experts_on_host(il) else home, il == last)
        if whole or (*before, stop) not in seen:
            seen.add((*before, stop))
            stops.append(stop)
        before = before[1], stop
    return tuple(stops)
