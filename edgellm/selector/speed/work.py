"""What one step has a device do, whatever the device: bytes to read, multiplications, blocks.

A step computes `n_tokens`: one for each stream that is written (decoding), or a piece of one
prompt (prefill). Weights are read once a step, the cache once for each sequence.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import add, sub
from typing import NamedTuple

from edgellm.models.anatomy.tensor_types import EXPERT_CLASSES, TypeShare
from edgellm.models.quants import BY_NAME
from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.selector.memory.kv import cell_bytes, sliding_cells
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import ExpertPart, KVType, Placement, Share
from edgellm.values import frozen

# Tokens of one text ask for the same experts more often than chance would have it. With this
# exponent on their number the distinct experts of 2 to 32 streams come out as they were measured
# (llama.cpp benches/dgx-spark/dgx-spark.md: gpt-oss-20b and -120b, Qwen3-Coder-30B, 54 rows).
_ALIKE_EXPONENT = 0.75

# A state-space layer's (Qwen3.5 2 MiB, Nemotron-H 1); a short convolution's few KiB cost nothing.
_LARGE_STATE_BYTES = 1 << 20

_BYTES_A_WEIGHT_UNKNOWN = 0.5


class Step(NamedTuple):
    """`depth`: tokens in each sequence's cache before the step."""

    n_tokens: int
    n_seqs: int
    depth: int

    @property
    def context(self) -> float:
        """What a token attends to, on average over the step."""
        return self.depth + (self.n_tokens / self.n_seqs - 1) / 2


class Work(NamedTuple):
    """Multiplications are counted as flops, two each, and only those of the tokens after the
    first: those of the first hide behind the reading of the weights."""

    blocks: float = 0.0  # without experts
    moe_blocks: float = 0.0
    recurrent_blocks: float = 0.0  # among those two, by how much state they carry on
    dense_bytes: float = 0.0
    expert_bytes: float = 0.0
    memory_bytes: float = 0.0
    memory_flops: float = 0.0  # of each sequence's first token with its cache, head by head
    dense_flops: float = 0.0
    expert_flops: float = 0.0
    attention_flops: float = 0.0

    def plus(self, other: "Work") -> "Work":
        return Work(*map(add, self, other))

    def minus(self, other: "Work") -> "Work":
        return Work(*map(sub, self, other))

    def times(self, ratio: float) -> "Work":
        return Work(*(value * ratio for value in self))

    def only_blocks(self) -> "Work":
        """The same without its multiplications by weights: someone else does those."""
        return self._replace(dense_bytes=0.0, expert_bytes=0.0, dense_flops=0.0, expert_flops=0.0)

    def only_weights(self) -> "Work":
        return self.minus(self.only_blocks())


def share_work(
    spec: ModelSpec, shape: ContextShape, placement: Placement, share: Share, step: Step
) -> Work:
    """What `share` has to do; experts that the host keeps are the host's."""
    if not share.layers:
        return Work()
    start, stop = share.layers[0], share.layers[-1] + 1
    table = _table(spec, *_cache(spec, shape, on_cpu=share.device_id == "cpu"), step)
    work = table.between(start, min(stop, spec.n_layers))
    if stop > spec.n_layers:
        work = work.plus(table.head)
    if share.device_id != "cpu" and placement.has_experts_aside:
        kept = table.experts_between(start, min(stop, placement.n_cpu_moe, spec.n_layers))
        parts = (part for part in placement.expert_parts if start <= part.layer < stop)
        work = work.minus(kept).minus(_parts_work(spec, table, parts))
    return work


def host_experts(
    spec: ModelSpec, shape: ContextShape, share: Share, step: Step
) -> tuple[Work, int]:
    """The experts that the host computes for other devices' blocks, and in how many blocks."""
    if not share.expert_layers and not share.expert_parts:
        return Work(), 0
    table = _table(spec, *_cache(spec, shape, on_cpu=True), step)
    work = _parts_work(spec, table, share.expert_parts)
    if share.expert_layers:
        start, stop = share.expert_layers[0], share.expert_layers[-1] + 1
        work = work.plus(table.experts_between(start, stop))
    n_blocks = sum(spec.layers[il].expert_bytes > 0 for il in share.expert_layers)
    return work, n_blocks + len(share.expert_parts)


def _parts_work(spec: ModelSpec, table: "_Table", parts: Iterable[ExpertPart]) -> Work:
    """A layer's matrices are asked for by the same tokens, so a part's work goes by its bytes."""
    total = Work()
    for part in parts:
        layer = spec.layers[part.layer]
        ratio = layer.matrices_bytes(part.matrices) / layer.expert_bytes
        total = total.plus(table.experts_between(part.layer, part.layer + 1).times(ratio))
    return total


