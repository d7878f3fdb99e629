"""From a model's published shape to the header that its GGUF would have.

The names and dimensions are those that llama.cpp's converter writes (convert_hf_to_gguf.py,
src/models/*.cpp `load_arch_tensors`). A row is held against the model's published parameter
count in the tests, so a wrong shape can't stay. Left out: vocabulary and template, some MiB.
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from edgellm.models.gguf import GGUFHeader, TensorInfo
from edgellm.models.gguf_values import NumberArray, Value, number_array
from edgellm.models.mix import MixFacts, NamedShape, mix_types
from edgellm.models.quants import BY_NAME, tensor_bytes

Architecture = Literal[
    "llama", "qwen2", "qwen3", "qwen3moe", "gemma3", "phi3", "gpt-oss", "lfm2", "deepseek2", "bert"
]
_ALIGNMENT: Final = 32
_POOLING: Final = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of a model's config.json that decide about memory and speed."""

    architecture: Architecture
    n_layers: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_vocab: int
    n_ctx_train: int
    tied_embeddings: bool = False
    rope_factors: int = 0  # numbers in each rope_freqs / rope_factors tensor
    n_swa: int = 0
    n_expert: int = 0
    n_expert_used: int = 0
    n_ff_expert: int = 0
    pooling: Literal["none", "mean", "cls", "last", "rank"] | None = None
    attention_layers: tuple[int, ...] = ()  # lfm2: the others are short convolutions
    n_conv: int = 0  # lfm2: the convolution's length
    q_lora: int = 0  # deepseek2, from here on
    kv_lora: int = 0
    rope_dim: int = 0
    head_dim_k_mla: int = 0
    head_dim_v_mla: int = 0
    n_dense_lead: int = 0
    n_expert_shared: int = 0


def shape_header(shape: Shape, quant: str) -> GGUFHeader:
    """Raises BadRequest for a mix without rules (see mix.py)."""
    named = tuple(_tensors(shape))
    facts = MixFacts(
        n_layers=shape.n_layers,
        n_gqa=shape.n_head // shape.n_head_kv,
        n_expert=shape.n_expert,
        is_llama_70b=shape.architecture == "llama" and (shape.n_layers, shape.n_embd) == (80, 8192),
    )
    tensors, offset = [], 0
    for tensor, type_name in zip(named, mix_types(quant, named, facts), strict=True):
        type_id = BY_NAME[type_name].id
        n_bytes = tensor_bytes(type_id, tensor.shape)
        tensors.append(TensorInfo(tensor.name, tensor.shape, type_id, offset, n_bytes))
        offset += n_bytes + -n_bytes % _ALIGNMENT
    return GGUFHeader(3, _metadata(shape), tuple(tensors), 0, _ALIGNMENT)


def _metadata(shape: Shape) -> dict[str, Value]:
    keys: dict[str, Value] = {
        "block_count": shape.n_layers,
        "context_length": shape.n_ctx_train,
        "embedding_length": shape.n_embd,
        "feed_forward_length": shape.n_ff,
        "attention.head_count": shape.n_head,
        "attention.head_count_kv": _head_count_kv(shape),
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "vocab_size": shape.n_vocab,
    }
    if shape.n_swa:
        keys["attention.sliding_window"] = shape.n_swa
    if shape.n_expert:
        keys |= {"expert_count": shape.n_expert, "expert_used_count": shape.n_expert_used}
    if shape.pooling is not None:
        keys["pooling_type"] = _POOLING[shape.pooling]
    if shape.n_conv:
        keys["shortconv.l_cache"] = shape.n_conv
    if shape.kv_lora:
        keys |= {
            "attention.head_count_kv": 1,
            "attention.key_length": shape.kv_lora + shape.rope_dim,
            "attention.value_length": shape.kv_lora,
            "attention.key_length_mla": shape.head_dim_k_mla,
            "attention.value_length_mla": shape.head_dim_v_mla,
        }
    prefixed: dict[str, Value] = {
        f"{shape.architecture}.{key}": value for key, value in keys.items()
    }
    return {"general.architecture": shape.architecture} | prefixed


def _head_count_kv(shape: Shape) -> int | NumberArray:
    if not shape.attention_layers:
        return shape.n_head_kv
    attention = shape.attention_layers
    return number_array([shape.n_head_kv * (il in attention) for il in range(shape.n_layers)])


def _tensors(s: Shape) -> Iterator[NamedShape]:
    d = s.n_embd
    yield NamedShape("token_embd.weight", (d, s.n_vocab))
    if s.architecture == "bert":
        yield NamedShape("token_types.weight", (d, 2))
        yield NamedShape("position_embd.weight", (d, s.n_ctx_train))
        yield from _norm("token_embd_norm", d, bias=True)
    if s.architecture == "llama" and s.rope_factors:
        yield NamedShape("rope_freqs.weight", (s.rope_factors,))
    if s.architecture == "phi3" and s.rope_factors:
        yield NamedShape("rope_factors_long.weight", (s.rope_factors,))
        yield NamedShape("rope_factors_short.weight", (s.rope_factors,))
    for il in range(s.n_layers):
        for tensor in _block(s, il):
            yield NamedShape(f"blk.{il}.{tensor.name}", tensor.shape)
    if s.architecture != "bert":
        norm = "token_embd_norm" if s.architecture == "lfm2" else "output_norm"
        yield NamedShape(f"{norm}.weight", (d,))
        if not s.tied_embeddings:
            yield NamedShape("output.weight", (d, s.n_vocab))


