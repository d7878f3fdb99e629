"""Experts on the CPU, in llama.cpp's words: a pattern of tensor names and the buffer they go to.

As `--n-cpu-moe` (common/arg.cpp `llm_add_n_cpu_ffn_overrides`), but the layers are one pattern:
llama.cpp compiles each pattern again for each tensor (llama-model-loader.cpp `create_tensor`).
"""

import ctypes
from typing import Any

_EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"  # LLM_FFN_EXPS_REGEX, common/common.h


class Override(ctypes.Structure):
    """llama_model_tensor_buft_override, llama.h."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p))


def experts_pattern(n_layers: int) -> str:
    """The expert tensors of the first `n_layers` layers, and no other tensor of any model."""
    return rf"^blk\.({'|'.join(map(str, range(n_layers)))}){_EXPERTS}"


def experts_on_cpu(n_layers: int, cpu_buffer_type: int | None) -> Any:
    """A list that ends with an empty row. llama.cpp keeps pointers into it while it loads."""
    pattern = experts_pattern(n_layers).encode()
    return (Override * 2)(Override(pattern, cpu_buffer_type), Override(None, None))
