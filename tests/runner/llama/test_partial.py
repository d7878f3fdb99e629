"""The facts of the real llama.cpp about what a fork can't share."""

import os

import pytest
from real_model import SHARED_MODELS, demo_path, needs_shared_models, plan

from edgellm.runner.llama.backend import LlamaBackend

pytestmark = [pytest.mark.model, needs_shared_models]


def limits(path, **choices):
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    return LlamaBackend(os.fsencode(path), plan(**choices), lambda ratio: None).limits


@pytest.mark.parametrize("file", ["tiny-gemma3-q8_0.gguf", "tiny-gpt-oss-mxfp4_moe.gguf"])
def test_a_sliding_model_keeps_as_many_aside_as_may_run_on_unified_kv(file):
    found = limits(SHARED_MODELS / file)
    assert found.state.n_window == 64
    assert found.state.cell_bytes > 0
    assert (found.state.has_cells, found.state.has_rows) == (True, False)
    assert (found.shares_prefixes, found.n_ids) == (True, 16)
    assert limits(SHARED_MODELS / file, kv_unified=False).n_ids == 8
    full = limits(SHARED_MODELS / file, swa_full=True)
    assert full.state == found.state  # the cells are more, a window is not


def test_a_hybrid_model_has_rows_and_cells():
    found = limits(SHARED_MODELS / "tiny-lfm2-q8_0.gguf")
    assert (found.state.n_window, found.state.cell_bytes) == (0, 0)
    assert (found.state.has_cells, found.state.has_rows) == (True, True)
    assert found.n_ids == found.n_seq_max


@pytest.mark.parametrize("file", ["tiny-mamba-q8_0.gguf", "tinyrwkv52-730k-f16.gguf"])
def test_a_recurrent_model_has_nothing_but_rows(file):
    found = limits(SHARED_MODELS / file)
    assert found.state.row_bytes > 10_000
    assert (found.state.has_cells, found.state.has_rows) == (False, True)


def test_full_attention_carries_no_state():
    found = limits(demo_path())
    assert found.state is None
    assert found.shares_prefixes


def test_without_memory_for_checkpoints_nothing_is_shared():
    found = limits(SHARED_MODELS / "tiny-gemma3-q8_0.gguf", prefix_ram_bytes=0)
    assert (found.state, found.shares_prefixes) == (None, False)


def test_the_token_that_ends_a_message_is_known():
    found = limits(SHARED_MODELS / "tiny-gemma3-q8_0.gguf")
    assert found.turn_ends
