"""What rows pass in memory, in a pool and in streams, with flash attention and without."""

from dataclasses import replace

import pytest
from real_model import plan

from edgellm.profiles import load_profiles
from edgellm.runner.pacing.looks import (
    FlashAttention,
    Part,
    Passed,
    PlainAttention,
    attention_of,
    n_shared,
)

FLASH = plan(flash_attention=None)
STRANGERS = [Part(1, 2000)] * 16
ALIKE_SHARED = 15 * 1950  # of the same, as a pool has them once


def test_in_a_pool_strangers_pass_over_one_anothers_cells_and_in_streams_they_do_not():
    pool, streams = looks(FlashAttention().passed(STRANGERS))
    assert pool > 2 * streams
    alone = FlashAttention().passed(STRANGERS[:1])
    assert alone.pool == alone.streams
    assert alone.pool.looks == pytest.approx(streams / 16)


def test_a_cell_that_is_passed_over_costs_what_it_costs_the_planner():
    kernels = load_profiles().speed.cpu.kernels
    planned = {one.plain.masked_ratio for one in kernels if one.plain}
    assert planned == {FlashAttention().masked_look}


def test_what_all_have_in_common_is_read_once_in_a_pool_and_by_each_in_streams():
    pool, streams = FlashAttention().passed(STRANGERS, ALIKE_SHARED)
    assert pool.cells < streams.cells / 10
    assert pool.looks < 1.1 * streams.looks  # of the other's own cells some are passed over
    alone = FlashAttention().passed([Part(1, 2000)])
    assert alone.pool == alone.streams


def test_prompts_of_some_are_read_by_tiles_in_a_pool_and_row_by_row_in_streams():
    parts = [Part(32, 2000)] * 16
    shared = 15 * 2000
    pool, streams = looks(FlashAttention(is_tiled=True).passed(parts, shared))
    one_by_one, _ = looks(FlashAttention(is_tiled=False).passed(parts, shared))
    assert pool < streams / 2
    assert one_by_one > pool
    long = [Part(512, 2000)]  # its stream is a batch of its own, and long enough for tiles
    assert FlashAttention().passed(long).streams == FlashAttention().passed(long).pool


def test_of_prompts_on_streams_those_rows_are_in_tiles_that_a_batch_has_enough_of():
    one, both = (FlashAttention().passed([Part(64, 2000)] * n).streams.looks for n in (1, 2))
    assert both == 2 * one
    with_a_short = FlashAttention().passed([Part(30, 0), Part(64, 2000)]).streams.looks
    assert with_a_short > 2 * one  # llama.cpp first takes as many rows of each as the shortest has
    beside = FlashAttention().passed([Part(1, 1000), Part(64, 2000)]).streams.looks
    assert beside == one + 1000  # a stream's row is in another call


def test_in_a_pool_a_prompt_beside_deep_streams_is_counted_in_a_call_of_its_own():
    streams, prompt = [Part(1, 2000)] * 8, [Part(64, 500)]
    beside = FlashAttention(masked_look=0.0).passed([*streams, *prompt]).pool
    apart = [FlashAttention(masked_look=0.0).passed(each).pool for each in (streams, prompt)]
    assert beside.looks == sum(one.looks for one in apart)


def test_a_cache_of_blocks_is_not_computed_in_tiles():
    assert attention_of(FLASH) == FlashAttention(is_tiled=True)
    assert attention_of(replace(FLASH, kv_type_k="q8_0", kv_type_v="q8_0")).is_tiled is False


def test_without_flash_attention_a_pool_multiplies_all_rows_with_all_cells():
    plain = attention_of(replace(FLASH, flash_attention=False))
    n_cells = 16 * 2000 - 256
    assert plain.passed(STRANGERS).pool == Passed(n_cells, 16 * n_cells)
    shared = plain.passed(STRANGERS, 15 * 2000).pool
    assert shared == Passed(2048 - 256, 16 * (2048 - 256))


def test_without_flash_attention_streams_pass_as_many_cells_each_as_the_longest_has():
    plain = PlainAttention()
    even, uneven = [Part(1, 2000)] * 4, [Part(1, 100)] * 3 + [Part(1, 2000)]
    assert plain.passed(even).streams == plain.passed(uneven).streams
    assert plain.passed(even).streams == Passed(4 * (2048 - 256), 4 * (2048 - 256))


def test_without_flash_attention_the_rest_of_a_prompt_in_streams_is_alone():
    prompt = PlainAttention().passed([Part(1, 100), Part(64, 2000)]).streams
    assert prompt == Passed(3 * (2048 - 256), 65 * (2048 - 256))


def test_the_first_cells_cost_nothing_more_without_flash_attention():
    """They are computed with every step, used or not."""
    assert PlainAttention().passed([Part(1, 256)] * 3).streams == Passed(0, 0)
    assert PlainAttention().cells(257) == 256
    assert FlashAttention().cells(257) == 257


def test_tokens_in_common_are_those_of_a_tree_of_all():
    assert n_shared([[1, 2, 3, 9], [1, 2, 3, 4], [1, 2, 7], [8]]) == 3 + 2
    assert n_shared([]) == n_shared([[1]]) == 0


def looks(passed):
    return passed.pool.looks, passed.streams.looks