def active_bytes(spec: ModelSpec, layer: LayerSpec, n_tokens: int = 1) -> int:
    """Weights that a step over `n_tokens` reads: of the experts, those that are hit."""
    idle = 1 - _hit_ratio(spec, n_tokens)
    return layer.weight_bytes - int(layer.expert_bytes * idle)


def _hit_ratio(spec: ModelSpec, n_tokens: int) -> float:
    """How many of the experts some token of a step asks for."""
    if not spec.n_expert:
        return 1.0
    missed = 1 - min(1.0, spec.n_expert_used / spec.n_expert)
    distinct = float(n_tokens**_ALIKE_EXPONENT)
    return 1 - float(missed**distinct)


def of_fewer(spec: ModelSpec, work: Work, n_tokens: int, n_fewer: int) -> Work:
    """Of a step over `n_tokens` more than one: its weights' work over `n_fewer` instead."""
    again = (n_fewer - 1) / (n_tokens - 1)
    return work._replace(
        expert_bytes=work.expert_bytes * _hit_ratio(spec, n_fewer) / _hit_ratio(spec, n_tokens),
        dense_flops=work.dense_flops * again,
        expert_flops=work.expert_flops * again,
    )


def reading_ratio(spec: ModelSpec, n_tokens: int, n_apart: int) -> float:
    """Bytes of experts that are read over those that are hit.

    In steps of up to `n_apart` tokens each token's experts are multiplied on their own. Only the
    tokens that have the same one for their first, second, … choice read it together, if chance
    brings them there. A longer step takes a matrix kernel where that is no slower.
    Source: ggml/src/ggml-cuda/mmvq.cu mul_mat_vec_q_moe; ggml/src/ggml-metal/ggml-metal-ops.cpp
    ggml_metal_op_mul_mat_id, ne21_mm_id_min; ggml/src/ggml-vulkan/ggml-vulkan.cpp
    ggml_vk_use_mul_mat_vec_id.
    """
    if not spec.n_expert or n_tokens < 2:
        return 1.0
    n_alone = min(n_tokens, n_apart)
    apart = spec.n_expert_used * (1 - (1 - 1 / spec.n_expert) ** n_alone)
    if n_tokens > n_apart:
        apart = min(1.0, apart)
    return max(1.0, apart / _hit_ratio(spec, n_tokens))


# ---- tables over the layers, so that any run of them costs a subtraction


class _Table:
    def __init__(self, layers: Sequence[Work], experts: Sequence[Work], head: Work) -> None:
        self._layers = list(accumulate(layers, Work.plus, initial=Work()))
        self._experts = list(accumulate(experts, Work.plus, initial=Work()))
        self.head = head

    def between(self, start: int, stop: int) -> Work:
        return _difference(self._layers, start, stop)

    def experts_between(self, start: int, stop: int) -> Work:
        return _difference(self._experts, start, stop)


def _difference(sums: list[Work], start: int, stop: int) -> Work:
    return sums[stop].minus(sums[start]) if stop > start else Work()


def _cache(spec: ModelSpec, shape: ContextShape, *, on_cpu: bool) -> tuple[KVType, KVType, float]:
    """Its types, and how many cells of a sliding window a step goes through for a sequence: cards
    pass over the cells that are masked, too, the CPU leaves them out.

    Source: ggml/src/ggml-cuda/fattn-common.cuh flash_attn_mask_to_KV_max stops behind the last cell
    only; ggml/src/ggml-cpu/ops.cpp ggml_compute_forward_flash_attn_ext_f16_one_chunk.
    """
    window = float(spec.n_swa or 0)
    if window and not on_cpu:
        window = sliding_cells(spec.n_swa, shape) * shape.n_streams / shape.n_seq_max
    return shape.kv_type_k, shape.kv_type_v, window


@lru_cache(maxsize=64)  # a server asks for another depth each second; 61 layers take 50 KB
def _table(
    spec: ModelSpec, type_k: KVType, type_v: KVType, n_window_cells: float, step: Step
) -> _Table:
    """Most layers are alike, so each kind is worked out once."""
    shape = ContextShape(0, 1, 1, 1, type_k, type_v)
    dense, experts = dense_mix(spec), expert_mix(spec)
    known: dict[tuple[object, ...], tuple[Work, Work]] = {}
    each = []
    for layer in spec.layers:
        kind = (
            layer.weight_bytes, layer.expert_bytes, layer.kv_kind, layer.n_head_kv,
            layer.head_dim_k, layer.head_dim_v, layer.state_bytes,
        )  # fmt: skip
        if kind not in known:
            routed = _experts(spec, layer, experts, step)
            block = _block(spec, layer, shape, dense, step, n_window_cells)
            known[kind] = block.plus(routed), routed
        each.append(known[kind])
    head = Work(
        dense_bytes=spec.output_bytes,
        dense_flops=_flops(spec.output_bytes, dense, step.n_seqs - 1),
    )
    return _Table([block for block, _ in each], [routed for _, routed in each], head)


