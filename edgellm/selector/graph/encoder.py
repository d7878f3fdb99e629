"""Encoders of BERT's kind: no cache, the batch attends to itself. Source: src/models/bert.cpp."""

from edgellm.selector.graph import feed_forward
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.attention import output, qkv, uncached
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.tensors import Tensor


def embedding(build: Build) -> Tensor:
    x = build.embedding()
    if (types := build.outside("token_types.weight", build.cpu)) is not None:
        x = g.add(x, g.view(types, build.outline.n_embd, dense=True))
    if (places := build.outside("position_embd.weight", build.cpu)) is not None:
        x = g.add(g.get_rows(places, build.positions), x)
    return build.normed_embedding(x)


def block(build: Build, place: Place, x: Tensor) -> Tensor:
    q, k, v = qkv(build, place, x)
    attended = output(build, place, uncached(build, place, q, k, v, build.batch_mask))
    attended, x = build.only_outputs(place, attended, x)
    middle = build.norm(place, "attn_output_norm", g.add(attended, x), "norm")
    fed = feed_forward.dense(build, place, middle)
    return build.norm(place, "layer_output_norm", g.add(fed, middle), "norm")


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
