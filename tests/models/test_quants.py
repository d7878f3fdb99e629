import ctypes

import pytest
from models_fakes import ggml_library

from edgellm.errors import BadGGUF
from edgellm.models.quants import BY_ID, BY_NAME, FILE_TYPES, tensor_bytes


@pytest.mark.model
def test_every_type_has_the_block_that_the_engine_has():
    ggml = ctypes.CDLL(str(ggml_library()))
    ggml.ggml_blck_size.restype = ctypes.c_int64
    ggml.ggml_type_size.restype = ctypes.c_size_t
    ggml.ggml_type_name.restype = ctypes.c_char_p
    known = {n for n in range(43) if ggml.ggml_blck_size(n) and ggml.ggml_type_size(n)}
    assert known == set(BY_ID)
    for number, quant in BY_ID.items():
        assert ggml.ggml_blck_size(number) == quant.block, quant.name
        assert ggml.ggml_type_size(number) == quant.block_bytes, quant.name
        assert ggml.ggml_type_name(number).decode().lower() == quant.name


def test_no_name_and_no_id_is_there_twice():
    assert len(BY_ID) == len(BY_NAME)
    assert len(set(FILE_TYPES.values())) == len(FILE_TYPES)


def test_a_q4_k_matrix_of_the_8b_size_takes_its_known_bytes():
    assert tensor_bytes(BY_NAME["q4_k"].id, (4096, 14336)) == 4096 * 14336 // 256 * 144


def test_a_row_that_no_block_divides_is_refused_with_both_numbers():
    with pytest.raises(BadGGUF, match=r"100 .* 32"):
        tensor_bytes(BY_NAME["q8_0"].id, (100, 2))


@pytest.mark.parametrize(
    ("type_id", "said"),
    [
        (31, "Q4_0_4_4"), (32, "Q4_0_4_8"), (33, "Q4_0_8_8"), (36, "IQ4_NL_4_4"), (38, "dropped"),
        (43, "ik_llama"), (139, "139"), (222, "forks"), (1 << 31, "not one"),
    ],
)  # fmt: skip
def test_a_type_that_llama_cpp_lacks_is_refused_by_number_and_reason(type_id: int, said: str):
    with pytest.raises(BadGGUF, match=said):
        tensor_bytes(type_id, (32,))
