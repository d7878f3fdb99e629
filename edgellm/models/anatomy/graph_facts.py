"""What decides how large a model's compute graph is: the shapes of its tensors, and a few numbers.

Sources: llama.cpp src/llama-model.cpp load_hparams, src/models/*.cpp load_arch_hparams.
"""

from functools import cache
from typing import Final

from edgellm.models.gguf.header import GGUFHeader
from edgellm.values import frozen


@frozen
class LayerTensor:
    """One tensor of a block, or of the model outside its blocks, as llama.cpp creates it."""

    name: str  # "attn_q.weight": without its block
    shape: tuple[int, ...]
    n_bytes: int

    @property
    def expert_matrix(self) -> str | None:
        """Which of its experts' matrices it is, or belongs to; None of any other tensor."""
        return _expert_matrix(self.name)

    @property
    def is_experts(self) -> bool:
        """What `--n-cpu-moe` keeps on the host. Source: common/common.h LLM_FFN_EXPS_REGEX."""
        return self.expert_matrix is not None


EXPERT_MATRICES: Final = ("up", "gate", "gate_up", "down")  # in the order a token passes them
_EXPERTS: Final = {
    f"ffn_{part}_{kind}exps": part for part in EXPERT_MATRICES for kind in ("", "ch")
}


@cache  # a ranking asks half a million times, and there are some hundred names
def _expert_matrix(name: str) -> str | None:
    return _EXPERTS.get(name.partition(".")[0])


@frozen
class GraphFacts:
    """Hyperparameters, those aside that the shapes of the tensors tell. None: the file doesn't
    say, and the architecture has its own default."""

    n_expert_groups: int = 0
    n_expert_groups_used: int = 0
    expert_gating: int | None = None  # enum llama_expert_gating_func_type
    expert_weights_norm: bool = False
    expert_weights_scaled: bool = False
    embedding_scaled: bool = False
    logits_capped: bool = False
    attention_capped: bool = False
    ssm_inner: int = 0
    ssm_state: int = 0
    ssm_groups: int = 0
    ssm_heads: int = 0
    ssm_conv: int = 0
    wkv_head_dim: int = 0
    n_token_shift: int = 2
    n_conv: int = 0  # of a short convolution (LFM2)
    n_deepstack: int = 0  # first layers that get features of a picture added


def graph_facts(header: GGUFHeader) -> GraphFacts:
    """Raises BadGGUF for a key of the wrong type."""
    arch = header.architecture

    def integer(name: str) -> int | None:
        return header.integer(f"{arch}.{name}")

    def is_set(name: str) -> bool:
        value = header.metadata.get(f"{arch}.{name}")
        return isinstance(value, int | float) and value not in (0, 1)

    return GraphFacts(
        n_expert_groups=integer("expert_group_count") or 0,
        n_expert_groups_used=integer("expert_group_used_count") or 0,
        expert_gating=integer("expert_gating_func"),
        expert_weights_norm=header.flag(f"{arch}.expert_weights_norm") is True,
        expert_weights_scaled=is_set("expert_weights_scale"),
        embedding_scaled=is_set("embedding_scale"),
        logits_capped=is_set("final_logit_softcapping"),
        attention_capped=is_set("attn_logit_softcapping"),
        ssm_inner=integer("ssm.inner_size") or 0,
        ssm_state=integer("ssm.state_size") or 0,
        ssm_groups=integer("ssm.group_count") or 0,
        ssm_heads=integer("ssm.time_step_rank") or 0,
        ssm_conv=integer("ssm.conv_kernel") or 0,
        wkv_head_dim=integer("wkv.head_size") or 0,
        n_token_shift=integer("token_shift_count") or 2,
        n_conv=integer("shortconv.l_cache") or 0,
        n_deepstack=integer("n_deepstack_layers") or 0,
    )
