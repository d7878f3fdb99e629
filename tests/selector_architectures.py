"""Six-layer models of architectures that the catalog doesn't have: their tensors and keys, no data.

Shapes are what src/models/*.cpp creates; widths are of a small model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gguf_files import Tensor, gguf_bytes

from edgellm.models.gguf.header import GGUFHeader, parse_header
from edgellm.models.quants import BY_NAME, tensor_bytes

N_LAYERS, N_EMBD, N_HEAD, N_KV, HEAD_DIM, N_VOCAB = 6, 2048, 16, 4, 128, 64_000
N_FF, N_EXPERT, N_FF_EXPERT, N_INNER, N_STATE, N_HEAD_SSM = 6144, 32, 512, 4096, 128, 64
Q8_0 = BY_NAME["q8_0"].id
Block = Callable[[int], list[Tensor]]

EXPERTS = {
    "expert_count": N_EXPERT, "expert_used_count": 4, "expert_feed_forward_length": N_FF_EXPERT,
}  # fmt: skip
STATES = {
    "ssm.conv_kernel": 4, "ssm.inner_size": N_INNER, "ssm.state_size": N_STATE,
    "ssm.time_step_rank": N_HEAD_SSM, "ssm.group_count": 1,
}  # fmt: skip
ATTENDS = (False, False, True, False, False, True)
FEEDS = (False, True, False, False, True, False)


@dataclass(frozen=True)
class Sketch:
    architecture: str
    block: Block
    keys: dict[str, object] = field(default_factory=dict)
    outside: Sequence[Tensor] = ()
    tied: bool = False
    has_norm: bool = True

    @property
    def header(self) -> GGUFHeader:
        tensors = [matrix("token_embd", N_EMBD, N_VOCAB), *self.outside]
        tensors += norm("output_norm") if self.has_norm else []
        tensors += [] if self.tied else [matrix("output", N_EMBD, N_VOCAB)]
        for il in range(N_LAYERS):
            tensors += [replace(t, name=f"blk.{il}.{t.name}") for t in self.block(il)]
        data = gguf_bytes(self._all_keys(), placed(tensors), data=False)
        parsed = parse_header(data, 1 << 40)
        assert isinstance(parsed, GGUFHeader)
        return parsed

    def _all_keys(self) -> dict[str, object]:
        keys = {
            "block_count": N_LAYERS, "context_length": 131_072, "embedding_length": N_EMBD,
            "feed_forward_length": N_FF, "attention.head_count": N_HEAD,
            "attention.head_count_kv": N_KV, "attention.key_length": HEAD_DIM,
            "attention.value_length": HEAD_DIM, "attention.layer_norm_rms_epsilon": 1e-5,
            "attention.layer_norm_epsilon": 1e-5, "vocab_size": N_VOCAB,
        } | self.keys  # fmt: skip
        named = {f"{self.architecture}.{key}": value for key, value in keys.items()}
        general = {"general.architecture": self.architecture, "tokenizer.ggml.model": "no_vocab"}
        if "bert" in self.architecture:
            general["tokenizer.ggml.token_type_count"] = 2
        return general | named


def placed(tensors: Sequence[Tensor]) -> list[Tensor]:
    offset, result = 0, []
    for tensor in tensors:
        result.append(replace(tensor, offset=offset))
        n_bytes = tensor_bytes(tensor.type_id, tensor.shape)
        offset += n_bytes + -n_bytes % 32
    return result


# ---- parts of a block


def matrix(name: str, *shape: int) -> Tensor:
    return Tensor(f"{name}.weight", shape, Q8_0)


def vector(name: str, width: int = N_EMBD) -> Tensor:
    return Tensor(name, (width,))


def norm(name: str, width: int = N_EMBD, *, bias: bool = False) -> list[Tensor]:
    return [vector(f"{name}.weight", width), *([vector(f"{name}.bias", width)] if bias else [])]


def linear(name: str, n_in: int, n_out: int, *, bias: bool = False) -> list[Tensor]:
    return [matrix(name, n_in, n_out), *([vector(f"{name}.bias", n_out)] if bias else [])]


def norms(*, bias: bool = False, ffn: str = "ffn_norm") -> list[Tensor]:
    return norm("attn_norm", bias=bias) + norm(ffn, bias=bias)


def post_norms() -> list[Tensor]:
    return norm("post_attention_norm") + norm("post_ffw_norm")


def attention(
    *, bias: bool = False, all_biased: bool = False, n_kv: int = N_KV, head_dim: int = HEAD_DIM,
    has_v: bool = True,
) -> list[Tensor]:  # fmt: skip
    n_q, bias = N_HEAD * head_dim, bias or all_biased
    parts = linear("attn_q", N_EMBD, n_q, bias=bias)
    for part in "kv" if has_v else "k":
        parts += linear(f"attn_{part}", N_EMBD, n_kv * head_dim, bias=bias)
    return parts + linear("attn_output", n_q, N_EMBD, bias=all_biased)


def fused() -> list[Tensor]:
    n_q = N_HEAD * HEAD_DIM
    return [
        matrix("attn_qkv", N_EMBD, n_q + 2 * N_KV * HEAD_DIM),
        *linear("attn_output", n_q, N_EMBD),
    ]


def qk_norms(*, whole: bool = False, n_kv: int = N_KV, head_dim: int = HEAD_DIM) -> list[Tensor]:
    n_q, n_k = (N_HEAD, n_kv) if whole else (1, 1)
    return norm("attn_q_norm", n_q * head_dim) + norm("attn_k_norm", n_k * head_dim)


def gated(n_ff: int = N_FF, suffix: str = "") -> list[Tensor]:
    return linear(f"ffn_gate{suffix}", N_EMBD, n_ff) + plain(n_ff, suffix)


def plain(n_ff: int = N_FF, suffix: str = "", *, bias: bool = False) -> list[Tensor]:
    up = linear(f"ffn_up{suffix}", N_EMBD, n_ff, bias=bias)
    return up + linear(f"ffn_down{suffix}", n_ff, N_EMBD, bias=bias)


def experts(
    *, gate: bool = True, bias: bool = False, n_in: int = N_EMBD, n_ff: int = N_FF_EXPERT
) -> list[Tensor]:
    parts = [Tensor("ffn_gate_inp.weight", (N_EMBD, N_EXPERT))]
    parts += [matrix("ffn_gate_exps", n_in, n_ff, N_EXPERT)] if gate else []
    parts += [matrix("ffn_up_exps", n_in, n_ff, N_EXPERT)]
    parts += [matrix("ffn_down_exps", n_ff, n_in, N_EXPERT)]
    return parts + ([vector("exp_probs_b.bias", N_EXPERT)] if bias else [])


def shared(*, gate: bool = True) -> list[Tensor]:
    return gated(1024, "_shexp") if gate else plain(1024, "_shexp")


def states() -> list[Tensor]:
    """Mamba 2."""
    mixed = N_INNER + 2 * N_STATE
    return [
        matrix("ssm_in", N_EMBD, N_INNER + mixed + N_HEAD_SSM),
        Tensor("ssm_conv1d.weight", (4, mixed)),
        vector("ssm_conv1d.bias", mixed),
        vector("ssm_dt.bias", N_HEAD_SSM),
        Tensor("ssm_a", (1, N_HEAD_SSM)),
        Tensor("ssm_d", (1, N_HEAD_SSM)),
        Tensor("ssm_norm.weight", (N_INNER, 1)),
        matrix("ssm_out", N_INNER, N_EMBD),
    ]


def gemma4(il: int) -> list[Tensor]:
    """Full layers have wider heads, and fewer; their values are their keys."""
    dim, n_kv = (512, 2) if ATTENDS[il] else (256, 8)
    attends = attention(n_kv=n_kv, head_dim=dim, has_v=not ATTENDS[il]) + qk_norms(head_dim=dim)
    return norms() + post_norms() + attends + gated() + [vector("layer_output_scale.weight", 1)]


def gemma4_experts(il: int) -> list[Tensor]:
    mixture = [part for part in experts(gate=False) if "_up_" not in part.name]
    mixture += [matrix("ffn_gate_up_exps", N_EMBD, 2 * N_FF_EXPERT, N_EXPERT)]
    beside = norm("post_ffw_norm_1") + norm("post_ffw_norm_2") + norm("pre_ffw_norm_2")
    return gemma4(il) + mixture + beside + [vector("ffn_gate_inp.scale")]


def granite_hybrid(il: int) -> list[Tensor]:
    return norms() + (attention() if ATTENDS[il] else states()) + gated()


def nemotron(il: int, feed: list[Tensor]) -> list[Tensor]:
    mixed = attention() if ATTENDS[il] else states()
    return norm("attn_norm") + (feed if FEEDS[il] else mixed)


def encoder_norms() -> list[Tensor]:
    return norm("attn_output_norm", bias=True) + norm("layer_output_norm", bias=True)


def latent_experts() -> list[Tensor]:
    ways = [matrix("ffn_latent_down", N_EMBD, 1024), matrix("ffn_latent_up", 1024, N_EMBD)]
    return ways + experts(gate=False, bias=True, n_in=1024) + shared(gate=False)


# ---- the models

_SCALED = {"logit_scale": 8.0, "residual_scale": 0.2, "embedding_scale": 12.0}
_HYBRID = STATES | {"attention.head_count_kv": [N_KV if it else 0 for it in ATTENDS]}
_NEMOTRON = _HYBRID | {"feed_forward_length": [N_FF if it else 0 for it in FEEDS]}
_NEMOTRON_EXPERTS = _NEMOTRON | EXPERTS | {
    "feed_forward_length": [N_FF_EXPERT if it else 0 for it in FEEDS], "expert_weights_norm": True,
    "expert_shared_feed_forward_length": 1024, "expert_shared_count": 1,
    "expert_weights_scale": 2.5,
}  # fmt: skip
_SIGMOID = EXPERTS | {
    "expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": 2.5,
    "expert_shared_count": 1, "expert_shared_feed_forward_length": 1024,
}  # fmt: skip
_GEMMA4: dict[str, object] = {
    "attention.sliding_window": 1024,
    "attention.sliding_window_pattern": [not it for it in ATTENDS],
    "attention.head_count_kv": [2 if it else 8 for it in ATTENDS], "attention.key_length": 512,
    "attention.value_length": 512, "attention.key_length_swa": 256,
    "attention.value_length_swa": 256, "embedding_length_per_layer_input": 0,
    "final_logit_softcapping": 30.0,
}  # fmt: skip
_ROPE = [vector("rope_freqs.weight", 256)]
_ENCODER: dict[str, object] = {"attention.causal": False, "pooling_type": 1}
_TYPES = [*norm("token_embd_norm", bias=True), Tensor("token_types.weight", (N_EMBD, 2))]
_PARALLEL = {"logit_scale": 0.06}

SKETCHES = {
    "arcee": Sketch("arcee", lambda _: norms() + attention() + plain()),
    "bailingmoe2": Sketch(
        "bailingmoe2",
        lambda _: norms() + fused() + qk_norms() + experts(bias=True) + shared(),
        _SIGMOID | {"leading_dense_block_count": 0, "rope.dimension_count": 64},
    ),
    "cohere2": Sketch(
        "cohere2", lambda _: norm("attn_norm") + attention() + gated(),
        _PARALLEL | {"attention.sliding_window": 4096}, tied=True,
    ),
    "command-r": Sketch(
        "command-r", lambda _: norm("attn_norm") + attention() + gated(), _PARALLEL, tied=True
    ),
    "exaone4": Sketch("exaone4", lambda _: post_norms() + attention() + qk_norms() + gated()),
    "gemma": Sketch("gemma", lambda _: norms() + attention() + gated(), tied=True),
    "gemma-embedding": Sketch(
        "gemma-embedding",
        lambda _: norms() + post_norms() + attention() + qk_norms() + gated(),
        _ENCODER | {"attention.sliding_window": 512}, tied=True,
    ),
    "gemma4": Sketch("gemma4", gemma4, _GEMMA4, _ROPE),
    "gemma4 with experts": Sketch("gemma4", gemma4_experts, _GEMMA4 | EXPERTS, _ROPE),
    "granite": Sketch("granite", lambda _: norms() + attention() + gated(), _SCALED),
    "granitehybrid": Sketch("granitehybrid", granite_hybrid, _HYBRID | _SCALED),
    "jina-bert-v2": Sketch(
        "jina-bert-v2",
        lambda _: attention(all_biased=True)
        + encoder_norms()
        + gated()
        + [vector("ffn_down.bias")],
        _ENCODER, _TYPES,
        tied=True, has_norm=False,
    ),
    "minimax-m2": Sketch(
        "minimax-m2",
        lambda _: norms() + attention() + qk_norms(whole=True) + experts(bias=True),
        EXPERTS | {"expert_gating_func": 2, "feed_forward_length": N_FF_EXPERT},
    ),
    "mistral3": Sketch("mistral3", lambda _: norms() + attention() + gated()),
    "nemotron": Sketch("nemotron", lambda _: norms(bias=True) + attention() + plain(),
                       outside=[vector("output_norm.bias")]),
    "nemotron_h": Sketch("nemotron_h", lambda il: nemotron(il, plain()), _NEMOTRON),
    "nemotron_h_moe": Sketch(
        "nemotron_h_moe",
        lambda il: nemotron(il, experts(gate=False, bias=True) + shared(gate=False)),
        _NEMOTRON_EXPERTS,
    ),
    "nemotron_h_moe, latent": Sketch(
        "nemotron_h_moe", lambda il: nemotron(il, latent_experts()),
        _NEMOTRON_EXPERTS | {"moe_latent_size": 1024},
    ),
    "nomic-bert": Sketch(
        "nomic-bert", lambda _: attention() + encoder_norms() + gated(), _ENCODER, _TYPES,
        tied=True, has_norm=False,
    ),
    "olmo2": Sketch(
        "olmo2", lambda _: post_norms() + attention() + qk_norms(whole=True) + gated(),
        {"attention.sliding_window": 4096,
         "attention.sliding_window_pattern": [not it for it in ATTENDS]},
    ),
    "qwen2moe": Sketch(
        "qwen2moe",
        lambda _: norms() + attention(bias=True) + experts() + shared()
        + [vector("ffn_gate_inp_shexp.weight")],
        EXPERTS | {"expert_shared_feed_forward_length": 1024},
    ),
    "qwen2vl": Sketch(
        "qwen2vl", lambda _: norms() + attention(bias=True) + gated(),
        {"rope.dimension_sections": [16, 24, 24, 0]},
    ),
    "qwen3vl": Sketch(
        "qwen3vl", lambda _: norms() + attention() + qk_norms() + gated(),
        {"rope.dimension_sections": [24, 20, 20, 0], "n_deepstack_layers": 3},
    ),
    "seed_oss": Sketch(
        "seed_oss",
        lambda _: norms(ffn="post_attention_norm") + attention(bias=True) + gated(),
    ),
    "starcoder2": Sketch(
        "starcoder2",
        lambda _: norms(bias=True) + attention(all_biased=True) + plain(bias=True),
        outside=[vector("output_norm.bias")],
    ),
}  # fmt: skip
