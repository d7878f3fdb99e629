"""Experts on the CPU, in llama.cpp's words: a pattern of tensor names and the buffer they go to.

As `--n-cpu-moe` (common/arg.cpp `llm_add_n_cpu_ffn_overrides`), but the layers are one pattern:
llama.cpp compiles each pattern again for each tensor (llama-model-loader.cpp `create_tensor`).
"""

import ctypes
from collections.abc import Sequence
from typing import Any

_MATRICES = ("up", "down", "gate", "gate_up")

Part = tuple[int, tuple[str, ...]]  # a layer and its experts' matrices: plan.ExpertPart


class Override(ctypes.Structure):
    """llama_model_tensor_buft_override, llama.h."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p))


def experts_patterns(n_layers: int, parts: Sequence[Part] = ()) -> list[str]:
    """The expert tensors of the first `n_layers` layers, then the given matrices of others; and no
    other tensor of any model."""
    layers = "|".join(map(str, range(n_layers)))
    patterns = [_pattern(layers, _MATRICES)] if n_layers else []
    return patterns + [_pattern(str(layer), matrices) for layer, matrices in parts]


def experts_on_cpu(n_layers: int, parts: Sequence[Part], cpu_buffer_type: int | None) -> Any:
    """A list that ends with an empty row. llama.cpp keeps pointers into it while it loads."""
    patterns = [pattern.encode() for pattern in experts_patterns(n_layers, parts)]
    rows = [Override(pattern, cpu_buffer_type) for pattern in patterns]
    return (Override * (len(rows) + 1))(*rows, Override(None, None))


def _pattern(layers: str, matrices: Sequence[str]) -> str:
    """As LLM_FFN_EXPS_REGEX, common/common.h."""
    return rf"^blk\.({layers})\.ffn_({'|'.join(matrices)})_(ch|)exps"
