"""What the real llama.cpp writes of a sequence, made readable for the other layout and back."""

import os

import numpy as np
import pytest
from real_model import SHARED_MODELS, demo_path, needs_shared_models, plan

from edgellm.errors import EdgellmError
from edgellm.runner.batch import Row
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.llama.state import EVERYTHING, read_state, write_state
from edgellm.runner.llama.streams import restreamed

pytestmark = pytest.mark.model

N_STREAMS = 4
TEXT = tuple(range(20, 60))


def backend(path, flash, **changes):
    shape = {"n_parallel": N_STREAMS, "n_ctx": 1024, "n_ctx_seq": 256, "n_outputs_max": 5}
    made = plan(flash_attention=flash, **shape | changes)
    return LlamaBackend(os.fsencode(path), made, lambda ratio: None)


def state_of(one, seq_id):
    one._decode_rows(tuple(Row(seq_id, i, t, i == len(TEXT) - 1) for i, t in enumerate(TEXT)))
    return read_state(one._context, seq_id, EVERYTHING)


@pytest.mark.parametrize("flash", [False, True], ids=["V transposed", "flash"])
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(demo_path(), id="demo"),
        pytest.param(
            SHARED_MODELS / "tiny-deepseek2-q8_0.gguf", id="MLA", marks=needs_shared_models
        ),
        pytest.param(SHARED_MODELS / "tiny-qwen3-q8_0.gguf", id="qwen3", marks=needs_shared_models),
    ],
)
def test_each_layout_takes_what_the_other_one_wrote_and_writes_the_same_again(path, flash):
    pool = backend(path, flash, kv_unified=True, n_seq_max=N_STREAMS + 1)
    streams = backend(path, flash, kv_unified=False, n_seq_max=N_STREAMS)
    of_pool, of_stream = state_of(pool, 0), state_of(streams, 2)
    assert of_pool.size + 4 * (N_STREAMS - 1) == of_stream.size

    write_state(streams._context, 3, restreamed(of_pool, N_STREAMS), EVERYTHING)
    back = restreamed(read_state(streams._context, 3, EVERYTHING), 1)
    assert np.array_equal(without_id(back), without_id(of_pool))

    write_state(pool._context, 1, restreamed(of_stream, 1), EVERYTHING)
    back = restreamed(read_state(pool._context, 1, EVERYTHING), N_STREAMS)
    assert np.array_equal(without_id(restreamed(back, 1)), without_id(restreamed(of_stream, 1)))


def without_id(blob):
    """llama.cpp writes whose it is, of the blob and of each cell; who reads it has another."""
    n_cells = len(TEXT)
    ids = [4, *(16 + i * 12 + 8 for i in range(n_cells))]
    return np.delete(blob, [byte for at in ids for byte in range(at, at + 4)])


def test_llama_cpp_refuses_what_was_not_made_for_so_many_streams():
    pool = backend(demo_path(), False, kv_unified=True, n_seq_max=N_STREAMS + 1)
    streams = backend(demo_path(), False, kv_unified=False, n_seq_max=N_STREAMS)
    with pytest.raises(EdgellmError, match="took 0 of"):
        write_state(streams._context, 0, state_of(pool, 0), EVERYTHING)


def words(*numbers):
    return np.array(numbers, np.uint32).view(np.uint8)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_cells_are_found_in_whichever_stream_they_were(place):
    cells = (2, 77, 78, 79)
    blob = words(9, 5, 3, *[0] * place, *cells, *[0] * (2 - place))
    assert np.array_equal(restreamed(blob, 1), words(9, 5, 1, *cells))
    assert np.array_equal(restreamed(blob, 2), words(9, 5, 2, *cells, 0))
    assert restreamed(blob, 3) is blob


@pytest.mark.parametrize("blob", [words(), words(9, 5), words(9, 5, 2, 0, 0), words(9, 5, 7, 0)])
def test_what_holds_no_sequence_is_refused(blob):
    with pytest.raises(ValueError, match="hold no sequence"):
        restreamed(blob, 1)
