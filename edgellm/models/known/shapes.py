"""From a model's published shape to the header that its GGUF would have.

The names, dimensions and keys are those that llama.cpp's converter writes (conversion/*.py,
src/models/*.cpp `load_arch_tensors`). A row is held against the model's published parameter
count in the tests, and llama.cpp itself loads one of each architecture, so a wrong shape can't
stay. Left out: vocabulary and template, some MiB, and draft (MTP) blocks, which llama.cpp skips.
"""

from collections.abc import Iterator
from typing import Final

from edgellm.errors import ConfigError
from edgellm.models.gguf.header import POOLINGS, GGUFHeader, TensorInfo
from edgellm.models.gguf.values import NumberArray, Value, number_array
from edgellm.models.known.architectures import ARCHITECTURES, Traits
from edgellm.models.known.blocks import block, norm
from edgellm.models.known.mix import MixFacts, NamedShape, mix_types
from edgellm.models.known.shape import KeyValue, Shape
from edgellm.models.quants import BY_NAME, tensor_bytes

_ALIGNMENT: Final = 32
_TOKEN_TYPES: Final = 2  # of every BERT
_EPSILON: Final = 1e-5  # decides about no byte


def shape_header(shape: Shape, quant: str) -> GGUFHeader:
    """Raises BadRequest for a mix without rules (see mix.py), ConfigError for an architecture
    without a row."""
    traits = ARCHITECTURES.get(shape.architecture)
    if traits is None:
        raise ConfigError(f"no architecture {shape.architecture!r} is known")
    named = tuple(_tensors(shape, traits))
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
    return GGUFHeader(3, _metadata(shape, traits), tuple(tensors), 0, _ALIGNMENT)


def _tensors(s: Shape, traits: Traits) -> Iterator[NamedShape]:
    d = s.n_embd
    yield NamedShape("token_embd.weight", (d, s.n_vocab))
    if s.architecture == "bert":
        yield NamedShape("token_types.weight", (d, _TOKEN_TYPES))
        yield NamedShape("position_embd.weight", (d, s.n_ctx_train))
    if s.architecture in ("bert", "bloom"):
        yield from norm("token_embd_norm", d, bias=True)
    if s.rope_factors:
        for name in traits.rope_tensors:
            yield NamedShape(f"{name}.weight", (s.rope_factors,))
    yield from _blocks(s, traits)
    if s.architecture == "bert":
        return
    yield from norm(traits.final_norm, d, traits.norm_bias)
    if not s.tied_embeddings:
        yield NamedShape("output.weight", (d, s.n_vocab))
        if traits.output_bias:
            yield NamedShape("output.bias", (s.n_vocab,))


def _blocks(s: Shape, traits: Traits) -> Iterator[NamedShape]:
    """Most are alike, so each kind is worked out once."""
    kinds: dict[tuple[bool, bool], tuple[NamedShape, ...]] = {}
    for il in range(s.n_layers):
        kind = s.is_attention(il), s.has_experts(il)
        if kind not in kinds:
            kinds[kind] = tuple(block(s, traits, *kind))
        for tensor in kinds[kind]:
            yield NamedShape(f"blk.{il}.{tensor.name}", tensor.shape)


def _metadata(shape: Shape, traits: Traits) -> dict[str, Value]:
    keys: dict[str, Value] = {
        "block_count": shape.n_layers,
        "context_length": shape.n_ctx_train,
        "embedding_length": shape.n_embd,
        "feed_forward_length": shape.n_ff,
        "attention.head_count": shape.n_head,
        "attention.head_count_kv": _head_count_kv(shape),
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "attention.layer_norm_epsilon": _EPSILON,
        "attention.layer_norm_rms_epsilon": _EPSILON,
        "vocab_size": shape.n_vocab,
        **_attention_keys(shape),
        **_expert_keys(shape),
        **traits.keys,
        **{key: _value(value) for key, value in shape.keys.items()},
    }
    general: dict[str, Value] = {"general.architecture": shape.architecture}
    if shape.architecture == "bert":
        general["tokenizer.ggml.token_type_count"] = _TOKEN_TYPES
    return general | {f"{shape.architecture}.{key}": value for key, value in keys.items()}


def _attention_keys(shape: Shape) -> dict[str, Value]:
    keys: dict[str, Value] = {}
    if shape.rope_dim or shape.rope_factors:
        keys["rope.dimension_count"] = shape.rope_dim or 2 * shape.rope_factors
    if shape.n_swa:
        keys["attention.sliding_window"] = shape.n_swa
    if shape.pooling is not None:
        keys["pooling_type"] = POOLINGS.index(shape.pooling)
    if shape.n_conv:
        keys["shortconv.l_cache"] = shape.n_conv
    if shape.n_ssm_state:
        keys |= {
            "full_attention_interval": shape.full_every,
            "ssm.conv_kernel": shape.n_ssm_conv,
            "ssm.state_size": shape.n_ssm_state,
            "ssm.group_count": shape.n_ssm_groups,
            "ssm.time_step_rank": shape.n_ssm_heads,
            "ssm.inner_size": shape.n_ssm_state * shape.n_ssm_heads,
        }
    if shape.kv_lora:
        keys |= {
            "attention.q_lora_rank": shape.q_lora,
            "attention.kv_lora_rank": shape.kv_lora,
            "attention.head_count_kv": 1,
            "attention.key_length": shape.kv_lora + shape.rope_dim,
            "attention.value_length": shape.kv_lora,
            "attention.key_length_mla": shape.head_dim_k_mla,
            "attention.value_length_mla": shape.head_dim_v_mla,
        }
    return keys


def _expert_keys(shape: Shape) -> dict[str, Value]:
    if not shape.n_expert:
        return {}
    return {
        "expert_count": shape.n_expert,
        "expert_used_count": shape.n_expert_used,
        "expert_feed_forward_length": shape.n_ff_expert,
        "expert_shared_feed_forward_length": shape.n_ff_shared,
        "expert_shared_count": shape.n_ff_shared // shape.n_ff_expert,
        "leading_dense_block_count": shape.n_dense_lead,
        "interleave_moe_layer_step": shape.moe_every,
    }


def _head_count_kv(shape: Shape) -> int | NumberArray:
    if not shape.attention_layers:
        return shape.n_head_kv
    return number_array([shape.n_head_kv * shape.is_attention(il) for il in range(shape.n_layers)])


def _value(value: KeyValue) -> Value:
    return number_array(value) if isinstance(value, list) else value
