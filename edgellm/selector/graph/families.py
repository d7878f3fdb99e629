"""Which graph an architecture has. One row each; what is not here is estimated, with a margin."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from edgellm.selector.graph import delta_net, encoder, gemma4, hybrid, latent, rwkv
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.build import Build, NormOp, Place
from edgellm.selector.graph.feed_forward import SIGMOID, Routing
from edgellm.selector.graph.mamba import mamba, mamba2
from edgellm.selector.graph.states import short_convolution
from edgellm.selector.graph.tensors import Tensor
from edgellm.selector.graph.transformer import STYLES, Style, feed, llama4_block
from edgellm.selector.graph.transformer import attention as plain_attention
from edgellm.selector.graph.transformer import block as transformer_block
from edgellm.values import frozen

Block = Callable[[Build, Place, Tensor], Tensor]
Cuts = Literal["in the last block", "before the norm", "after the norm"]


@frozen
class Family:
    """How a graph begins, what a layer is, and how it ends."""

    block: Block
    embedding: Callable[[Build], Tensor] = Build.embedding
    norm: NormOp | None = "rms_norm"  # the last one
    cuts: Cuts = "in the last block"  # where rows that nobody reads are dropped
    keeps_hidden: bool = False  # the last hidden state of all tokens is an output: for a draft head
    has_head: bool = True


def _of_style(style: Style) -> Family:
    def embedding(build: Build) -> Tensor:
        x = build.embedding()
        if style.embedding_scaled:
            x = g.scale(x)
        if (places := build.outside("position_embd.weight", build.cpu)) is not None:
            x = g.add(x, g.get_rows(places, build.positions))
        return build.normed_embedding(x) if style.embedding_normed else x

    def block(build: Build, place: Place, x: Tensor) -> Tensor:
        return transformer_block(build, place, style, x)

    cuts: Cuts = "before the norm" if style.cuts_late else "in the last block"
    return Family(block, embedding, style.norm, cuts, style.keeps_hidden)


def _lfm2(build: Build, place: Place, x: Tensor) -> Tensor:
    normed = build.norm(place, "attn_norm", x)
    if place.layer.kv_kind == "recurrent":
        mixed = short_convolution(build, place, normed)
    else:
        mixed = plain_attention(build, place, STYLES["qwen3"], normed)
    mixed, skip = build.only_outputs(place, mixed, x)
    middle = g.add(skip, mixed)
    style = Style(routing=Routing(build.facts.expert_gating or SIGMOID))
    return g.add(middle, feed(build, place, style, build.norm(place, "ffn_norm", middle)))


def _state_space(layer: Block) -> Block:
    def block(build: Build, place: Place, x: Tensor) -> Tensor:
        mixed = layer(build, place, build.norm(place, "attn_norm", x))
        return g.add(*build.only_outputs(place, mixed, x))

    return block


def _rwkv_embedding(build: Build) -> Tensor:
    return build.normed_embedding(build.embedding())


def _scaled_embedding(build: Build) -> Tensor:
    return g.scale(build.embedding())


_DELTA_NET: Final = Family(delta_net.block, cuts="after the norm", keeps_hidden=True)
_NEMOTRON: Final = Family(hybrid.nemotron_block, cuts="after the norm", keeps_hidden=True)
_ENCODER: Final = Family(encoder.block, encoder.embedding, norm=None, has_head=False)
_ROTATED_ENCODER: Final = replace(_ENCODER, block=encoder.rotated_block)

FAMILIES: Final[Mapping[str, Family]] = {
    **{name: _of_style(style) for name, style in STYLES.items()},
    "deepseek2": Family(latent.block, keeps_hidden=True),
    "llama4": Family(llama4_block),
    "qwen35": _DELTA_NET,
    "qwen35moe": _DELTA_NET,
    "qwen3next": _DELTA_NET,
    "lfm2": Family(_lfm2),
    "lfm2moe": Family(_lfm2),
    "mamba": Family(_state_space(mamba)),
    "mamba2": Family(_state_space(mamba2)),
    "rwkv6": Family(rwkv.block, _rwkv_embedding, norm="norm"),
    "granitehybrid": Family(hybrid.granite_block),
    "nemotron_h": _NEMOTRON,
    "nemotron_h_moe": _NEMOTRON,
    "gemma4": Family(gemma4.block, gemma4.embedding, cuts="after the norm", keeps_hidden=True),
    "gemma-embedding": Family(encoder.gemma_block, _scaled_embedding, has_head=False),
    "bert": _ENCODER,
    "jina-bert-v2": _ENCODER,
    "jina-bert-v3": _ROTATED_ENCODER,
    "nomic-bert": _ROTATED_ENCODER,
    "nomic-bert-moe": _ROTATED_ENCODER,
}


def draw(build: Build, places: Sequence[Place]) -> None:
    """The whole graph, as llama.cpp reserves for it."""
    family = FAMILIES[build.outline.architecture]
    x = family.embedding(build)
    for place in places:
        x = family.block(build, place, x)
    if family.cuts == "before the norm":
        x.flag_output = family.keeps_hidden
        x = g.get_rows(x, build.output_ids)
    if family.norm is not None:
        x = _final_norm(build, family.norm, x)
    if family.cuts == "after the norm":
        x.flag_output = family.keeps_hidden
        x = g.get_rows(x, build.output_ids)
    x.flag_output = True
    build.graph.expand(_logits(build, family, x) if family.has_head else x)
    if build.shape.embedding:
        pooled = encoder.pooled(build, x)
        pooled.flag_output = True
        build.graph.expand(pooled)


def _final_norm(build: Build, op: str, x: Tensor) -> Tensor:
    x = g.like(op, x)
    for name in ("output_norm", "token_embd_norm"):  # the latter is LFM2's name for it
        weight = build.outside(f"{name}.weight", build.head_home)
        if weight is None:
            continue
        x = g.mul(x, weight)
        bias = build.outside(f"{name}.bias", build.head_home)
        return x if bias is None else g.add(x, bias)
    return x


def _logits(build: Build, family: Family, x: Tensor) -> Tensor:
    head = build.outside("output.weight", build.head_home)
    if head is None:  # tied
        head = build.outside("token_embd.weight", build.head_home)
    if head is None:
        raise LookupError("output.weight")
    logits = g.mul_mat(head, x)
    if (bias := build.outside("output.bias", build.head_home)) is not None:
        logits = g.add(logits, bias)
    if build.facts.logits_capped:
        logits = g.scale(g.unary(g.scale(logits)))
    logits.flag_output = True
    return logits
