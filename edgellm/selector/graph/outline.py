"""What of a model its compute graph depends on, and nothing else.

Layers that are alike are one kind. How weights are quantized matters only where some of them are
copied, so all quantizations of a model have one outline.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from functools import lru_cache
from typing import Final

from edgellm.models.anatomy.graph_facts import GraphFacts, LayerTensor
from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.selector.memory.layout import Aside
from edgellm.values import frozen

Copied = tuple[tuple[str, int], ...]  # a tensor's name in its block, bytes

# Every so many-th layer stands out: without rotary embedding (n_no_rope_layer_step), or, of an
# encoder, without a window. Source: src/models/*.cpp.
_STANDS_OUT_EVERY: Final = {"gemma-embedding": 6, "llama4": 4, "smollm3": 4}


@frozen
class Kind:
    layer: LayerSpec  # without its bytes
    stands_out: bool
    stacked: bool  # features of a picture are added after it
    named: Mapping[str, LayerTensor] = field(compare=False, repr=False)
    dressed: frozenset[str] = field(compare=False, repr=False)  # what has more than a matrix


@frozen
class Outline:
    architecture: str
    n_embd: int
    n_swa: int
    n_expert: int
    n_expert_used: int
    pooling: str | None
    facts: GraphFacts
    outside: tuple[LayerTensor, ...]
    kinds: tuple[Kind, ...]
    order: tuple[int, ...]  # the kind of each layer, those for drafting left out

    def __hash__(self) -> int:
        """Cheap: it is the key of the replays' cache, and equal outlines are one object."""
        return hash((self.architecture, self.n_embd, self.order))


@lru_cache(maxsize=512)
def outline_of(spec: ModelSpec) -> Outline:
    kinds: dict[Kind, int] = {}
    known: dict[tuple[LayerSpec, bool, bool], int] = {}
    order = []
    every = _STANDS_OUT_EVERY.get(spec.architecture, 0)
    for il, layer in enumerate(spec.layers[: spec.n_layers - spec.n_draft_layers]):
        seen = layer, bool(every) and (il + 1) % every == 0, il < spec.graph.n_deepstack
        if seen not in known:
            known[seen] = kinds.setdefault(_kind(*seen), len(kinds))
        order.append(known[seen])
    outside = tuple(_without_bytes(tensor) for tensor in spec.tensors)
    return _same(
        Outline(
            spec.architecture, spec.n_embd, spec.n_swa, spec.n_expert, spec.n_expert_used,
            spec.pooling, spec.graph, outside, tuple(kinds), tuple(order),
        )
    )  # fmt: skip


@lru_cache(maxsize=512)
def _same(outline: Outline) -> Outline:
    """The first one that was equal: comparing it again costs nothing."""
    return outline


@lru_cache(maxsize=4096)
def copied_of(spec: ModelSpec, n_host: int, aside: Aside, *, each: bool) -> tuple[Copied, ...]:
    """What a prompt has copied from the host, tensor by tensor: of each layer, or once for all of
    them, and then the largest of each name."""
    by_layer = []
    for il, layer in enumerate(spec.layers[: max(n_host, aside.stop)]):
        gone = aside.matrices(il)
        by_layer.append(
            [
                (tensor.name, tensor.n_bytes)
                for tensor in layer.tensors
                if il < n_host or tensor.expert_matrix in gone
            ]
        )
    if each:
        return (*(tuple(sizes) for sizes in by_layer), ())
    largest: dict[str, int] = {}
    for name, n_bytes in (size for sizes in by_layer for size in sizes):
        largest[name] = max(largest.get(name, 0), n_bytes)
    return (tuple(largest.items()),)


def _kind(layer: LayerSpec, stands_out: bool, stacked: bool) -> Kind:
    bare = _bare(layer)
    named = {tensor.name: tensor for tensor in bare.tensors}
    dressed = frozenset(_matrix(name) for name in named if not name.endswith(".weight"))
    return Kind(bare, stands_out, stacked, named, dressed)


def _matrix(name: str) -> str:
    """ "attn_q.bias" and "attn_q.weight.lora_a.0" belong to "attn_q"."""
    stem, is_adapter, _ = name.partition(".weight.")
    return stem if is_adapter else stem.rpartition(".")[0]


def _bare(layer: LayerSpec) -> LayerSpec:
    tensors = tuple(_without_bytes(tensor) for tensor in layer.tensors)
    return replace(layer, weight_bytes=0, expert_bytes=0, tensors=tensors)


def _without_bytes(tensor: LayerTensor) -> LayerTensor:
    return LayerTensor(tensor.name, tensor.shape, 0)
