"""The tensors of one block, by the names and shapes that llama.cpp loads.

Source: src/models/*.cpp `load_arch_tensors`; GGUF writes the fastest-moving dimension first.
"""

from collections.abc import Iterator

from edgellm.models.known.architectures import Traits
from edgellm.models.known.mix import NamedShape
from edgellm.models.known.shape import Shape


def block(s: Shape, traits: Traits, has_attention: bool, has_experts: bool) -> Iterator[NamedShape]:
    """The tensors of a block of this kind, without "blk.N."."""
    if s.architecture == "bert":
        yield from _bert(s)
        return
    yield from norm("attn_norm", s.n_embd, traits.norm_bias)
    if s.kv_lora:
        yield from _latent_attention(s)
    elif has_attention:
        yield from _attention(s, traits)
    elif s.n_conv:
        yield from _short_convolution(s)
    else:
        yield from _linear_attention(s)
    for name in traits.norms:
        yield from norm(name, s.n_embd, traits.norm_bias)
    if has_experts:
        yield from _experts(s, traits)
    else:
        yield from _dense(s.n_embd, s.n_ff, traits)


def norm(name: str, d: int, bias: bool) -> Iterator[NamedShape]:
    yield NamedShape(f"{name}.weight", (d,))
    if bias:
        yield NamedShape(f"{name}.bias", (d,))


def _linear(name: str, row: int, column: int, bias: bool = False) -> Iterator[NamedShape]:
    yield NamedShape(f"{name}.weight", (row, column))
    if bias:
        yield NamedShape(f"{name}.bias", (column,))


def _attention(s: Shape, traits: Traits) -> Iterator[NamedShape]:
    d, q, kv = s.n_embd, s.n_head * s.head_dim, s.n_head_kv * s.head_dim
    bias = traits.qkv_bias if s.qkv_bias is None else s.qkv_bias
    gated_q = 2 * q if s.n_ssm_state else q  # the hybrids' attention has a gate as wide as Q
    if traits.qkv == "fused":
        yield from _linear("attn_qkv", d, q + 2 * kv, bias)
    else:
        for name, width in (("attn_q", gated_q), ("attn_k", kv), ("attn_v", kv)):
            yield from _linear(name, d, width, bias)
    if traits.qk_norm if s.qk_norm is None else s.qk_norm:
        yield from norm("attn_q_norm", s.head_dim, bias=False)
        yield from norm("attn_k_norm", s.head_dim, bias=False)
    yield from _linear("attn_output", q, d, traits.out_bias)
    if traits.sinks:
        yield NamedShape("attn_sinks.weight", (s.n_head,))


def _latent_attention(s: Shape) -> Iterator[NamedShape]:
    d, h, kv = s.n_embd, s.n_head, s.kv_lora
    yield from _linear("attn_q_a", d, s.q_lora)
    yield from norm("attn_q_a_norm", s.q_lora, bias=False)
    yield from _linear("attn_q_b", s.q_lora, h * s.head_dim_k_mla)
    yield from _linear("attn_kv_a_mqa", d, kv + s.rope_dim)
    yield from norm("attn_kv_a_norm", kv, bias=False)
    yield NamedShape("attn_k_b.weight", (s.head_dim_k_mla - s.rope_dim, kv, h))
    yield NamedShape("attn_v_b.weight", (kv, s.head_dim_v_mla, h))
    yield from _linear("attn_output", h * s.head_dim_v_mla, d)


def _linear_attention(s: Shape) -> Iterator[NamedShape]:
    """Gated delta net: keys and values as wide as the state, and a convolution before them."""
    d, heads = s.n_embd, s.n_ssm_heads
    key, value = s.n_ssm_state * s.n_ssm_groups, s.n_ssm_state * heads
    yield from _linear("attn_qkv", d, 2 * key + value)
    yield from _linear("attn_gate", d, value)
    yield NamedShape("ssm_conv1d.weight", (s.n_ssm_conv, 2 * key + value))
    yield NamedShape("ssm_dt.bias", (heads,))
    yield NamedShape("ssm_a", (heads,))
    if s.architecture == "qwen3next":
        yield from _linear("ssm_ba", d, 2 * heads)
    else:
        yield from _linear("ssm_beta", d, heads)
        yield from _linear("ssm_alpha", d, heads)
    yield from norm("ssm_norm", s.n_ssm_state, bias=False)
    yield from _linear("ssm_out", value, d)


def _short_convolution(s: Shape) -> Iterator[NamedShape]:
    d = s.n_embd
    yield NamedShape("shortconv.conv.weight", (s.n_conv, d))
    yield from _linear("shortconv.in_proj", d, 3 * d)
    yield from _linear("shortconv.out_proj", d, d)


def _dense(d: int, ff: int, traits: Traits, suffix: str = "") -> Iterator[NamedShape]:
    if traits.gate == "apart":
        yield from _linear(f"ffn_gate{suffix}", d, ff)
    yield from _linear(
        f"ffn_up{suffix}", d, 2 * ff if traits.gate == "fused" else ff, traits.ffn_bias
    )
    yield from _linear(f"ffn_down{suffix}", ff, d, traits.ffn_bias)


def _experts(s: Shape, traits: Traits) -> Iterator[NamedShape]:
    d, ff, n = s.n_embd, s.n_ff_expert, s.n_expert
    yield from _linear("ffn_gate_inp", d, n, traits.expert_bias)
    for name, row, column in (("gate", d, ff), ("up", d, ff), ("down", ff, d)):
        yield NamedShape(f"ffn_{name}_exps.weight", (row, column, n))
        if traits.expert_bias:
            yield NamedShape(f"ffn_{name}_exps.bias", (column, n))
    if traits.router_bias:
        yield NamedShape("exp_probs_b.bias", (n,))
    if s.n_ff_shared:
        if traits.shared_gate:
            yield NamedShape("ffn_gate_inp_shexp.weight", (d,))
        yield from _dense(d, s.n_ff_shared, traits, "_shexp")


def _bert(s: Shape) -> Iterator[NamedShape]:
    d = s.n_embd
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield from _linear(name, d, d, bias=True)
    yield from _linear("ffn_up", d, s.n_ff, bias=True)
    yield from _linear("ffn_down", s.n_ff, d, bias=True)
    yield from norm("attn_output_norm", d, bias=True)
    yield from norm("layer_output_norm", d, bias=True)
