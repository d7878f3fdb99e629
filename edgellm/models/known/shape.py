"""A model's published shape: the numbers of its config.json that decide about memory and speed."""

from typing import Literal

import msgspec

KeyValue = int | float | bool | str | list[int]


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of profiles/models/*.toml. Zero: the model has no such thing."""

    architecture: str  # llama.cpp's word for it; see architectures.py
    n_layers: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_vocab: int
    n_ctx_train: int
    tied_embeddings: bool = False
    rope_factors: int = 0  # numbers in each tensor of rope factors
    rope_dim: int = 0  # where only a part of each head is rotated
    n_swa: int = 0
    qkv_bias: bool | None = None  # None: as the architecture has it
    qk_norm: bool | None = None
    n_expert: int = 0
    n_expert_used: int = 0
    n_ff_expert: int = 0
    n_ff_shared: int = 0  # all shared experts together
    n_dense_lead: int = 0  # blocks at the start that have no experts
    moe_every: int = 1  # of the rest, each so many-th has
    pooling: Literal["none", "mean", "cls", "last", "rank"] | None = None
    attention_layers: tuple[int, ...] = ()  # lfm2: the others are short convolutions
    n_conv: int = 0  # lfm2: the convolution's length
    full_every: int = 0  # qwen3next, qwen35: the others keep a state instead of a cache
    n_ssm_conv: int = 0  # and this is it
    n_ssm_state: int = 0
    n_ssm_groups: int = 0
    n_ssm_heads: int = 0
    q_lora: int = 0  # latent attention, from here on
    kv_lora: int = 0
    head_dim_k_mla: int = 0
    head_dim_v_mla: int = 0
    keys: dict[str, KeyValue] = {}  # more that a converter writes; no architecture before them

    def is_attention(self, il: int) -> bool:
        if self.attention_layers:
            return il in self.attention_layers
        return not self.full_every or (il + 1) % self.full_every == 0

    def has_experts(self, il: int) -> bool:
        if not self.n_expert or il < self.n_dense_lead:
            return False
        return (il + 1) % self.moe_every == 0
