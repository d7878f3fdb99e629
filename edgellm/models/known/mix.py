"""Which type each tensor gets in a quantization mix, as llama-quantize chooses without an imatrix.

Source: src/llama-quant.cpp `llama_tensor_get_type_impl`, `tensor_allows_quantization`,
`tensor_type_fallback`. Publishers who quantize with an importance matrix or raise single tensors
("UD-", "_L", "_XL") differ by a few per cent; only the file's own header knows.
"""

from collections.abc import Sequence
from math import prod
from typing import Final

from edgellm.errors import BadRequest
from edgellm.models.quants import BY_NAME
from edgellm.values import frozen

# label -> the type of most tensors
_BASE: Final = {
    "F32": "f32", "F16": "f16", "BF16": "bf16", "Q8_0": "q8_0", "Q6_K": "q6_k", "Q5_K_M": "q5_k",
    "Q5_K_S": "q5_k", "Q5_0": "q5_0", "Q4_K_M": "q4_k", "Q4_K_S": "q4_k", "Q4_0": "q4_0",
    "IQ4_XS": "iq4_xs", "Q3_K_L": "q3_k", "Q3_K_M": "q3_k", "Q2_K": "q2_k", "MXFP4_MOE": "mxfp4",
}  # fmt: skip
MIXES: Final = tuple(_BASE)

_FALLBACK: Final = {
    "q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0",
    "iq4_xs": "iq4_nl",
}  # fmt: skip
_NEVER: Final = (
    "_norm.weight", "ffn_gate_inp.weight", "position_embd.weight", "token_types.weight",
    "ssm_conv1d", "shortconv.conv.weight",
)  # fmt: skip
_WHOLE: Final = ("F32", "F16", "BF16")
_ATTENTION_OUTPUT: Final = {"Q2_K": "q3_k", "Q3_K_M": "q4_k", "Q3_K_L": "q5_k"}


@frozen
class NamedShape:
    """A tensor before its type is known; fastest-moving dimension first."""

    name: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        return prod(self.shape)


@frozen
class MixFacts:
    """What of the model the rules look at."""

    n_layers: int
    n_gqa: int  # query heads for each KV head
    n_expert: int = 0
    is_llama_70b: bool = False


def mix_types(label: str, tensors: Sequence[NamedShape], facts: MixFacts) -> list[str]:
    """A type name for each tensor, in order. Raises BadRequest for a mix that has no rule here."""
    if label not in _BASE:
        raise BadRequest(
            f"the size of {label} can't be computed without its file",
            hint=f"computable are {', '.join(MIXES)}",
        )
    return _Mix(label, tensors, facts).types()


class _Mix:
    """The counters run over the tensors in file order, as llama-quantize's do."""

    def __init__(self, label: str, tensors: Sequence[NamedShape], facts: MixFacts) -> None:
        self.label, self.tensors, self.facts = label, tensors, facts
        names = [tensor.name for tensor in tensors]
        self.tied = "output.weight" not in names
        self.n_values = sum(_is_value(name) for name in names)
        self.n_downs = len(
            {n.split(".")[1] for n in names if "ffn_down" in n and n.endswith("weight")}
        )
        self.i_value = self.i_down = 0

    def types(self) -> list[str]:
        return [self._type(tensor) for tensor in self.tensors]

    def _type(self, tensor: NamedShape) -> str:
        name = tensor.name
        small = len(tensor.shape) < 2 or not name.endswith("weight")
        if small or any(part in name for part in _NEVER):
            return "f32"
        if self.label in _WHOLE:
            return _BASE[self.label]
        chosen = self._chosen(tensor)
        if tensor.shape[0] % BY_NAME[chosen].block:
            chosen = _FALLBACK.get(chosen, "f16")
        return chosen if tensor.shape[0] % BY_NAME[chosen].block == 0 else "f16"

    def _chosen(self, tensor: NamedShape) -> str:
        name, base = tensor.name, _BASE[self.label]
        if name == "output.weight" or (self.tied and name == "token_embd.weight"):
            whole_blocks = tensor.shape[0] % BY_NAME[base].block == 0
            return "q6_k" if whole_blocks and base not in ("q8_0", "mxfp4") else "q8_0"
        if self.label == "MXFP4_MOE":
            return "mxfp4" if len(tensor.shape) == 3 else "q8_0"
        if name == "token_embd.weight":
            return base
        if _is_value(name):
            self.i_value += 1
            return self._value(self.i_value - 1)
        if name.endswith("attn_k.weight"):
            return "q8_0" if self.facts.n_expert == 8 else base
        if "ffn_down" in name:
            self.i_down += 1
            by_layer = int(name.split(".")[1]), self.facts.n_layers
            return self._down(
                *(by_layer if self.facts.n_expert else (self.i_down - 1, self.n_downs))
            )
        if name.endswith("attn_output.weight"):
            return self._attention_output()
        return base

    def _value(self, i: int) -> str:
        chosen = _BASE[self.label]
        match self.label:
            case "Q2_K":
                chosen = "q4_k" if self.facts.n_gqa >= 4 else "q3_k"
            case "Q3_K_M":
                chosen = "q5_k" if i < 2 else "q4_k"
            case "Q3_K_L":
                chosen = "q5_k"
            case "IQ4_XS" if self.facts.n_gqa >= 4:
                chosen = "q5_k"
            case "Q4_K_M" | "Q5_K_M" if _more_bits(i, self.n_values):
                chosen = "q6_k"
            case "Q4_K_S" if i < 4:
                chosen = "q5_k"
        if self.facts.is_llama_70b and chosen in ("q3_k", "q4_k"):
            chosen = "q5_k"
        return "q8_0" if self.facts.n_expert == 8 else chosen

    def _down(self, i: int, n: int) -> str:
        match self.label:
            case "Q2_K":
                return "q3_k"
            case "Q3_K_M":
                return "q5_k" if i < n // 16 else "q4_k"
            case "Q3_K_L":
                return "q5_k"
            case "Q4_K_M" | "Q5_K_M" if _more_bits(i, n):
                return "q6_k"
            case "Q4_K_S" | "IQ4_XS" if i < n // 8:
                return "q5_k"
        return _BASE[self.label]

    def _attention_output(self) -> str:
        if self.facts.n_expert == 8 and self.label in (
            "Q2_K",
            "Q3_K_M",
            "Q4_K_S",
            "Q4_K_M",
            "IQ4_XS",
        ):
            return "q5_k"
        if self.facts.n_expert == 8:
            return _BASE[self.label]
        return _ATTENTION_OUTPUT.get(self.label, _BASE[self.label])


def _is_value(name: str) -> bool:
    return name.endswith(("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"))


def _more_bits(i: int, n: int) -> bool:
    """The first and last eighth, and every third layer between."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2
