"""Bytes that a context remembers: keys and values of attention, states of recurrent layers.

Follows llama.cpp's constructors and is exact. What a layer keeps lies with the layer.
"""

from functools import lru_cache
from itertools import accumulate

from edgellm.models.quants import BY_NAME
from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.selector.memory.layout import Layout
from edgellm.selector.memory.shape import ContextShape, pad256
from edgellm.selector.plan import KVType


def kv_bytes_of_parts(spec: ModelSpec, shape: ContextShape, layout: Layout) -> tuple[int, ...]:
    """Of each accelerator, then of the host."""
    up_to = cumulated_kv_bytes(spec, shape)
    n = spec.n_layers
    each = [up_to[min(part.stop, n)] - up_to[min(part.start, n)] for part in layout.layers]
    return (*each, up_to[min(layout.n_host_layers(n), n)])


def cumulated_kv_bytes(spec: ModelSpec, shape: ContextShape) -> tuple[int, ...]:
    """What the first n layers remember, for n from 0 to all."""
    return tuple(accumulate(layer_kv_bytes_each(spec, shape), initial=0))


def layer_kv_bytes_each(spec: ModelSpec, shape: ContextShape) -> tuple[int, ...]:
    """`layer_kv_bytes` of every layer; most layers are alike, so each kind is counted once."""
    known: dict[tuple[object, ...], int] = {}
    each = []
    for layer in spec.layers:
        kind = (
            layer.kv_kind, layer.n_head_kv, layer.head_dim_k, layer.head_dim_v, layer.state_bytes
        )  # fmt: skip
        if kind not in known:
            known[kind] = layer_kv_bytes(spec, layer, shape)
        each.append(known[kind])
    return tuple(each)


def layer_kv_bytes(spec: ModelSpec, layer: LayerSpec, shape: ContextShape) -> int:
    """All that one layer remembers, over all sequences."""
    state = layer.state_bytes * shape.n_seq_max * (1 + shape.n_rs_seq)  # F32, a row for each point
    match layer.kv_kind:
        case "none":
            return 0
        case "recurrent":
            return state
        case "full" | "sliding" | "latent":  # and a state beside it: falcon-h1
            each = cell_bytes(layer, shape, v_width(spec, layer, shape))
            return shape.n_streams * cells(spec, layer, shape) * each + state


def cells(spec: ModelSpec, layer: LayerSpec, shape: ContextShape) -> int:
    """Cells of one stream that a layer keeps."""
    if layer.kv_kind == "sliding":
        return sliding_cells(spec.n_swa, shape)
    return shape.cells_per_stream


def sliding_cells(n_swa: int, shape: ContextShape) -> int:
    """Source: src/llama-kv-cache-iswa.cpp, size_swa."""
    if shape.swa_full:
        return shape.cells_per_stream
    windows = n_swa * (shape.n_seq_max if shape.kv_unified else 1)
    return pad256(min(shape.cells_per_stream, windows + shape.n_ubatch))


def v_width(spec: ModelSpec, layer: LayerSpec, shape: ContextShape) -> int:
    """Values of one token. Without flash attention they are stored transposed, and every layer is
    as wide as the widest. Source: src/llama-kv-cache.cpp, the constructor's n_embd_v_gqa."""
    if shape.flash_attention:
        return layer.n_head_kv * layer.head_dim_v
    return widest_v(spec)


@lru_cache(maxsize=512)
def widest_v(spec: ModelSpec) -> int:
    return max((layer.n_head_kv * layer.head_dim_v for layer in spec.layers), default=0)


def cell_bytes(layer: LayerSpec, shape: ContextShape, v_width: int | None = None) -> int:
    """K and V of one token in one layer; a latent cache (MLA) has no V. `v_width`: as stored, if
    that is wider than the layer's.

    Source: src/llama-kv-cache.cpp, the constructor's ggml_new_tensor_3d calls.
    """
    k = row_bytes(shape.kv_type_k, layer.n_head_kv * layer.head_dim_k)
    if layer.kv_kind == "latent":
        return k
    return k + row_bytes(shape.kv_type_v, v_width or layer.n_head_kv * layer.head_dim_v)


def row_bytes(kind: KVType, width: int) -> int:
    quant = BY_NAME[kind]
    return width * quant.block_bytes // quant.block
