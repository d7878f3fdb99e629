"""Encoders of BERT's kind: no cache, the batch attends to itself. Source: src/models/bert.cpp."""

from edgellm.selector.graph import feed_forward
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.attention import output, qkv, uncached
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.feed_forward import Routing
from edgellm.selector.graph.tensors import Tensor

_CHOOSES = Routing(normed=False)


def embedding(build: Build) -> Tensor:
    x = build.embedding()
    if (types := build.outside("token_types.weight", build.cpu)) is not None:
        x = g.add(x, g.view(types, build.outline.n_embd, dense=True))
    if (places := build.outside("position_embd.weight", build.cpu)) is not None:
        x = g.add(g.get_rows(places, build.positions), x)
    return build.normed_embedding(x)


def block(build: Build, place: Place, x: Tensor, *, rotated: bool = False) -> Tensor:
    q, k, v = qkv(build, place, x)
    q, k = _normed(build, place, "attn_q_norm", q), _normed(build, place, "attn_k_norm", k)
    if rotated:
        q, k = build.rope(q, place.home), build.rope(k, place.home)
    attended = output(build, place, uncached(build, place, q, k, v, build.batch_mask))
    attended, x = build.only_outputs(place, attended, x)
    middle = build.norm(place, "attn_output_norm", g.add(attended, x), "norm")
    if build.has(place, "attn_norm_2.weight"):
        middle = build.norm(place, "attn_norm_2", g.add(middle, x), "norm")
    if build.has(place, "ffn_gate_inp.weight"):
        fed = feed_forward.experts(build, place, middle, _CHOOSES)
    else:
        fed = feed_forward.dense(build, place, middle)
    return build.norm(place, "layer_output_norm", g.add(fed, middle), "norm")


def rotated_block(build: Build, place: Place, x: Tensor) -> Tensor:
    return block(build, place, x, rotated=True)


def gemma_block(build: Build, place: Place, x: Tensor) -> Tensor:
    """Gemma's, without a cache. Source: src/models/gemma-embedding.cpp."""
    q, k, v = qkv(build, place, build.norm(place, "attn_norm", x))
    q = build.rope(build.norm(place, "attn_q_norm", q), place.home)
    k = build.rope(build.norm(place, "attn_k_norm", k), place.home)
    mask = build.batch_mask if place.kind.stands_out else build.sliding_batch_mask
    attended = uncached(build, place, g.scale(q), k, v, mask)
    attended, x = build.only_outputs(place, output(build, place, attended), x)
    middle = g.add(build.norm(place, "post_attention_norm", attended), x)
    fed = feed_forward.dense(build, place, build.norm(place, "ffn_norm", middle))
    return g.add(build.norm(place, "post_ffw_norm", fed, of_layer=False), middle)


def _normed(build: Build, place: Place, name: str, x: Tensor) -> Tensor:
    """All heads as one row."""
    if not build.has(place, f"{name}.weight"):
        return x
    flat = g.reshape(x, x.ne[0] * x.ne[1], x.ne[2])
    return g.reshape(build.norm(place, name, flat, "norm"), *x.ne[:3])


def pooled(build: Build, x: Tensor) -> Tensor:
    """Source: src/llama-graph.cpp build_pooling."""
    match build.outline.pooling:
        case "mean":
            share = g.new_input(build.n_tokens, build.n_seqs)
            return g.mul_mat(g.cont(g.transpose(x)), share)
        case "cls" | "last" | "rank":
            rows = g.new_input(build.n_seqs, kind=g.I32)
            return g.get_rows(x, rows)
        case _:
            return x
