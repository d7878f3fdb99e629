"""Compute buffers of a model whose graph nobody here knows: from the widths of its matrices.

A graph's peak is a few rows as wide as its widest results, and the attention mask. Held against the
graphs that are known this errs upwards, mostly; the margin is on top, because a plan that is too
small fails at load and one that is too large only leaves memory unused.
"""

from dataclasses import replace

from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.selector.graph.backends import rules_of
from edgellm.selector.graph.replay import flash_runs
from edgellm.selector.graph.schedule import PIPELINE_COPIES
from edgellm.selector.memory.kv import cells, layer_kv_bytes_each
from edgellm.selector.memory.layout import Layout
from edgellm.selector.memory.shape import ContextShape

_F32 = 4
_MARGIN = 1.25
_RESIDUAL_ROWS = 6  # of n_embd, that live beside a block's widest moment


def reserved_bytes(spec: ModelSpec, shape: ContextShape, layout: Layout) -> tuple[int, ...]:
    """Each accelerator's, then the CPU's."""
    shape = replace(shape, flash_attention=flash_runs(spec, shape, layout))
    n_host = layout.n_host_layers(spec.n_layers)
    mask, row = _mask_bytes(spec, shape), _F32 * shape.n_tokens * spec.n_embd
    block = _block_bytes(spec, shape) + mask
    whole = not n_host and not layout.aside
    inputs = PIPELINE_COPIES * (mask + 2 * row) if layout.n_accelerators > 1 and whole else 0
    each = []
    for i, part in enumerate(layout.layers):
        head = _logits_bytes(spec, shape) if spec.n_layers in part else 0
        copy = _copied_bytes(spec, shape, layout) if i == 0 else 0
        if shape.kv_quantized and rules_of(layout.backends[i]).halves_cache:
            copy += _f16_cache_bytes(spec, shape)
        each.append(_wide(max(block, head) + inputs) + copy)
    # Where prompts are offloaded, a host's layer may still compute what no weight has a part in.
    host = block if n_host else mask + 2 * row
    if not layout.n_accelerators:
        host = max(host, _logits_bytes(spec, shape))
    return (*each, _wide(max(host, inputs)))


def _block_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    width = max((_widest(spec, layer) for layer in spec.layers), default=spec.n_embd)
    rows = _F32 * shape.n_tokens * (width + _RESIDUAL_ROWS * spec.n_embd)
    if shape.flash_attention:
        return rows
    return rows + _F32 * shape.n_tokens * shape.cells_per_stream * spec.n_head


def _widest(spec: ModelSpec, layer: LayerSpec) -> int:
    """Three results of the widest matrix: two and what is made of them."""
    widths = [
        tensor.shape[1] * (spec.n_expert_used if tensor.is_experts else 1)
        for tensor in layer.tensors
        if len(tensor.shape) > 1
    ]
    if widths:
        return 3 * max(widths)
    return 3 * max(spec.n_ff, spec.n_expert_used * spec.n_embd, spec.n_embd)


def _mask_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    kinds = {layer.kv_kind: layer for layer in spec.layers}
    n_cells = sum(
        cells(spec, kinds[kind], shape)
        for kind in ("full", "latent", "sliding")
        if kind in kinds
    )  # fmt: skip
    if set(kinds) == {"none"}:
        n_cells = shape.n_tokens
    element = 2 if shape.flash_attention else _F32
    return element * shape.n_tokens * n_cells


def _logits_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    return _F32 * shape.n_outputs * (spec.n_vocab + 3 * spec.n_embd)


def _copied_bytes(spec: ModelSpec, shape: ContextShape, layout: Layout) -> int:
    """What op_offload copies for a prompt: the host's largest tensor, and a layer's cache."""
    if not layout.op_offload:
        return 0
    n_host = layout.n_host_layers(spec.n_layers)
    whole = (layer.largest_bytes for layer in spec.layers[:n_host])
    experts = (
        layer.largest_expert_bytes
        for il, layer in enumerate(spec.layers[n_host:], n_host)
        if layout.aside.matrices(il)
    )
    caches = layer_kv_bytes_each(spec, shape)[:n_host]
    # Of experts and caches two are there at once: the next is copied before the last is let go.
    return max((*whole, *(2 * n for n in experts)), default=0) + 2 * max(caches, default=0)


def _f16_cache_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """One layer's cache unpacked, which CUDA's flash attention works on."""
    unpacked = replace(shape, kv_type_k="f16", kv_type_v="f16")
    return max(layer_kv_bytes_each(spec, unpacked), default=0)


def _wide(n_bytes: int) -> int:
    return int(_MARGIN * n_bytes)
