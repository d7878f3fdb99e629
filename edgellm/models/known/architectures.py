"""How the blocks of the architectures in the catalog differ from LLaMA's: one row each.

Sources: llama.cpp src/models/*.cpp `load_arch_tensors` for what is loaded, conversion/*.py for what
a converter writes where llama.cpp takes either (split or fused, biased or not).
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Final, Literal

from edgellm.models.gguf.values import Value
from edgellm.values import frozen

Join = Literal["apart", "fused", "absent"]


@frozen
class Traits:
    """The defaults are LLaMA's: RMS norms, no bias, Q, K and V apart, a gated feed-forward."""

    qkv: Join = "apart"
    qkv_bias: bool = False
    out_bias: bool = False  # of the attention's output
    qk_norm: bool = False
    sinks: bool = False
    gate: Join = "apart"  # of the feed-forward; "fused": inside a doubled ffn_up
    ffn_bias: bool = False
    norm_bias: bool = False  # layer norms, not RMS
    norms: tuple[str, ...] = ("ffn_norm",)  # between attention and feed-forward, and behind
    router_bias: bool = False
    expert_bias: bool = False
    shared_gate: bool = False  # the shared expert is weighed, too
    output_bias: bool = False  # of the head
    final_norm: str = "output_norm"
    rope_tensors: tuple[str, ...] = ()  # where a model has factors
    keys: Mapping[str, Value] = field(default_factory=dict)  # that decide about the graph


_LLAMA: Final = Traits(rope_tensors=("rope_freqs",))
_QWEN3: Final = Traits(qk_norm=True)
_HYBRID: Final = Traits(qk_norm=True, norms=("post_attention_norm",), shared_gate=True)
_SANDWICH: Final = ("post_attention_norm", "ffn_norm", "post_ffw_norm")
_LFM2: Final = Traits(qk_norm=True, final_norm="token_embd_norm")

ARCHITECTURES: Final[Mapping[str, Traits]] = {
    "baichuan": Traits(),
    "bert": Traits(),  # blocks.py has its own
    "bloom": Traits(
        qkv="fused", qkv_bias=True, out_bias=True, gate="absent", ffn_bias=True, norm_bias=True
    ),
    "chatglm": Traits(qkv="fused", qkv_bias=True, gate="fused"),
    "deepseek2": Traits(router_bias=True),
    "ernie4_5": Traits(),
    "ernie4_5-moe": Traits(router_bias=True),
    "gemma2": Traits(
        norms=_SANDWICH,
        keys={"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3": Traits(qk_norm=True, norms=_SANDWICH),
    "glm-130b": Traits(
        qkv="fused", qkv_bias=True, out_bias=True, gate="fused", ffn_bias=True, norm_bias=True
    ),
    "glm4": Traits(gate="fused", norms=_SANDWICH),
    "glm4moe": Traits(qkv_bias=True, norms=("post_attention_norm",), router_bias=True),
    "gpt-oss": Traits(
        qkv_bias=True, out_bias=True, sinks=True, norms=("post_attention_norm",), expert_bias=True
    ),
    "hunyuan-dense": Traits(qk_norm=True),
    "hunyuan-moe": Traits(qk_norm=True),
    "internlm2": Traits(),
    "lfm2": _LFM2,
    "lfm2moe": Traits(qk_norm=True, final_norm="token_embd_norm", router_bias=True),
    "llama": _LLAMA,
    "llama4": _LLAMA,
    "mpt": Traits(qkv="fused", gate="absent", keys={"attention.max_alibi_bias": 8.0}),
    "phi2": Traits(
        qkv_bias=True, out_bias=True, gate="absent", ffn_bias=True, norm_bias=True, norms=(),
        output_bias=True, keys={"rope.dimension_count": 32},
    ),
    "phi3": Traits(
        qkv="fused", gate="fused", rope_tensors=("rope_factors_long", "rope_factors_short")
    ),
    "qwen2": Traits(qkv_bias=True),
    "qwen3": _QWEN3,
    "qwen35": _HYBRID,
    "qwen35moe": _HYBRID,
    "qwen3moe": _QWEN3,
    "qwen3next": _HYBRID,
    "smollm3": Traits(),
}  # fmt: skip
