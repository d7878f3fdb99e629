"""Gemma 4, the models whose layers all have a cache of their own and no embeddings per layer.

Source: src/models/gemma4.cpp.
"""

from edgellm.selector.graph import feed_forward
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.attention import cached, output
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.feed_forward import PLAIN_ROUTING
from edgellm.selector.graph.tensors import Tensor


def embedding(build: Build) -> Tensor:
    if build.outside("per_layer_token_embd.weight", build.cpu) is not None:
        raise LookupError("per_layer_token_embd.weight")  # its graph is not drawn here
    return g.scale(build.embedding())


def block(build: Build, place: Place, x: Tensor) -> Tensor:
    if place.layer.kv_kind == "none":
        raise LookupError("attn_k.weight")  # another layer's cache
    attended = _attention(build, place, build.norm(place, "attn_norm", x))
    middle = g.add(build.norm(place, "post_attention_norm", attended), x)
    if build.has(place, "ffn_gate_inp.weight"):
        fed = _mixture(build, place, middle)
    else:
        fed = feed_forward.dense(build, place, build.norm(place, "ffn_norm", middle))
    result = g.add(build.norm(place, "post_ffw_norm", fed, of_layer=False), middle)
    scale = build.weight(place, "layer_output_scale.weight")
    return result if scale is None else g.mul(result, scale)


def _attention(build: Build, place: Place, x: Tensor) -> Tensor:
    layer, n_tokens = place.layer, build.n_tokens
    dim, n_kv = layer.head_dim_k, layer.n_head_kv
    q = build.linear(place, "attn_q", x)
    q = g.reshape(q, dim, q.ne[0] // dim, n_tokens)
    q = _rope(build, place, build.norm(place, "attn_q_norm", q))
    k = build.linear(place, "attn_k", x)
    v = build.linear(place, "attn_v", x) if build.has(place, "attn_v.weight") else k
    k, v = (g.reshape(t, dim, n_kv, n_tokens) for t in (k, v))
    k = build.norm(place, "attn_k_norm", k)
    v = g.like("rms_norm", v)
    return output(build, place, cached(build, place, q, _rope(build, place, k), v))


def _rope(build: Build, place: Place, x: Tensor) -> Tensor:
    """Only full layers have rotary factors."""
    if place.layer.kv_kind == "sliding":
        return g.like("rope", x, build.positions)
    return build.rope(x, place.home)


def _mixture(build: Build, place: Place, middle: Tensor) -> Tensor:
    """A dense part and experts beside it, each with norms of its own."""
    dense = feed_forward.dense(build, place, build.norm(place, "ffn_norm", middle))
    dense = build.norm(place, "post_ffw_norm_1", dense)
    x = build.norm(place, "pre_ffw_norm_2", middle)
    router = g.scale(g.like("rms_norm", middle))
    router = g.mul(router, build.need(place, "ffn_gate_inp.scale"))
    experts = feed_forward.experts(build, place, x, PLAIN_ROUTING, chosen_by=router)
    return g.add(dense, build.norm(place, "post_ffw_norm_2", experts))
