"""From a model, a context and a layout to the compute buffer of each backend.

Layers that are alike take the same memory, so a run of them is drawn by its first ones and its
last: what is kept holds every kind of layer beside every neighbour that it has.
"""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from edgellm.models.spec import ModelSpec
from edgellm.selector.graph.allocator import Arena, allocate
from edgellm.selector.graph.backends import CPU, rules_of
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.families import FAMILIES, draw
from edgellm.selector.graph.outline import Copied, Outline, copied_of, outline_of
from edgellm.selector.graph.schedule import FEW_TOKENS, OFFLOAD_MIN_ROWS, Machinery, schedule
from edgellm.selector.memory.layout import Layout
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.speed.flash import runs_on
from edgellm.values import frozen

_NEIGHBOURS_OF_ONE_KIND, _NEIGHBOURS = 2, 4  # before a layer, that make it worth drawing again
_CACHED = 8192  # replays: some hundred for each model and machine that a plan is made for


class Stop(NamedTuple):
    """A layer to be drawn, by its kind, and the backends that keep its parts."""

    kind: int
    home: int
    aside: tuple[str, ...]  # matrices of its experts that are the host's
    is_last: bool


@frozen
class Sketch:
    """All that a graph and its buffers depend on."""

    outline: Outline
    shape: ContextShape
    flash: bool  # what becomes of shape.flash_attention
    stops: tuple[Stop, ...]
    head: int
    machinery: Machinery
    copied: tuple[Copied, ...] = ()

    def drawn(self) -> Build:
        build = Build(
            self.outline, self.shape, flash=self.flash, cpu=self.machinery.cpu,
            head_home=self.head, first_home=self.stops[0].home,
            norms_stay=self.machinery.norms_stay,
            offloads=self.machinery.op_offload and self.machinery.cpu > 0,
        )  # fmt: skip
        copied = [dict(sizes) for sizes in self.copied] or [{}]
        places = [
            Place(
                self.outline.kinds[stop.kind], stop.home, stop.aside,
                copied[min(i, len(copied) - 1)], stop.is_last,
            )
            for i, stop in enumerate(self.stops)
        ]  # fmt: skip
        draw(build, places)
        return build


def is_known(spec: ModelSpec) -> bool:
    """Whether its graph can be drawn: the architecture has a row, and the tensors that it needs
    are there and fit each other."""
    return spec.architecture in FAMILIES and _is_drawable(outline_of(spec))


@lru_cache(maxsize=512)
def _is_drawable(outline: Outline) -> bool:
    """A file that llama.cpp would refuse lacks a tensor, or has one of another shape."""
    context = ContextShape(n_ctx=256, n_seq_max=1, n_ubatch=32, n_outputs_max=1)
    stops = _stops(outline, Layout(), each=False)
    try:
        _replayed(Sketch(outline, context, True, stops, 0, Machinery((CPU,))))
    except (LookupError, ArithmeticError, ValueError):
        return False
    return True


def reserved_bytes(
    spec: ModelSpec, shape: ContextShape, layout: Layout, *, exact: bool = False
) -> tuple[int, ...]:
    """Each accelerator's, then the CPU's. Only for a model that `is_known`.

    Where the last holes lie depends on all layers before them in their order: without `exact` a
    buffer is up to 5 % off, and told several times as quickly. Of equal accelerators in a row the
    inner ones then count as one.
    """
    if not exact and (n_inner := _n_equal_inside(layout)) > 1:
        first, inner, *rest = reserved_bytes(spec, shape, _joined(layout))
        return (first, *(inner,) * n_inner, *rest)
    machinery = _machinery(spec, shape, layout)
    outline = outline_of(spec)
    # A pipeline keeps every copy between backends, so there each layer counts.
    each = exact or (machinery.pipeline and machinery.attends_on_cpu)
    copied: tuple[Copied, ...] = ()
    if layout.op_offload and machinery.cpu > 0:
        n_host = layout.n_host_layers(spec.n_layers)
        copied = copied_of(spec, n_host, layout.aside, each=each)
    flash, stops = flash_runs(spec, shape, layout), _stops(outline, layout, each=each)
    head = _head_home(spec, layout, machinery)
    return _replayed(Sketch(outline, shape, flash, stops, head, machinery, copied))


def _n_equal_inside(layout: Layout) -> int:
    """Accelerators between the first and the last, where they are of one kind and have more layers
    than those that a layer's place depends on."""
    inner = layout.layers[1:-1]
    are_alike = len(set(layout.backends[1:-1])) == 1 and all(layout.layers)
    return len(inner) if are_alike and all(len(part) > _NEIGHBOURS for part in inner) else 0


def _joined(layout: Layout) -> Layout:
    first, *inner, last = layout.layers
    middle = range(inner[0].start, inner[-1].stop)
    kinds = layout.backends[0], layout.backends[1], layout.backends[-1]
    return replace(layout, backends=kinds, layers=(first, middle, last))


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
    if not runs_on(spec, attending):
        return False
    if not layout.backends or layout.n_host_layers(spec.n_layers) == 0:
        return True
    if not is_known(spec):  # many tokens are a batch that op_offload takes from the host
        return not layout.op_offload or shape.n_seq_max < OFFLOAD_MIN_ROWS
    machinery, outline = _machinery(spec, _tried(shape), layout), outline_of(spec)
    stops, head = _stops(outline, layout, each=False), _head_home(spec, layout, machinery)
    return _attends_at_home(Sketch(outline, _tried(shape), True, stops, head, machinery))


def _tried(shape: ContextShape) -> ContextShape:
    """One token of each sequence; how long the context is makes no difference."""
    n = shape.n_seq_max
    return replace(shape, n_ctx=256 * n, n_ubatch=n, n_outputs_max=n)


def _head_home(spec: ModelSpec, layout: Layout, machinery: Machinery) -> int:
    owner = layout.owner(spec.n_layers)
    return machinery.cpu if owner is None else owner


@lru_cache(maxsize=_CACHED)
def _attends_at_home(sketch: Sketch) -> bool:
    """Whether each layer's attention is computed by who keeps the layer."""
    build = sketch.drawn()
    schedule(build.graph, sketch.machinery)
    return all(tensor.backend == home for tensor, home in build.attending)


@lru_cache(maxsize=_CACHED)
def _replayed(sketch: Sketch) -> tuple[int, ...]:
    machinery = sketch.machinery
    planned = schedule(sketch.drawn().graph, machinery)
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
    return layout.n_host_layers(spec.n_layers) > 0 or bool(layout.aside)


@lru_cache(maxsize=_CACHED)
def _stops(outline: Outline, layout: Layout, *, each: bool) -> tuple[Stop, ...]:
    """All layers, or those whose kind and place, after those before, are new. Layers take turns
    with two places in a buffer, so what is left out is an even number of them."""
    last = len(outline.order) - 1
    homes = _homes(layout, len(outline.order))
    n_before = _NEIGHBOURS if len(outline.kinds) > 1 else _NEIGHBOURS_OF_ONE_KIND
    stops: list[Stop] = []
    seen: set[tuple[Stop, ...]] = set()
    recent: tuple[Stop, ...] = ()
    n_skipped = 0
    for il, (kind, home) in enumerate(zip(outline.order, homes, strict=True)):
        here = Stop(kind, home, layout.aside.matrices(il), il == last)
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
