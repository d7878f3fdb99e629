"""What the real llama.cpp writes with flash attention and without: each takes the other's."""

import os

import llama_cpp
import numpy as np
import pytest
from real_model import SHARED_MODELS, demo_path, needs_shared_models, plan

from edgellm.runner.batch import Row
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.llama.state import EVERYTHING, read_state, write_state
from edgellm.runner.llama.values import is_transposed, revalued

pytestmark = pytest.mark.model

N_STREAMS = 3
TEXT = tuple(20 + i * i % 70 for i in range(150))  # more than one block of cells
FILES = ["tiny-qwen3-q8_0.gguf", "tiny-qwen3moe-q8_0.gguf", "stories260K-moe4-q8_0.gguf"]
files = pytest.mark.parametrize(
    "path",
    [
        pytest.param(demo_path(), id="demo"),
        *(pytest.param(SHARED_MODELS / one, id=one, marks=needs_shared_models) for one in FILES),
    ],
)
layouts = pytest.mark.parametrize("is_pool", [True, False], ids=["pool", "streams"])


def backend(path, flash, is_pool=True, **changes):
    n_ids = N_STREAMS + is_pool
    shape = {"n_parallel": N_STREAMS, "n_ctx": 1024, "n_ctx_seq": 256, "n_outputs_max": 4}
    shape |= {"kv_unified": is_pool, "n_seq_max": n_ids, "flash_attention": flash}
    return LlamaBackend(os.fsencode(path), plan(**shape | changes), lambda ratio: None)


def state_of(one, seq_id):
    llama_cpp.llama_memory_clear(one._memory, True)
    one._decode_rows(tuple(Row(seq_id, i, t, i == len(TEXT) - 1) for i, t in enumerate(TEXT)))
    return read_state(one._context, seq_id, EVERYTHING)


@layouts
@files
def test_each_takes_what_the_other_wrote_and_writes_the_same_again(path, is_pool):
    flash, plain = backend(path, True, is_pool), backend(path, False, is_pool)
    for one, other in ((flash, plain), (plain, flash)):
        written = state_of(one, 0)
        assert is_transposed(written) == (one is plain)
        turned = revalued(written, transposed=one is flash)
        llama_cpp.llama_memory_clear(other._memory, True)
        write_state(other._context, 0, turned, EVERYTHING)
        assert np.array_equal(read_state(other._context, 0, EVERYTHING), turned)
        assert np.array_equal(revalued(turned, transposed=one is plain), written)


def test_what_lies_as_it_should_is_not_copied():
    written = state_of(backend(demo_path(), False), 0)
    assert revalued(written, transposed=True) is written


def test_floats_of_four_bytes_are_turned_too():
    flash = backend(demo_path(), True, kv_type_k="f32", kv_type_v="f32")
    plain = backend(demo_path(), False, kv_type_k="f32", kv_type_v="f32")
    turned = revalued(state_of(flash, 0), transposed=True)
    write_state(plain._context, 0, turned, EVERYTHING)
    assert np.array_equal(read_state(plain._context, 0, EVERYTHING), turned)


def test_blocks_of_a_quantized_cache_cannot_be_turned():
    written = state_of(backend(demo_path(), True, kv_type_k="q8_0", kv_type_v="q8_0"), 0)
    assert not is_transposed(written)
    with pytest.raises(ValueError, match="values of type 8 can't be turned"):
        revalued(written, transposed=True)


def test_what_is_no_sequence_or_was_cut_off_is_refused():
    written = state_of(backend(demo_path(), True), 0)
    for n_bytes in (0, 4, 12, 16, 100, 2000, written.size // 2):
        with pytest.raises(ValueError, match="bytes"):
            revalued(written[:n_bytes], transposed=True)
    with pytest.raises(ValueError, match="bytes"):
        is_transposed(np.full(5000, 255, np.uint8))


def test_a_cut_inside_the_values_is_refused_too():
    written = state_of(backend(demo_path(), True), 0)
    with pytest.raises(ValueError, match="bytes"):
        revalued(written[:-40], transposed=True)


def test_cells_with_positions_of_several_parts_are_known_too():
    """As llama.cpp writes them for M-RoPE (llama_kv_cell_ext): three words more in each."""
    written = state_of(backend(demo_path(), True), 0)
    start, n_cells = 16, len(TEXT)
    cells = written[start : start + 12 * n_cells].reshape(n_cells, 12)
    more = np.arange(12 * n_cells, dtype=np.uint8).reshape(n_cells, 12)
    longer = np.hstack([cells[:, :8], more, cells[:, 8:]]).reshape(-1)
    head, rest = written[:start], written[start + 12 * n_cells :]
    turned = revalued(np.concatenate([head, longer, rest]), transposed=True)
    there = revalued(written, transposed=True)
    assert np.array_equal(turned[: start + longer.size], np.concatenate([head, longer]))
    assert np.array_equal(turned[start + longer.size :], there[start + 12 * n_cells :])


@pytest.mark.parametrize("n_cells", [1, 2, 3])
@pytest.mark.parametrize("first", range(4))
def test_few_cells_of_small_numbers_are_not_taken_for_something_else(n_cells, first):
    one = backend(demo_path(), True)
    llama_cpp.llama_memory_clear(one._memory, True)
    one._decode_rows(tuple(Row(first % 3, i, first, True) for i in range(n_cells)))
    written = read_state(one._context, first % 3, EVERYTHING)
    assert not is_transposed(written)
    assert is_transposed(revalued(written, transposed=True))
