"""Which graph an architecture has. One row each; what is not here is estimated, with a margin."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from edgellm.selector.graph import encoder, latent, rwkv
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.mamba import mamba, mamba2
from edgellm.selector.graph.states import short_convolution
from edgellm.selector.graph.tensors import Tensor
from edgellm.selector.graph.transformer import STYLES, Style, feed
from edgellm.selector.graph.transformer import attention as plain_attention
from edgellm.selector.graph.transformer import block as transformer_block

Block = Callable[[Build, Place, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Family:
    """How a graph begins, what a layer is, and how it ends."""

    block: Block
    embedding: Callable[[Build], Tensor] = Build.embedding
    norm: Literal["rms_norm", "norm"] | None = "rms_norm"  # the last one
    cuts: Literal["in the last block", "before the norm", "after the norm"] = "in the last block"
    keeps_hidden: bool = False  # the last hidden state of all tokens is an output: for a draft head
    has_head: bool = True


def _of_style(style: Style) -> Family:
    def embedding(build: Build) -> Tensor:
        x = build.embedding()
        return g.scale(x) if style.embedding_scaled or build.facts.embedding_scaled else x

    return Family(
        partial(_transformer, style), embedding,
        cuts="before the norm" if style.cuts_late else "in the last block",
        keeps_hidden=style.cuts_late,
    )  # fmt: skip


def _transformer(style: Style, build: Build, place: Place, x: Tensor) -> Tensor:
    return transformer_block(build, place, style, x)


def _lfm2(build: Build, place: Place, x: Tensor) -> Tensor:
    normed = build.norm(place, "attn_norm", x)
    if place.layer.kv_kind == "recurrent":
        mixed = short_convolution(build, place, normed)
    else:
        mixed = plain_attention(build, place, STYLES["qwen3"], normed)
    mixed, skip = build.only_outputs(place, mixed, x)
    middle = g.add(skip, mixed)
    style = replace(STYLES["qwen3moe"], gating=build.facts.expert_gating or 1)
    return g.add(middle, feed(build, place, style, build.norm(place, "ffn_norm", middle)))


def _state_space(layer: Block) -> Block:
    def block(build: Build, place: Place, x: Tensor) -> Tensor:
        mixed = layer(build, place, build.norm(place, "attn_norm", x))
        return g.add(*build.only_outputs(place, mixed, x))

    return block


def _rwkv_embedding(build: Build) -> Tensor:
    x = g.like("norm", build.embedding())
    for name, op in (("weight", "mul"), ("bias", "add")):
        tensor = build.outside(f"token_embd_norm.{name}", build.first_home)
        x = g.like(op, x, tensor) if tensor is not None else x
    return x


FAMILIES: Final[Mapping[str, Family]] = {
    **{name: _of_style(style) for name, style in STYLES.items()},
    "deepseek2": Family(latent.block, keeps_hidden=True),
    "lfm2": Family(_lfm2),
    "lfm2moe": Family(_lfm2),
    "mamba": Family(_state_space(mamba)),
    "mamba2": Family(_state_space(mamba2)),
    "rwkv6": Family(rwkv.block, _rwkv_embedding, norm="norm"),
    "bert": Family(encoder.block, encoder.embedding, norm=None, has_head=False),
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
    assert head is not None
    logits = g.mul_mat(head, x)
    if (bias := build.outside("output.bias", build.head_home)) is not None:
        logits = g.add(logits, bias)
    if build.facts.logits_capped:
        logits = g.scale(g.unary(g.scale(logits)))
    logits.flag_output = True
    return logits
