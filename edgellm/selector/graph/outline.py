"""What of a model its compute graph depends on, and nothing else.

Layers that are alike are one kind. Without the weights' bytes, which matter only where some of them
are copied, all quantizations of a model have one outline.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from edgellm.models.graph_facts import GraphFacts, LayerTensor
from edgellm.models.spec import LayerSpec, ModelSpec


@dataclass(frozen=True, slots=True)
class Outline:
    architecture: str
    n_embd: int
    n_swa: int
    n_expert_used: int
    pooling: str | None
    facts: GraphFacts
    outside: tuple[LayerTensor, ...]
    kinds: tuple[LayerSpec, ...]
    order: tuple[int, ...]  # the kind of each layer, those for drafting left out

    def __hash__(self) -> int:
        """Cheap: it is the key of the replays' cache, and equal outlines are one object."""
        return hash((self.architecture, self.n_embd, self.order))


@lru_cache(maxsize=512)
def outline_of(spec: ModelSpec, *, with_bytes: bool) -> Outline:
    numbers: dict[LayerSpec, int] = {}
    bare: dict[int, LayerSpec] = {}  # layers that share their tensors are stripped once
    order = []
    for layer in spec.layers[: spec.n_layers - spec.n_draft_layers]:
        if id(layer.tensors) not in bare or not _alike(layer, bare[id(layer.tensors)]):
            bare[id(layer.tensors)] = _bare(layer, with_bytes)
        order.append(numbers.setdefault(bare[id(layer.tensors)], len(numbers)))
    outside = tuple(_without_bytes(tensor) for tensor in spec.tensors)
    return _same(
        Outline(
            spec.architecture, spec.n_embd, spec.n_swa, spec.n_expert_used, spec.pooling,
            spec.graph, outside, tuple(numbers), tuple(order),
        )
    )  # fmt: skip


@lru_cache(maxsize=512)
def _same(outline: Outline) -> Outline:
    """The first one that was equal: comparing it again costs nothing."""
    return outline


def _bare(layer: LayerSpec, with_bytes: bool) -> LayerSpec:
    tensors = layer.tensors
    if not with_bytes:
        tensors = tuple(_without_bytes(tensor) for tensor in tensors)
    return replace(layer, weight_bytes=0, expert_bytes=0, tensors=tensors)


def _alike(layer: LayerSpec, bare: LayerSpec) -> bool:
    return (layer.kv_kind, layer.n_head_kv) == (bare.kv_kind, bare.n_head_kv)


def _without_bytes(tensor: LayerTensor) -> LayerTensor:
    return LayerTensor(tensor.name, tensor.shape, 0)