def _block(
    spec: ModelSpec,
    layer: LayerSpec,
    shape: ContextShape,
    mix: "Mix",
    step: Step,
    n_window_cells: float,
) -> Work:
    n_bytes = layer.weight_bytes - layer.expert_bytes
    is_there = layer.weight_bytes > 0  # a draft block that isn't loaded is not
    context = step.context
    if layer.kv_kind == "sliding":
        context = min(context, n_window_cells)
    remembers = layer.kv_kind in ("full", "sliding", "latent")
    per_token = cell_bytes(layer, shape) if remembers else 0
    state = 2 * layer.state_bytes  # read and written
    heads = 4 * spec.n_head * layer.head_dim_k if remembers else 0
    return Work(
        blocks=float(is_there and not layer.expert_bytes),
        moe_blocks=float(is_there and layer.expert_bytes > 0),
        recurrent_blocks=min(1.0, layer.state_bytes / _LARGE_STATE_BYTES) if is_there else 0.0,
        dense_bytes=n_bytes,
        memory_bytes=(context * per_token + state) * step.n_seqs,
        memory_flops=heads * context * step.n_seqs,
        dense_flops=_flops(n_bytes, mix, step.n_tokens - 1),
        attention_flops=heads * context * (step.n_tokens - step.n_seqs),
    )


def _experts(spec: ModelSpec, layer: LayerSpec, mix: "Mix", step: Step) -> Work:
    if not layer.expert_bytes:
        return Work()
    used = layer.expert_bytes * min(1.0, spec.n_expert_used / max(1, spec.n_expert))
    return Work(
        expert_bytes=layer.expert_bytes * _hit_ratio(spec, step.n_tokens),
        expert_flops=_flops(used, mix, step.n_tokens - 1),
    )


def _flops(n_bytes: float, mix: "Mix", n_tokens: int) -> float:
    return 2 * n_bytes / mix.bytes_a_weight * max(0, n_tokens)


# ---- tensor types


@frozen
class Mix:
    """Which types a part of the weights is kept in; the parts add up to 1."""

    parts: tuple[tuple[str, float], ...]
    bytes_a_weight: float


@lru_cache(maxsize=512)
def dense_mix(spec: ModelSpec) -> Mix:
    """All that every token uses, the head too, and without the embedding."""
    apart = ("embedding", *(EXPERT_CLASSES if spec.n_expert else ()))
    return _mix(spec, tuple(row for row in spec.types if row.tensor_class not in apart))


@lru_cache(maxsize=512)
def expert_mix(spec: ModelSpec) -> Mix:
    return _mix(spec, tuple(row for row in spec.types if row.tensor_class in EXPERT_CLASSES))


@lru_cache(maxsize=512)
def main_type(spec: ModelSpec) -> str | None:
    """The type that most of a token's bytes are kept in; its kernels set the pace. None: untold."""
    used = min(1.0, spec.n_expert_used / spec.n_expert) if spec.n_expert else 1.0
    n_bytes: dict[str, float] = {}
    for row in spec.types:
        if row.tensor_class == "embedding" or row.type not in BY_NAME:
            continue
        part = used if row.tensor_class in EXPERT_CLASSES else 1.0
        read = part * row.n_weights * float(BY_NAME[row.type].bytes_per_weight)
        n_bytes[row.type] = n_bytes.get(row.type, 0.0) + read
    return max(n_bytes, key=lambda name: n_bytes[name], default=None)


def _mix(spec: ModelSpec, rows: tuple[TypeShare, ...]) -> Mix:
    """Without types in the header the average over the whole model has to do."""
    known = [row for row in rows if row.n_weights > 0 and row.type in BY_NAME]
    if not known:
        average = spec.weight_bytes / spec.n_params if spec.n_params > 0 else 0.0
        return Mix((), average or _BYTES_A_WEIGHT_UNKNOWN)
    n_weights = sum(row.n_weights for row in known)
    n_bytes = sum(row.n_weights * float(BY_NAME[row.type].bytes_per_weight) for row in known)
    return Mix(tuple((row.type, row.n_weights / n_weights) for row in known), n_bytes / n_weights)
