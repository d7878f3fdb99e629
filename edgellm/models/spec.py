"""What the selector must know of a model, and nothing else."""

from dataclasses import dataclass
from typing import Literal

KVKind = Literal["full", "sliding", "latent", "recurrent", "none"]


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One repeating block. `weight_bytes` counts its experts too; `expert_bytes` is that part."""

    weight_bytes: int
    kv_kind: KVKind = "full"
    n_head_kv: int = 0
    head_dim_k: int = 0
    head_dim_v: int = 0
    expert_bytes: int = 0
    state_bytes: int = 0  # recurrent state of one sequence (F32)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    name: str
    architecture: str  # general.architecture: "llama", "qwen3", ...
    n_ctx_train: int
    n_embd: int
    n_ff: int
    n_head: int
    n_vocab: int
    layers: tuple[LayerSpec, ...]
    input_bytes: int  # token embedding: always on the host
    output_bytes: int  # output norm and head; a tied head is counted here again
    file_bytes: int
    n_params: int
    n_expert: int = 0
    n_expert_used: int = 0
    n_swa: int = 0  # the window of the sliding layers, tokens
    tied_embeddings: bool = False
    quant: str = "?"  # the label of the mix: "Q4_K_M"
    license: str | None = None
    pooling: str | None = None  # embedding models: "mean", "cls", "last", "rank", "none"
    causal: bool = True

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def is_embedding(self) -> bool:
        return self.pooling is not None or not self.causal

    @property
    def weight_bytes(self) -> int:
        return self.input_bytes + self.output_bytes + sum(x.weight_bytes for x in self.layers)