def _block(s: Shape, il: int) -> Iterator[NamedShape]:
    match s.architecture:
        case "bert":
            yield from _bert_block(s)
        case "lfm2":
            yield NamedShape("attn_norm.weight", (s.n_embd,))
            yield from _attention(s) if il in s.attention_layers else _short_convolution(s)
            yield NamedShape("ffn_norm.weight", (s.n_embd,))
            yield from _dense(s.n_embd, s.n_ff)
        case "deepseek2":
            yield NamedShape("attn_norm.weight", (s.n_embd,))
            yield from _latent_attention(s)
            yield NamedShape("ffn_norm.weight", (s.n_embd,))
            yield from _dense(s.n_embd, s.n_ff) if il < s.n_dense_lead else _shared_experts(s)
        case _:
            yield NamedShape("attn_norm.weight", (s.n_embd,))
            yield from _attention(s)
            yield from _feed_forward(s)


def _attention(s: Shape) -> Iterator[NamedShape]:
    d, q, kv = s.n_embd, s.n_head * s.head_dim, s.n_head_kv * s.head_dim
    if s.architecture == "phi3":
        yield NamedShape("attn_qkv.weight", (d, q + 2 * kv))
    else:
        for name, width in (("q", q), ("k", kv), ("v", kv)):
            yield NamedShape(f"attn_{name}.weight", (d, width))
            if s.architecture in ("qwen2", "gpt-oss"):
                yield NamedShape(f"attn_{name}.bias", (width,))
    if s.architecture in ("qwen3", "qwen3moe", "gemma3", "lfm2"):
        yield NamedShape("attn_q_norm.weight", (s.head_dim,))
        yield NamedShape("attn_k_norm.weight", (s.head_dim,))
    yield NamedShape("attn_output.weight", (q, d))
    if s.architecture == "gpt-oss":
        yield NamedShape("attn_output.bias", (d,))
        yield NamedShape("attn_sinks.weight", (s.n_head,))


def _feed_forward(s: Shape) -> Iterator[NamedShape]:
    d = s.n_embd
    match s.architecture:
        case "gpt-oss":
            yield NamedShape("post_attention_norm.weight", (d,))
            yield from _experts(s, bias=True)
        case "gemma3":
            for name in ("post_attention_norm", "ffn_norm", "post_ffw_norm"):
                yield NamedShape(f"{name}.weight", (d,))
            yield from _dense(d, s.n_ff)
        case "phi3":
            yield NamedShape("ffn_norm.weight", (d,))
            yield NamedShape("ffn_up.weight", (d, 2 * s.n_ff))  # gate and up in one
            yield NamedShape("ffn_down.weight", (s.n_ff, d))
        case _:
            yield NamedShape("ffn_norm.weight", (d,))
            yield from _experts(s) if s.n_expert else _dense(d, s.n_ff)


def _dense(d: int, ff: int, suffix: str = "") -> Iterator[NamedShape]:
    yield NamedShape(f"ffn_gate{suffix}.weight", (d, ff))
    yield NamedShape(f"ffn_up{suffix}.weight", (d, ff))
    yield NamedShape(f"ffn_down{suffix}.weight", (ff, d))


def _experts(s: Shape, bias: bool = False) -> Iterator[NamedShape]:
    d, ff, n = s.n_embd, s.n_ff_expert, s.n_expert
    yield NamedShape("ffn_gate_inp.weight", (d, n))
    if bias:
        yield NamedShape("ffn_gate_inp.bias", (n,))
    for name, row, column in (("gate", d, ff), ("up", d, ff), ("down", ff, d)):
        yield NamedShape(f"ffn_{name}_exps.weight", (row, column, n))
        if bias:
            yield NamedShape(f"ffn_{name}_exps.bias", (column, n))


def _shared_experts(s: Shape) -> Iterator[NamedShape]:
    yield from _experts(s)
    yield NamedShape("exp_probs_b.bias", (s.n_expert,))
    yield from _dense(s.n_embd, s.n_ff_expert * s.n_expert_shared, "_shexp")


def _latent_attention(s: Shape) -> Iterator[NamedShape]:
    d, h, kv = s.n_embd, s.n_head, s.kv_lora
    yield NamedShape("attn_q_a.weight", (d, s.q_lora))
    yield NamedShape("attn_q_a_norm.weight", (s.q_lora,))
    yield NamedShape("attn_q_b.weight", (s.q_lora, h * s.head_dim_k_mla))
    yield NamedShape("attn_kv_a_mqa.weight", (d, kv + s.rope_dim))
    yield NamedShape("attn_kv_a_norm.weight", (kv,))
    yield NamedShape("attn_k_b.weight", (s.head_dim_k_mla - s.rope_dim, kv, h))
    yield NamedShape("attn_v_b.weight", (kv, s.head_dim_v_mla, h))
    yield NamedShape("attn_output.weight", (h * s.head_dim_v_mla, d))


def _short_convolution(s: Shape) -> Iterator[NamedShape]:
    d = s.n_embd
    yield NamedShape("shortconv.conv.weight", (s.n_conv, d))
    yield NamedShape("shortconv.in_proj.weight", (d, 3 * d))
    yield NamedShape("shortconv.out_proj.weight", (d, d))


def _bert_block(s: Shape) -> Iterator[NamedShape]:
    d = s.n_embd
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield NamedShape(f"{name}.weight", (d, d))
        yield NamedShape(f"{name}.bias", (d,))
    for name, row, column in (("ffn_up", d, s.n_ff), ("ffn_down", s.n_ff, d)):
        yield NamedShape(f"{name}.weight", (row, column))
        yield NamedShape(f"{name}.bias", (column,))
    yield from _norm("attn_output_norm", d, bias=True)
    yield from _norm("layer_output_norm", d, bias=True)


def _norm(name: str, d: int, bias: bool) -> Iterator[NamedShape]:
    yield NamedShape(f"{name}.weight", (d,))
    if bias:
        yield NamedShape(f"{name}.bias", (d,))
