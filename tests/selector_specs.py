"""Specs of real models, written from their published shapes; sizes as llama.cpp quantizes them.

`dense` and `moe` make any other shape. Weight bytes come from one number of bits a weight, which
is all that the selector's arithmetic needs; tests/models holds the exact ones from real headers.
"""

from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.selector.plan import Candidate

BITS = {
    "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_K_M": 5.7, "Q4_K_M": 4.89, "Q3_K_M": 4.0,
    "Q2_K": 3.17,
}  # fmt: skip


def dense(
    name: str = "llama-3.1-8b",
    *,
    n_layers: int = 32,
    n_embd: int = 4096,
    n_ff: int = 14336,
    n_head: int = 32,
    n_head_kv: int = 8,
    head_dim: int = 128,
    n_vocab: int = 128256,
    n_ctx_train: int = 131072,
    quant: str = "Q4_K_M",
    tied: bool = False,
) -> ModelSpec:
    """A GQA transformer with gated feed-forward blocks."""
    per_layer = n_embd * head_dim * 2 * (n_head + n_head_kv) + 3 * n_embd * n_ff
    layer = LayerSpec(_bytes(per_layer, quant), "full", n_head_kv, head_dim, head_dim)
    return _spec(
        name, "llama", (layer,) * n_layers, per_layer, n_embd, n_ff, n_head, n_vocab,
        n_ctx_train, quant, tied,
    )  # fmt: skip


def moe(name: str = "qwen3-30b-a3b", *, quant: str = "Q4_K_M") -> ModelSpec:
    """Qwen3-30B-A3B: 48 layers, 128 experts of 768, 8 used."""
    experts, attention = 128 * 3 * 2048 * 768, 2048 * 128 * 2 * (32 + 4)
    layer = LayerSpec(
        _bytes(experts + attention, quant), "full", 4, 128, 128, _bytes(experts, quant)
    )
    spec = _spec(
        name, "qwen3moe", (layer,) * 48, experts + attention, 2048, 6144, 32, 151936, 40960,
        quant, False,
    )  # fmt: skip
    return _with(spec, n_expert=128, n_expert_used=8)


def gemma3_27b(quant: str = "Q4_K_M") -> ModelSpec:
    """62 layers, every sixth with full attention, the others with a window of 1024."""
    per_layer = 5376 * 128 * 2 * (32 + 16) + 3 * 5376 * 21504
    layers = tuple(
        LayerSpec(_bytes(per_layer, quant), "full" if i % 6 == 5 else "sliding", 16, 128, 128)
        for i in range(62)
    )
    spec = _spec(
        "gemma-3-27b", "gemma3", layers, per_layer, 5376, 21504, 32, 262144, 131072, quant, True
    )
    return _with(spec, n_swa=1024)


def deepseek_v3(quant: str = "Q4_K_M") -> ModelSpec:
    """61 latent layers of 576, the first three without experts."""
    attention = 7168 * 1536 + 1536 * 128 * 192 + 7168 * 576 + 128 * 512 * 256 + 128 * 128 * 7168
    experts, shared, plain = 256 * 3 * 7168 * 2048, 3 * 7168 * 2048, 3 * 7168 * 18432
    first = LayerSpec(_bytes(attention + plain, quant), "latent", 1, 576, 512)
    other = LayerSpec(
        _bytes(attention + shared + experts, quant), "latent", 1, 576, 512, _bytes(experts, quant)
    )
    spec = _spec(
        "deepseek-v3", "deepseek2", (first,) * 3 + (other,) * 58, attention + shared + experts,
        7168, 18432, 128, 129280, 163840, quant, False,
    )  # fmt: skip
    return _with(spec, n_expert=256, n_expert_used=8)


def lfm2_350m() -> ModelSpec:
    """Sixteen layers, six with attention, the others with a short convolution's state."""
    full = LayerSpec(8_000_000, "full", 8, 64, 64)
    conv = LayerSpec(8_000_000, "recurrent", state_bytes=2 * 1024 * 4)
    layers = tuple(full if i in (2, 5, 8, 10, 12, 14) else conv for i in range(16))
    return _spec(
        "lfm2-350m", "lfm2", layers, 17_000_000, 1024, 4608, 16, 65536, 128000, "Q4_K_M", True
    )


def bert() -> ModelSpec:
    """all-MiniLM-L6-v2: an encoder without a cache."""
    layer = LayerSpec(1_890_000, "none")
    spec = _spec(
        "all-minilm", "bert", (layer,) * 6, 1_775_000, 384, 1536, 12, 30522, 512, "Q8_0", True
    )
    return _with(spec, pooling="mean", causal=False)


def llama_70b(quant: str = "Q4_K_M") -> ModelSpec:
    return dense("llama-3.3-70b", n_layers=80, n_embd=8192, n_ff=28672, n_head=64, quant=quant)


def llama2_13b(quant: str = "Q4_K_M") -> ModelSpec:
    return dense(
        "llama-2-13b", n_layers=40, n_embd=5120, n_ff=13824, n_head=40, n_head_kv=40,
        n_vocab=32000, n_ctx_train=4096, quant=quant,
    )  # fmt: skip


def candidate(spec: ModelSpec) -> Candidate:
    return Candidate(spec.name, f"{spec.name}-{spec.quant}.gguf", spec.quant, spec, spec.file_bytes)


def ladder(make=dense, quants=tuple(BITS)) -> list[Candidate]:
    """One candidate for each quantization of a model."""
    return [candidate(make(quant=quant)) for quant in quants]


def _bytes(n_weights: int, quant: str) -> int:
    return int(n_weights * BITS[quant] / 8)


def _spec(
    name, architecture, layers, per_layer, n_embd, n_ff, n_head, n_vocab, n_ctx_train, quant, tied
) -> ModelSpec:
    head = _bytes(n_vocab * n_embd, quant)
    copies = 1 if tied else 2
    return ModelSpec(
        name=name,
        architecture=architecture,
        n_ctx_train=n_ctx_train,
        n_embd=n_embd,
        n_ff=n_ff,
        n_head=n_head,
        n_vocab=n_vocab,
        layers=layers,
        input_bytes=head,
        output_bytes=head + 4 * n_embd,
        file_bytes=sum(layer.weight_bytes for layer in layers) + copies * head + 4 * n_embd,
        n_params=per_layer * len(layers) + copies * n_vocab * n_embd,
        tied_embeddings=tied,
        quant=quant,
    )


def _with(spec: ModelSpec, **changes) -> ModelSpec:
    from dataclasses import replace

    return replace(spec, **changes)
