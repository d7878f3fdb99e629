from dataclasses import replace

import pytest
from real_model import plan

from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.looking_back import TILE_ROWS, LookingBack, tile_rows
from edgellm.runner.pacing.pace import Pace, Unread

BASE_S, DECODE_S, ROW_S = 0.003, 0.0008, 0.0004  # a step, a stream's row, a prompt's
TILED_CELL_S, CELL_S = 0.28e-6, 0.66e-6  # of a row and a cell, measured on two cores of an EPYC


def step_s(n_decode, n_prompt, depth):
    """As a small mixture of experts takes on two cores."""
    n_rows = n_decode + n_prompt
    if n_rows >= TILE_ROWS:
        back_s = -(-n_rows // TILE_ROWS) * TILE_ROWS * depth * TILED_CELL_S
    else:
        back_s = n_prompt * depth * CELL_S
    return BASE_S + DECODE_S * n_decode + ROW_S * n_prompt + (back_s if n_prompt else 0.0)


def machine(itl_target_s, tiles=TILE_ROWS):
    decode = {n: step_s(n, 0, 0) for n in (1, 2, 4, 8)}
    prompt = {n: step_s(1, n - 1, 0) for n in (16, 64, 256, 512)}
    return Pace(itl_target_s, StepCosts(decode, prompt, looking_back=LookingBack(tiles)))


def read(pace, n_tokens, n_streams=8, at=0):
    """(rows, seconds) of each step until a prompt is read."""
    steps = []
    while at < n_tokens:
        unread = [Unread(n_tokens - at, at)]
        n = min(pace.chunk(n_streams, unread, 504), n_tokens - at)
        taken_s = step_s(n_streams, n, at + n / 2)
        pace.observe(n, n_streams, taken_s, depth=at)
        steps.append((n, taken_s))
        at += n
    return steps


def test_deep_rows_are_read_by_whole_tiles_the_streams_rows_counted():
    steps = read(machine(0.1), 4000)
    sizes = [n for n, _ in steps[:-1]]
    assert sizes[0] > 120
    assert sizes[-20:] == [TILE_ROWS - 8] * 20


@pytest.mark.parametrize(("n_streams", "most"), [(1, 0.93), (5, 0.67), (8, 0.67)])
def test_who_knows_of_tiles_reads_a_deep_prompt_sooner_and_makes_no_longer_gaps(n_streams, most):
    tiled, plain = (read(machine(0.1, tiles), 4000, n_streams) for tiles in (TILE_ROWS, None))
    assert sum(s for _, s in tiled) < most * sum(s for _, s in plain)
    target_s = 0.1 * (1 + 1 / n_streams)
    assert max(s for _, s in tiled) <= 1.05 * target_s


def test_a_step_may_take_what_the_aim_leaves_of_the_target_for_a_whole_tile_only():
    pace = machine(0.1)
    read(pace, 3000)
    deepest = max(
        depth
        for depth in range(3000, 8000, 10)
        if pace.chunk(8, [Unread(1000, depth)], 504) == TILE_ROWS - 8
    )
    assert pace.aim * 0.1125 < step_s(8, TILE_ROWS - 8, deepest) <= 1.1 * 0.1125
    assert 1 < pace.chunk(8, [Unread(1000, deepest + 100)], 504) < TILE_ROWS - 8


def test_the_last_rows_of_a_prompt_are_no_more_than_there_are():
    pace = machine(0.1)
    read(pace, 3000)
    assert pace.chunk(8, [Unread(20, 3000)], 504) <= 20


def test_what_one_way_costs_says_nothing_of_the_other_once_both_were_seen():
    back = LookingBack(TILE_ROWS)
    before = back.in_rows(8, 16, 1000), back.in_rows(8, 120, 1000)
    back.correct(128, 2.0)
    assert (back.in_rows(8, 16, 1000), back.in_rows(8, 120, 1000)) == tuple(2 * b for b in before)
    back.correct(24, 0.5)
    assert (back.in_rows(8, 16, 1000), back.in_rows(8, 120, 1000)) == (before[0], 2 * before[1])


@pytest.mark.parametrize("n_decode", [0, 1, 8, 63, 64, 70, 128, 130])
@pytest.mark.parametrize("n_most", [1, 40, 56, 57, 64, 300])
def test_within_a_block_more_rows_look_at_more_and_none_is_left_out(n_decode, n_most):
    back = LookingBack(TILE_ROWS)
    blocks = back.blocks(n_decode, n_most)
    assert [n for block in blocks for n in block] == [*range(1, n_most + 1)]
    for block in blocks:
        looked = [back.in_rows(n_decode, n, 1000) for n in block]
        assert looked == sorted(looked)
    firsts = [n_decode + block[0] for block in blocks[1:]]
    assert all(n == TILE_ROWS or n % TILE_ROWS == 1 for n in firsts)


def test_tiles_are_the_cpus_with_flash_attention_one_pool_and_a_cache_of_floats():
    ours = plan(kv_unified=True, kv_type_k="f16", kv_type_v="f16", flash_attention=None)
    assert tile_rows(ours) == TILE_ROWS
    on_a_device = replace(ours.placement, n_gpu_layers=99)
    for change in (
        {"kv_type_k": "q8_0", "kv_type_v": "q8_0"},
        {"kv_type_k": "f32"},
        {"flash_attention": False},
        {"kv_unified": False},
        {"placement": on_a_device},
    ):
        assert tile_rows(replace(ours, **change)) is None
