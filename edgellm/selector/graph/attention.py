"""Attention, over a cache or over the batch alone. Source: src/llama-graph.cpp build_attn*."""

from edgellm.models.quants import BY_NAME
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.build import Build, Cells, Place
from edgellm.selector.graph.tensors import F16, Tensor


def qkv(build: Build, place: Place, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Source: build_qkv: three matrices, or one that is cut into views."""
    layer = place.layer
    dim_k, dim_v, n_kv = layer.head_dim_k, layer.head_dim_v, layer.n_head_kv
    n_tokens = build.n_tokens
    if build.has(place, "attn_qkv.weight"):
        fused = build.linear(place, "attn_qkv", x)
        n_head = (fused.ne[0] - n_kv * (dim_k + dim_v)) // dim_k
        return (
            g.view(fused, dim_k, n_head, n_tokens),
            g.view(fused, dim_k, n_kv, n_tokens),
            g.view(fused, dim_v, n_kv, n_tokens),
        )
    q, k, v = (build.linear(place, f"attn_{part}", x) for part in "qkv")
    return (
        g.reshape(q, dim_k, q.ne[0] // dim_k, n_tokens),
        g.reshape(k, dim_k, n_kv, n_tokens),
        g.reshape(v, dim_v, n_kv, n_tokens),
    )


def cached(build: Build, place: Place, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Keys and values go into the layer's cache, and all of it is attended to."""
    inputs = build.cache_inputs(place.layer)
    if inputs.k_rotation is not None:
        q, k = _rotated(q, inputs.k_rotation), _rotated(k, inputs.k_rotation)
    if inputs.v_rotation is not None:
        v = _rotated(v, inputs.v_rotation)
    is_iswa = build.outline.n_swa > 0
    build.graph.expand(*((q, k, v) if is_iswa else (q, v, k)))
    k_cache, v_cache = _caches(build, place, inputs)
    build.graph.expand(_store_k(build, k_cache, k, inputs))
    build.graph.expand(_store_v(build, v_cache, v, inputs))
    keys = _keys(build, place, k_cache, inputs)
    values = _values(build, place, v_cache, inputs)
    transposed = build.v_transposed
    result = over(build, place, q, keys, values, inputs.mask, transposed=transposed)
    if inputs.v_rotation is not None:
        result = _rotated(result, inputs.v_rotation)
    return result


def uncached(build: Build, place: Place, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Encoders: the batch attends to itself."""
    build.graph.expand(q, k, v)
    return over(build, place, q, k, v, mask)


def over(
    build: Build,
    place: Place,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    *,
    transposed: bool = False,
    unpack: Tensor | None = None,
) -> Tensor:
    """Source: build_attn_mha. `transposed`: as V lies; `unpack` makes heads of latent values."""
    n_streams = k.ne[3]
    q = g.view(q, q.ne[0], q.ne[1], q.ne[2] // n_streams, n_streams)
    q, k, v = g.permute(q), g.permute(k), g.permute(v)
    if build.flash:
        result = _flash(build, place, q, k, v, mask, unpack)
    else:
        v = v if transposed else g.cont(g.transpose(v))
        result = _scores(build, place, q, k, v, mask, unpack)
    build.graph.expand(result)
    return result


def output(build: Build, place: Place, x: Tensor) -> Tensor:
    return build.linear(place, "attn_output", x)


# ---- the cache


def _caches(build: Build, place: Place, inputs: Cells) -> tuple[Tensor, Tensor]:
    layer, shape = place.layer, build.shape
    width_v = build.widest_v if build.v_transposed else layer.n_head_kv * layer.head_dim_v
    return (
        new_cache(build, place, layer.n_head_kv * layer.head_dim_k, inputs.n_cells),
        g.stored(place.home, width_v, inputs.n_cells, build.n_streams,
                 kind=BY_NAME[shape.kv_type_v]),
    )  # fmt: skip


def new_cache(build: Build, place: Place, width: int, n_cells: int) -> Tensor:
    kind = BY_NAME[build.shape.kv_type_k]
    return g.stored(place.home, width, n_cells, build.n_streams, kind=kind)


def store_rows(build: Build, cache: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """Source: llama_kv_cache::cpy_k; streams lie one after the other."""
    width, n_cells, n_streams = cache.ne[:3]
    rows = g.view(rows, width, build.n_tokens)
    if n_streams > 1:
        cache = g.reshape(cache, width, n_cells * n_streams)
    return g.set_rows(cache, rows, ids)


def _store_k(build: Build, cache: Tensor, k: Tensor, inputs: Cells) -> Tensor:
    return store_rows(build, cache, k, inputs.k_ids)


def _store_v(build: Build, cache: Tensor, v: Tensor, inputs: Cells) -> Tensor:
    """Without flash attention V is stored transposed, an element at a time."""
    if not build.v_transposed:
        return store_rows(build, cache, v, inputs.v_ids)
    width = v.ne[0] * v.ne[1]
    v = (g.reshape if v.dense else g.cont)(v, width, build.n_tokens)
    if width < cache.ne[0]:
        v = Tensor("pad", g.extents(cache.ne[0], build.n_tokens), v.type, (v,))
    flat = g.reshape(v, 1, g.elements(v))
    return g.set_rows(g.reshape(cache, 1, g.elements(cache)), flat, inputs.v_ids)


def _keys(build: Build, place: Place, cache: Tensor, inputs: Cells) -> Tensor:
    layer = place.layer
    return g.view(cache, layer.head_dim_k, layer.n_head_kv, inputs.n_cells, build.n_streams)


def _values(build: Build, place: Place, cache: Tensor, inputs: Cells) -> Tensor:
    layer = place.layer
    if not build.v_transposed:
        return g.view(cache, layer.head_dim_v, layer.n_head_kv, inputs.n_cells, build.n_streams)
    return g.view(cache, inputs.n_cells, layer.n_head_kv, layer.head_dim_v, build.n_streams)


# ---- the two ways to compute it


def _flash(
    build: Build, place: Place, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, unpack: Tensor | None
) -> Tensor:
    k, v = (g.cast(t, F16) if t.type is g.F32 else t for t in (k, v))
    sinks = build.weight(place, "attn_sinks.weight", is_copied=True)  # where the CPU attends
    result = g.flash_attention(q, k, v, mask, sinks)
    build.attending.append((result, place.home))
    if unpack is not None:
        result = g.mul_mat(unpack, g.permute(result))
        result = g.cont(g.permute(result))
    return _joined(result)


def _scores(
    build: Build, place: Place, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, unpack: Tensor | None
) -> Tensor:
    scores = g.mul_mat(k, q)
    if build.facts.attention_capped:
        scores = g.scale(g.unary(g.scale(scores)))
    sinks = build.weight(place, "attn_sinks.weight")
    scores = g.like("soft_max", scores, mask, *(() if sinks is None else (sinks,)))
    result = g.mul_mat(v, scores)
    if unpack is not None:
        result = g.mul_mat(unpack, result)
    result = g.permute(result)
    return g.cont(result, result.ne[0] * result.ne[1], result.ne[2] * result.ne[3])


def _joined(x: Tensor) -> Tensor:
    return g.reshape(x, x.ne[0] * x.ne[1], x.ne[2] * x.ne[3])


def _rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Source: src/llama-impl.h llama_mul_mat_hadamard."""
    n = rotation.ne[0]
    rows = g.elements(x) // n
    flat = g.reshape(x, n, rows) if x.dense else g.cont(x, n, rows)
    return g.reshape(g.mul_mat(rotation, flat), *x.ne)
