"""Multi-head latent attention: keys and values of all heads in one narrow vector.

Source: src/models/deepseek2.cpp.
"""

from edgellm.selector.graph import feed_forward
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.attention import new_cache, output, over, store_rows
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.feed_forward import SOFTMAX, Routing
from edgellm.selector.graph.tensors import Tensor


def block(build: Build, place: Place, x: Tensor) -> Tensor:
    attended = attention(build, place, build.norm(place, "attn_norm", x))
    attended, skip = build.only_outputs(place, attended, x)
    middle = g.add(attended, skip)
    normed = build.norm(place, "ffn_norm", middle)
    return g.add(_feed(build, place, normed), middle)


def attention(build: Build, place: Place, x: Tensor) -> Tensor:
    """The weights that unpack a key are moved to the query's side, so the cache stays packed."""
    n_tokens = build.n_tokens
    unpack_k, unpack_v = build.need(place, "attn_k_b.weight"), build.need(place, "attn_v_b.weight")
    nope, rank, n_head = unpack_k.ne[:3]
    rope = build.need(place, "attn_kv_a_mqa.weight").ne[1] - rank
    q = g.reshape(_queries(build, place, x), nope + rope, n_head, n_tokens)
    packed = build.linear(place, "attn_kv_a_mqa", x)
    values = g.view(packed, rank, n_tokens)
    k_rope = build.rope(g.view(packed, rope, 1, n_tokens), place.home)
    values = build.norm(place, "attn_kv_a_norm", values)
    q_nope = g.permute(g.view(q, nope, n_head, n_tokens))
    q_rope = build.rope(g.view(q, rope, n_head, n_tokens), place.home)
    absorbed = g.permute(g.mul_mat(unpack_k, q_nope))
    query = g.concat(absorbed, q_rope, 0)
    values = g.reshape(values, rank, 1, n_tokens)
    key = g.concat(values, k_rope, 0)
    return output(build, place, _over_cache(build, place, query, key, values, unpack_v))


def _queries(build: Build, place: Place, x: Tensor) -> Tensor:
    """Through a narrow middle, or straight (the lite models)."""
    if not build.has(place, "attn_q_a.weight"):
        return build.linear(place, "attn_q", x)
    narrow = build.norm(place, "attn_q_a_norm", build.linear(place, "attn_q_a", x))
    return build.linear(place, "attn_q_b", narrow)


def _over_cache(
    build: Build, place: Place, q: Tensor, k: Tensor, v: Tensor, unpack: Tensor
) -> Tensor:
    """Values are the front part of the cached keys. Source: build_attn, llm_graph_input_attn_k."""
    inputs = build.cache_inputs(place.layer)
    build.graph.expand(q, v, k)
    cache = new_cache(build, place, place.layer.head_dim_k, inputs.n_cells)
    build.graph.expand(store_rows(build, cache, k, inputs.k_ids))
    keys = g.view(cache, place.layer.head_dim_k, 1, inputs.n_cells, build.n_streams)
    values = g.view(keys, v.ne[0], 1, inputs.n_cells, build.n_streams)
    return over(build, place, q, keys, values, inputs.mask, unpack=unpack)


def _feed(build: Build, place: Place, x: Tensor) -> Tensor:
    if not build.has(place, "ffn_gate_inp.weight"):
        return feed_forward.dense(build, place, x)
    return feed_forward.mixture(build, place, x, Routing(SOFTMAX, normed=False, by_file=True))
