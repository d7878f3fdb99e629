"""How many weights of a model are kept in which type, by what the tensors are for.

Quality goes by this and not by the label: two files called Q4_K_M differ by a factor of two in
what they lose, because their makers spent the bits on different tensors.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

from edgellm.models.gguf.header import TensorInfo
from edgellm.models.quants import BY_ID
from edgellm.values import frozen

TensorClass = Literal["attention", "ffn_down", "ffn", "embedding", "output", "other"]
EXPERT_CLASSES: Final[tuple[TensorClass, ...]] = ("ffn", "ffn_down")  # in a model that has experts

# Shared experts and the projections around a state-space layer are as sensitive as attention.
_CLASSES: Final[tuple[tuple[TensorClass, re.Pattern[str]], ...]] = (
    ("embedding", re.compile(r"^(?:token_embd|per_layer_token_embd|position_embd)\.")),
    ("output", re.compile(r"^output\.")),
    ("attention", re.compile(r"\.(?:attn_\w+|ssm_\w+|shortconv\.\w+|ffn_\w+_shexp)\.")),
    ("ffn_down", re.compile(r"\.ffn_down(?:_exps|\.\d+)?\.")),
    ("ffn", re.compile(r"\.ffn_(?:gate|up|gate_up)(?:_exps|\.\d+)?\.")),
)


@frozen
class TypeShare:
    """Matrices only: norms and biases are never quantized and weigh nothing."""

    tensor_class: TensorClass
    type: str  # "q4_k"
    n_weights: int


def type_shares(tensors: Iterable[TensorInfo]) -> tuple[TypeShare, ...]:
    """Largest first."""
    sums = Counter[tuple[TensorClass, str]]()
    for tensor in tensors:
        if len(tensor.shape) > 1:
            sums[_class_of(tensor.name), BY_ID[tensor.type_id].name] += tensor.n_elements
    return tuple(TypeShare(*key, n) for key, n in sums.most_common())


@lru_cache(maxsize=8192)  # the same names in every quantization of a model, and in the next model
def _class_of(name: str) -> TensorClass:
    return next((kind for kind, pattern in _CLASSES if pattern.search(name)), "other")
