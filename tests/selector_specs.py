"""Specs of real models, from their published shapes, as llama-quantize would make their files.

`dense` makes any other shape. Bits a weight are those of a whole Llama-3-8B file, for tests that
speak of sizes; every spec has its true tensors.
"""

from dataclasses import replace
from functools import cache

from edgellm.models.known.shape import Shape
from edgellm.models.known.shapes import shape_header
from edgellm.models.spec import LayerSpec, ModelSpec, model_spec
from edgellm.selector.plan import Candidate
from edgellm.units import GIB

BITS = {
    "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_K_M": 5.7, "Q4_K_M": 4.89, "Q3_K_M": 4.0,
    "Q2_K": 3.17,
}  # fmt: skip


@cache
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
    shape = Shape(
        "llama", n_layers, n_embd, n_ff, n_head, n_head_kv, head_dim, n_vocab, n_ctx_train,
        tied_embeddings=tied,
    )  # fmt: skip
    return _spec(shape, name, quant)


@cache
def moe(name: str = "qwen3-30b-a3b", *, quant: str = "Q4_K_M") -> ModelSpec:
    """Qwen3-30B-A3B: 48 layers, 128 experts of 768, 8 used."""
    shape = Shape(
        "qwen3moe", 48, 2048, 6144, 32, 4, 128, 151936, 40960, n_expert=128, n_expert_used=8,
        n_ff_expert=768,
    )  # fmt: skip
    return _spec(shape, name, quant)


@cache
def gemma3_27b(quant: str = "Q4_K_M") -> ModelSpec:
    """62 layers, every sixth with full attention, the others with a window of 1024."""
    shape = Shape(
        "gemma3", 62, 5376, 21504, 32, 16, 128, 262144, 131072, tied_embeddings=True, n_swa=1024
    )
    return _spec(shape, "gemma-3-27b", quant)


@cache
def deepseek_v3(quant: str = "Q4_K_M") -> ModelSpec:
    """61 latent layers of 576, the first three without experts."""
    shape = Shape(
        "deepseek2", 61, 7168, 18432, 128, 128, 192, 129280, 163840, n_expert=256,
        n_expert_used=8, n_ff_expert=2048, n_ff_shared=2048, n_dense_lead=3, q_lora=1536,
        kv_lora=512, rope_dim=64, head_dim_k_mla=192, head_dim_v_mla=128,
    )  # fmt: skip
    return _spec(shape, "deepseek-v3", quant)


@cache
def lfm2_350m(quant: str = "Q4_K_M") -> ModelSpec:
    """Sixteen layers, six with attention, the others with a short convolution's state."""
    shape = Shape(
        "lfm2", 16, 1024, 4608, 16, 8, 64, 65536, 128000, tied_embeddings=True, n_conv=3,
        attention_layers=(2, 5, 8, 10, 12, 14),
    )  # fmt: skip
    return _spec(shape, "lfm2-350m", quant)


@cache
def bert() -> ModelSpec:
    """all-MiniLM-L6-v2: an encoder without a cache."""
    return _spec(Shape("bert", 6, 384, 1536, 12, 12, 32, 30522, 512, pooling="mean"),
                 "all-minilm", "Q8_0")  # fmt: skip


def llama_70b(quant: str = "Q4_K_M") -> ModelSpec:
    return dense("llama-3.3-70b", n_layers=80, n_embd=8192, n_ff=28672, n_head=64, quant=quant)


def llama2_13b(quant: str = "Q4_K_M") -> ModelSpec:
    return dense(
        "llama-2-13b", n_layers=40, n_embd=5120, n_ff=13824, n_head=40, n_head_kv=40,
        n_vocab=32000, n_ctx_train=4096, quant=quant,
    )  # fmt: skip


def headed(architecture: str = "glm4moe", n_heads: int = 1, draft_bytes: int = GIB) -> ModelSpec:
    """A model with heads for guesses (MTP)."""
    spec = llama_70b(quant="Q4_K_M")
    head = LayerSpec(weight_bytes=0, kv_kind="none", n_head_kv=0, head_dim_k=0, head_dim_v=0)
    return replace(
        spec,
        name="headed",
        architecture=architecture,
        layers=(*spec.layers, *[head] * n_heads),
        n_draft_layers=n_heads,
        draft_bytes=draft_bytes,
    )


def candidate(spec: ModelSpec) -> Candidate:
    return Candidate(spec.name, f"{spec.name}-{spec.quant}.gguf", spec.quant, spec, spec.file_bytes)


def ladder(make=dense, quants=tuple(BITS)) -> list[Candidate]:
    """One candidate for each quantization of a model."""
    return [candidate(make(quant=quant)) for quant in quants]


def _spec(shape: Shape, name: str, quant: str) -> ModelSpec:
    return model_spec([shape_header(shape, quant)], name, quant)
