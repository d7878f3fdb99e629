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
from edgellm.selector.graph.outline import Copied, Outline, copied_of, outline_of
from edgellm.selector.graph.schedule import FEW_TOKENS, OFFLOAD_MIN_ROWS, Machinery, schedule
from edgellm.selector.layout import Layout
from edgellm.selector.shape import ContextShape

_NEIGHBOURS_OF_ONE_KIND, _NEIGHBOURS = 2, 4  # before a layer, that make it worth drawing again
_CACHED = 8192  # replays: some hundred for each model and machine that a plan is made for


@dataclass(frozen=True, slots=True)
class Stop:
    """A layer to be drawn, by its kind, and the backends that keep its parts."""

    kind: int
    home: int
    expert_home: int
    is_last: bool


def is_known(spec: ModelSpec) -> bool:
    """Whether its graph can be drawn: the architecture has a row, and the tensors that it needs
    are there and fit each other."""
    return spec.architecture in FAMILIES and _is_drawable(outline_of(spec))


@lru_cache(maxsize=512)
def _is_drawable(outline: Outline) -> bool:
    """A file that llama.cpp would refuse lacks a tensor, or has one of another shape."""
    context = ContextShape(n_ctx=256, n_seq_max=1, n_ubatch=32, n_outputs_max=1)
    layout = Layout()
    try:
        _replayed(
            outline, context, True, _stops(outline, layout, each=False), 0, Machinery((CPU,)), ()
        )
    except (LookupError, ArithmeticError, ValueError):
        return False
    return True


def reserved_bytes(
    spec: ModelSpec, shape: ContextShape, layout: Layout, *, exact: bool = False
) -> tuple[int, ...]:
    """Each accelerator's, then the CPU's. Only for a model that `is_known`.

    Where the last holes lie depends on all layers before them in their order: without `exact` a
    buffer is up to 5 % off, and told several times as quickly.
    """
    machinery = _machinery(spec, shape, layout)
    outline = outline_of(spec)
    head = layout.owner(spec.n_layers)
    n_host = layout.n_host_layers(spec.n_layers)
    # A pipeline keeps every copy between backends, so there each layer counts.
    each = exact or (machinery.pipeline and machinery.attends_on_cpu)
    copied: tuple[Copied, ...] = ()
    if layout.op_offload and machinery.cpu > 0:
        copied = copied_of(spec, n_host, layout.n_cpu_moe, each=each)
    return _replayed(
        outline,
        shape,
        flash_runs(spec, shape, layout),
        _stops(outline, layout, each=each),
        machinery.cpu if head is None else head,
        machinery,
        copied,
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
    copied: tuple[Copied, ...],
) -> tuple[int, ...]:
    build = Build(
        outline, shape, flash=flash, cpu=machinery.cpu, head_home=head, first_home=stops[0].home,
        norms_stay=machinery.norms_stay,
    )  # fmt: skip
    by_layer = [dict(sizes) for sizes in copied]
    places = [
        Place(
            outline.kinds[stop.kind], stop.home, stop.expert_home,
            by_layer[min(i, len(by_layer) - 1)] if by_layer else {}, stop.is_last,
        )
        for i, stop in enumerate(stops)
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
        # Source: src/llama-context.cpp graph_get_cb.
        norms_stay=layout.n_host_layers(spec.n_layers) == 0 or shape.n_tokens < FEW_TOKENS,
    )


def _keeps_weights_on_host(spec: ModelSpec, layout: Layout) -> bool:
    """The embedding aside, which no accelerator ever asks for."""
    return layout.n_host_layers(spec.n_layers) > 0 or layout.n_cpu_moe > 0


@lru_cache(maxsize=_CACHED)
def _stops(outline: Outline, layout: Layout, *, each: bool) -> tuple[Stop, ...]:
    """All layers, or those whose kind and place, after those before, are new. Layers take turns
    with two places in a buffer, so what is left out is an even number of them."""
    cpu, last = layout.n_accelerators, len(outline.order) - 1
    homes = _homes(layout, len(outline.order))
    n_before = _NEIGHBOURS if len(outline.kinds) > 1 else _NEIGHBOURS_OF_ONE_KIND
    stops: list[Stop] = []
    seen: set[tuple[Stop, ...]] = set()
    recent: tuple[Stop, ...] = ()
    n_skipped = 0
    for il, (kind, home) in enumerate(zip(outline.order, homes, strict=True)):
        here = Stop(kind, home, cpu if il < layout.n_cpu_moe else home, il == last)
        recent = (*recent[-n_before:], here)
        if recent in seen and not each:
            n_skipped += 1
            continue
        if n_skipped % 2:
            stops.append(recent[-2])
        n_skipped = 0
        seen.add(recent)
        stops.append(here)
    return tuple(stops)


def _homes(layout: Layout, n_layers: int) -> list[int]:
    """Who keeps each layer, the CPU where nobody else does."""
    homes = [layout.n_accelerators] * n_layers
    for i, part in enumerate(layout.layers):
        for il in range(part.start, min(part.stop, n_layers)):
            homes[il] = i
    return homes
