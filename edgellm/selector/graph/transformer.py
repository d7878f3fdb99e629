"""Transformer blocks as one description for many architectures: what differs is read from the
tensors that a block has, and from a row of `STYLES`. Source: src/models/*.cpp, the graphs."""

from dataclasses import dataclass
from typing import Final

from edgellm.selector.graph import feed_forward
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.attention import cached, output, qkv
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.feed_forward import SOFTMAX, SOFTMAX_WEIGHT
from edgellm.selector.graph.tensors import Tensor


@dataclass(frozen=True, slots=True)
class Style:
    """How an architecture departs from Llama's block."""

    embedding_scaled: bool = False
    query_scaled: bool = False
    rope_first: bool = False  # norms of Q and K come after the rotation
    ffn_norm: str = "ffn_norm"
    attention_post_norm: str | None = None
    ffn_post_norm: str | None = None
    gating: int = SOFTMAX
    experts_normed: bool = True
    cuts_late: bool = False  # rows that nobody reads are dropped after the last layer


STYLES: Final = {
    "llama": Style(),
    "qwen2": Style(),
    "qwen3": Style(),
    "qwen3moe": Style(),
    "gemma3": Style(
        embedding_scaled=True, query_scaled=True, attention_post_norm="post_attention_norm",
        ffn_post_norm="post_ffw_norm",
    ),
    "gpt-oss": Style(
        ffn_norm="post_attention_norm", gating=SOFTMAX_WEIGHT, experts_normed=False, cuts_late=True
    ),
}  # fmt: skip


def block(build: Build, place: Place, style: Style, x: Tensor) -> Tensor:
    attended = attention(build, place, style, build.norm(place, "attn_norm", x))
    skip = x
    if not style.cuts_late:
        attended, skip = build.only_outputs(place, attended, x)
    if style.attention_post_norm:
        attended = build.norm(place, style.attention_post_norm, attended)
    middle = g.add(attended, skip)
    result = feed(build, place, style, build.norm(place, style.ffn_norm, middle))
    if style.ffn_post_norm:
        result = build.norm(place, style.ffn_post_norm, result)
    return g.add(result, middle)


def attention(build: Build, place: Place, style: Style, x: Tensor) -> Tensor:
    q, k, v = qkv(build, place, x)
    q = _positioned(build, place, style, "attn_q_norm", q)
    k = _positioned(build, place, style, "attn_k_norm", k)
    if style.query_scaled:
        q = g.scale(q)
    return output(build, place, cached(build, place, q, k, v))


def feed(build: Build, place: Place, style: Style, x: Tensor) -> Tensor:
    if build.weight(place, "ffn_gate_inp.weight") is None:
        return feed_forward.dense(build, place, x)
    return feed_forward.experts(
        build, place, x, gating=style.gating, normed=style.experts_normed,
        scaled=build.facts.expert_weights_scaled,
    )  # fmt: skip


def _positioned(build: Build, place: Place, style: Style, norm: str, x: Tensor) -> Tensor:
    """Normalized, when the block has that norm, and rotated."""
    has_norm = build.weight(place, f"{norm}.weight") is not None
    if has_norm and not style.rope_first:
        x = build.norm(place, norm, x)
    x = build.rope(x, place.home)
    return build.norm(place, norm, x) if has_norm and style.rope_first else x
