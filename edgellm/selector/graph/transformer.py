"""Transformer blocks as one description for many architectures: what differs is read from the
tensors that a block has, and from a row of `STYLES`. Source: src/models/*.cpp, the graphs."""

from dataclasses import replace
from typing import Final

from edgellm.selector.graph import feed_forward
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.attention import cached, output, qkv
from edgellm.selector.graph.build import Build, NormOp, Place
from edgellm.selector.graph.feed_forward import PLAIN_ROUTING, SIGMOID, SOFTMAX_WEIGHT, Routing
from edgellm.selector.graph.tensors import Tensor
from edgellm.values import frozen


@frozen
class Style:
    """How an architecture departs from Llama's block."""

    norm: NormOp = "rms_norm"
    embedding_scaled: bool = False
    embedding_normed: bool = False
    rotated: bool = True
    query_scaled: bool = False
    normed_after_rope: bool = False  # Q and K, where they have norms
    normed_whole: bool = False  # all heads of Q or K as one row
    normed_before: bool = True  # or only after attention and feed-forward
    rotates_sliding_only: bool = False  # where there are sliding layers
    parallel: bool = False  # attention and feed-forward both go from the first norm
    attention_last: bool = False  # in the sum of parallel ones
    skip_first: bool = False  # the order of the last sum, which decides what is written over
    ffn_norm: str = "ffn_norm"
    attention_post_norm: str | None = None
    ffn_post_norm: str | None = None
    post_norm_of_layer: bool = True  # Gemma's is given no layer, so it is nobody's in particular
    routing: Routing = PLAIN_ROUTING
    cuts_late: bool = False  # rows that nobody reads are dropped after the last layer
    keeps_hidden: bool = False  # the last hidden state of all tokens is an output


_SEEN_BY_FILE: Final = Routing(by_file=True)
_NORMED_AFTER: Final = Style(
    normed_before=False, attention_post_norm="post_attention_norm", ffn_post_norm="post_ffw_norm",
    post_norm_of_layer=False,
)  # fmt: skip
_COHERE: Final = Style(norm="norm", parallel=True, attention_last=True)

STYLES: Final = {
    "apertus": Style(),
    "arcee": Style(),
    "baichuan": Style(),
    "bailingmoe2": Style(routing=_SEEN_BY_FILE),
    "bloom": Style(norm="norm", embedding_normed=True, rotated=False),
    "chatglm": Style(),
    "cohere2": replace(_COHERE, rotates_sliding_only=True),
    "command-r": _COHERE,
    "deepseek": Style(routing=Routing(normed=False)),
    "dots1": Style(routing=_SEEN_BY_FILE),
    "ernie4_5": Style(),
    "ernie4_5-moe": Style(),
    "exaone4": replace(_NORMED_AFTER, rotates_sliding_only=True),
    "gemma": Style(embedding_scaled=True, query_scaled=True),
    "gemma2": Style(
        embedding_scaled=True, query_scaled=True, attention_post_norm="post_attention_norm",
        ffn_post_norm="post_ffw_norm", post_norm_of_layer=False,
    ),
    "gemma3": Style(
        embedding_scaled=True, query_scaled=True, attention_post_norm="post_attention_norm",
        ffn_post_norm="post_ffw_norm", post_norm_of_layer=False,
    ),
    "glm4": Style(attention_post_norm="post_attention_norm", ffn_post_norm="post_ffw_norm"),
    "glm4moe": Style(
        ffn_norm="post_attention_norm", routing=Routing(SIGMOID, by_file=True), keeps_hidden=True
    ),
    "gpt-oss": Style(
        ffn_norm="post_attention_norm", routing=Routing(SOFTMAX_WEIGHT, normed=False),
        cuts_late=True, keeps_hidden=True,
    ),
    "granite": Style(),
    "granitemoe": Style(),
    "hunyuan-dense": Style(normed_after_rope=True),
    "hunyuan-moe": Style(normed_after_rope=True),
    "internlm2": Style(),
    "llama": Style(),
    "llama4": Style(routing=Routing(SIGMOID, normed=False, weighs_inputs=True)),
    "minimax-m2": Style(normed_whole=True, routing=_SEEN_BY_FILE),
    "mistral3": Style(),
    "mpt": Style(norm="norm", rotated=False),
    "nemotron": Style(norm="norm"),
    "olmo2": replace(_NORMED_AFTER, normed_whole=True),
    "olmoe": Style(normed_whole=True, routing=Routing(normed=False)),
    "phi2": Style(norm="norm", query_scaled=True, parallel=True),
    "phi3": Style(query_scaled=True, skip_first=True),
    "qwen2": Style(),
    "qwen2moe": Style(routing=Routing(normed=False)),
    "qwen2vl": Style(),
    "qwen3": Style(),
    "qwen3moe": Style(),
    "qwen3vl": Style(),
    "qwen3vlmoe": Style(),
    "seed_oss": Style(ffn_norm="post_attention_norm"),
    "smollm3": Style(),
    "starcoder2": Style(norm="norm"),
}  # fmt: skip


