"""GGML's tensor types. Sources: ggml/include/ggml.h `enum ggml_type`, ggml-common.h `block_*`.

One table: id, name, weights in a block, bytes of a block. A type that isn't here is refused by
name, never guessed.
"""

from edgellm.errors import BadGGUF
from edgellm.values import frozen


@frozen
class QuantType:
    id: int
    name: str
    block: int  # weights in a block
    block_bytes: int

    @property
    def bytes_per_weight(self) -> float:
        return self.block_bytes / self.block


_TABLE = (
    (0, "f32", 1, 4), (1, "f16", 1, 2), (30, "bf16", 1, 2), (28, "f64", 1, 8),
    (24, "i8", 1, 1), (25, "i16", 1, 2), (26, "i32", 1, 4), (27, "i64", 1, 8),
    (2, "q4_0", 32, 18), (3, "q4_1", 32, 20), (6, "q5_0", 32, 22), (7, "q5_1", 32, 24),
    (8, "q8_0", 32, 34), (9, "q8_1", 32, 36),
    (10, "q2_k", 256, 84), (11, "q3_k", 256, 110), (12, "q4_k", 256, 144),
    (13, "q5_k", 256, 176), (14, "q6_k", 256, 210), (15, "q8_k", 256, 292),
    (16, "iq2_xxs", 256, 66), (17, "iq2_xs", 256, 74), (18, "iq3_xxs", 256, 98),
    (19, "iq1_s", 256, 50), (20, "iq4_nl", 32, 18), (21, "iq3_s", 256, 110),
    (22, "iq2_s", 256, 82), (23, "iq4_xs", 256, 136), (29, "iq1_m", 256, 56),
    (34, "tq1_0", 256, 54), (35, "tq2_0", 256, 66), (39, "mxfp4", 32, 17), (40, "nvfp4", 64, 36),
    (41, "q1_0", 128, 18), (42, "q2_0", 64, 18),
)  # fmt: skip

_REMOVED = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip

BY_ID = {row[0]: QuantType(*row) for row in _TABLE}
BY_NAME = {quant.name: quant for quant in BY_ID.values()}

# `general.file_type`, the label of a mix. Source: include/llama.h `enum llama_ftype`.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip

F32, F16, Q8_0, Q4_0 = (BY_NAME[name] for name in ("f32", "f16", "q8_0", "q4_0"))


def tensor_bytes(type_id: int, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor as stored: rows × blocks in a row. Raises BadGGUF.

    Source: ggml/src/ggml.c `ggml_row_size`, `ggml_nbytes`.
    """
    quant = BY_ID.get(type_id)
    if quant is None:
        raise BadGGUF(f"tensor type {type_id} {_why_unknown(type_id)}")
    row, rest = (shape[0], shape[1:]) if shape else (1, ())
    if row % quant.block:
        raise BadGGUF(
            f"a row of {row} weights can't be cut into {quant.name} blocks of {quant.block}"
        )
    n_bytes = row // quant.block * quant.block_bytes
    for dim in rest:
        n_bytes *= dim
    return n_bytes


def _why_unknown(type_id: int) -> str:
    if type_id in _REMOVED:
        return f"is {_REMOVED[type_id]}, which llama.cpp dropped: take Q4_0, it is repacked at load"
    return "is not one that llama.cpp knows; forks such as ik_llama.cpp have more"