_SCOUTS_EXPERTS: Final = 16  # the larger Llama 4 doesn't normalize its queries and keys


def block(build: Build, place: Place, style: Style, x: Tensor) -> Tensor:
    normed = build.norm(place, "attn_norm", x, style.norm) if style.normed_before else x
    attended = attention(build, place, style, normed)
    if style.parallel:
        return _parallel(build, place, style, attended, x, normed)
    skip = x
    if not style.cuts_late:
        attended, skip = build.only_outputs(place, attended, x)
    if style.attention_post_norm:
        attended = build.norm(place, style.attention_post_norm, attended, style.norm)
    middle = g.add(attended, skip)
    normed = middle
    if style.normed_before:
        normed = build.norm(place, style.ffn_norm, middle, style.norm)
    result = feed(build, place, style, normed)
    if style.ffn_post_norm:
        result = build.norm(
            place, style.ffn_post_norm, result, style.norm, of_layer=style.post_norm_of_layer
        )
    result = g.add(middle, result) if style.skip_first else g.add(result, middle)
    return g.add(result, build.deepstack_row()) if place.kind.stacked else result


def _parallel(
    build: Build, place: Place, style: Style, attended: Tensor, skip: Tensor, normed: Tensor
) -> Tensor:
    attended, skip, normed = build.only_outputs(place, attended, skip, normed)
    fed = feed(build, place, style, normed)
    if style.attention_last:
        return g.add(g.add(fed, skip), attended)
    return g.add(g.add(attended, fed), skip)


def attention(build: Build, place: Place, style: Style, x: Tensor) -> Tensor:
    q, k, v = _normed_whole(build, place, x) if style.normed_whole else qkv(build, place, x)
    q = _positioned(build, place, style, "attn_q_norm", q)
    k = _positioned(build, place, style, "attn_k_norm", k)
    if style.query_scaled:
        q = g.scale(q)
    return output(build, place, cached(build, place, q, k, v))


def _normed_whole(build: Build, place: Place, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    layer, n_tokens = place.layer, build.n_tokens
    q, k, v = (build.linear(place, f"attn_{part}", x) for part in "qkv")
    q, k = build.norm(place, "attn_q_norm", q), build.norm(place, "attn_k_norm", k)
    return (
        g.reshape(q, layer.head_dim_k, q.ne[0] // layer.head_dim_k, n_tokens),
        g.reshape(k, layer.head_dim_k, layer.n_head_kv, n_tokens),
        g.reshape(v, layer.head_dim_v, layer.n_head_kv, n_tokens),
    )


def feed(build: Build, place: Place, style: Style, x: Tensor) -> Tensor:
    if not build.has(place, "ffn_gate_inp.weight"):
        return feed_forward.dense(build, place, x)
    return feed_forward.mixture(build, place, x, style.routing)


def _positioned(build: Build, place: Place, style: Style, norm: str, x: Tensor) -> Tensor:
    """Normalized, when the block has that norm, and rotated, when the layer rotates."""
    has_norm = build.has(place, f"{norm}.weight") and not style.normed_whole
    if has_norm and not style.normed_after_rope:
        x = build.norm(place, norm, x, style.norm)
    if _rotates(build, place, style):
        x = build.rope(x, place.home)
    return build.norm(place, norm, x, style.norm) if has_norm and style.normed_after_rope else x


def _rotates(build: Build, place: Place, style: Style) -> bool:
    if style.rotates_sliding_only and build.outline.n_swa:
        return place.layer.kv_kind == "sliding"
    return style.rotated and not place.kind.stands_out


def llama4_block(build: Build, place: Place, x: Tensor) -> Tensor:
    """Layers that don't rotate scale their queries instead, by how far into the text they are."""
    style = STYLES["llama4"]
    q, k, v = qkv(build, place, build.norm(place, "attn_norm", x))
    if place.kind.stands_out:
        q = g.mul(q, build.query_scales)
    else:
        q, k = build.rope(q, place.home), build.rope(k, place.home)
        if build.outline.n_expert <= _SCOUTS_EXPERTS:
            q, k = g.like("rms_norm", q), g.like("rms_norm", k)
    attended = output(build, place, cached(build, place, q, k, v))
    attended, skip = build.only_outputs(place, attended, x)
    middle = g.add(attended, skip)
    return g.add(feed(build, place, style, build.norm(place, style.ffn_norm, middle)), middle)
