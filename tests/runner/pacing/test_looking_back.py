from dataclasses import replace

import pytest
from real_model import plan

from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.looking_back import (
    NOTHING,
    TILE_ROWS,
    Before,
    LookingBack,
    Tiles,
    even_batches,
)
from edgellm.runner.pacing.pace import Pace, Unread

BASE_S, DECODE_S, ROW_S = 0.003, 0.0008, 0.0004  # a step, a stream's row, a prompt's
TILED_CELL_S, CELL_S = 0.28e-6, 0.66e-6  # of a row and a cell, measured on two cores of an EPYC
DEEP = Before(1000, 1000, 1000)


def step_s(n_decode, n_prompt, depth, in_tiles=None):
    """As a small mixture of experts takes on two cores."""
    n_rows = n_decode + n_prompt
    if n_rows >= TILE_ROWS:
        in_tiles = depth if in_tiles is None else in_tiles
        back_s = -(-n_rows // TILE_ROWS) * TILE_ROWS * in_tiles * TILED_CELL_S
    else:
        back_s = n_prompt * depth * CELL_S
    return BASE_S + DECODE_S * n_decode + ROW_S * n_prompt + (back_s if n_prompt else 0.0)


def machine(itl_target_s, tiles=TILE_ROWS):
    decode = {n: step_s(n, 0, 0) for n in (1, 2, 4, 8)}
    prompt = {n: step_s(1, n - 1, 0) for n in (16, 64, 256, 512)}
    return Pace(
        itl_target_s, StepCosts(decode, prompt, looking_back=LookingBack(tiles, on_cpu=True))
    )


def taken(costs, n_decode, n_prompt, before):
    """In one call or in two, as `costs` say."""
    if costs.are_apart(n_decode, n_prompt, before):
        own_s = step_s(0, n_prompt, before.depth, before.own_tiles)
        return step_s(n_decode, 0, 0) + own_s
    return step_s(n_decode, n_prompt, before.depth, before.in_tiles)


def read(pace, n_tokens, n_streams=8, in_tiles=0, of_streams=0):
    """(rows, seconds) of each step until a prompt is read; of a pool in which it is in tiles of at
    least `in_tiles` cells, and the streams are in tiles of `of_streams` more."""
    steps, at = [], 0
    while at < n_tokens:
        own = max(at, in_tiles)
        tiles = Tiles(own + of_streams, own)
        n = pace.chunk(n_streams, [Unread(n_tokens - at, at)], 504, tiles=[tiles])
        before = Before(at, *tiles)
        taken_s = taken(pace.costs, n_streams, n, before)
        pace.observe(n, n_streams, taken_s, before=before)
        steps.append((n, taken_s))
        at += n
    return steps


def test_deep_rows_are_read_by_whole_tiles_the_streams_rows_counted_or_in_a_call_of_their_own():
    steps = read(machine(0.1), 4000)
    sizes = [n for n, _ in steps[:-2]]
    assert sizes[0] > 120
    assert set(sizes[-20:]) <= {TILE_ROWS - 8, TILE_ROWS}


@pytest.mark.parametrize("depth", [200, 600, 2000])
def test_beside_deep_streams_a_prompt_is_read_by_itself_and_far_sooner(depth):
    pace = machine(0.1)
    steps = read(pace, 2000, of_streams=8 * depth)
    assert max(s for _, s in steps) <= 1.05 * 0.1125
    together_s = [step_s(8, n, 1000, 1000 + 8 * depth) / n for n in (48, TILE_ROWS - 8, 120)]
    assert sum(s for _, s in steps) / 2000 < 0.7 * min(together_s)


def test_beside_streams_that_have_hardly_begun_the_weights_are_read_once_for_all():
    costs = machine(0.1).costs
    for n_prompt, n_cells, apart in ((120, 64, False), (120, 4000, True), (40, 4000, False)):
        assert costs.are_apart(8, n_prompt, Before(500, 500 + n_cells, 500)) is apart
    assert not costs.are_apart(0, 120, Before(500, 4500, 500))


@pytest.mark.parametrize(("n_streams", "most"), [(1, 0.93), (5, 0.75), (8, 0.75)])
def test_who_knows_of_tiles_reads_a_deep_prompt_sooner_and_makes_no_longer_gaps(n_streams, most):
    tiled, plain = (read(machine(0.1, tiles), 4000, n_streams) for tiles in (TILE_ROWS, None))
    assert sum(s for _, s in tiled) < most * sum(s for _, s in plain)
    target_s = 0.1 * (1 + 1 / n_streams)
    assert max(s for _, s in tiled) <= 1.05 * target_s


def test_in_a_pool_full_of_holes_the_first_rows_come_one_by_one():
    pace = machine(0.1)
    read(pace, 4000)
    sizes = [n for n, _ in read(pace, 4000, in_tiles=3900)]
    assert max(sizes[:5]) < TILE_ROWS - 8
    assert set(sizes[-6:-2]) <= {TILE_ROWS - 8, TILE_ROWS}


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


def test_a_tile_holds_no_rows_of_streams_that_sit_a_step_out():
    pace = machine(0.1)
    read(pace, 3000)
    for n_sitting in (0, 1, 5, 8):
        n_rows = pace.chunk(8, [Unread(1000, 3000)], 504, n_sitting=n_sitting)
        assert n_rows in (TILE_ROWS, TILE_ROWS - 8 + n_sitting)


def test_the_last_rows_of_a_prompt_are_no_more_than_there_are():
    pace = machine(0.1)
    read(pace, 3000)
    assert pace.chunk(8, [Unread(20, 3000)], 504) <= 20


def test_what_one_way_costs_says_nothing_of_the_other_once_both_were_seen():
    back = LookingBack(TILE_ROWS, on_cpu=True)

    def costs():
        return [back.in_rows(8, n, DEEP) for n in (16, 120)]

    few, many = costs()
    back.correct(8, 120, DEEP, 2.0)
    assert costs() == [2 * few, 2 * many]
    back.correct(8, 16, DEEP, 0.5)
    assert costs() == [few, 2 * many]


def test_a_prompt_with_hardly_anything_before_it_tells_nothing_of_looking_back():
    costs = machine(0.1).costs

    def back_rows(n):
        return costs.looking_back.in_rows(0, n, DEEP)

    for depth in (0, 5):
        costs.observe(0, 20, 0.02, before=Before(depth, depth, depth))
    few, many = back_rows(20), back_rows(128)
    costs.observe(0, 128, 1.0, before=Before(3000, 3000, 3000))
    assert back_rows(128) > 1.5 * many
    assert back_rows(20) / few == pytest.approx(back_rows(128) / many)


@pytest.mark.parametrize("n_decode", [0, 1, 8, 63, 64, 70, 128, 130])
@pytest.mark.parametrize("n_most", [1, 40, 56, 57, 64, 300])
def test_within_a_block_more_rows_look_at_more_and_none_is_left_out(n_decode, n_most):
    back = LookingBack(TILE_ROWS, on_cpu=True)
    blocks, tiles = back.sizes(n_decode, n_most)
    assert [n for block in blocks for n in block] == [*range(1, n_most + 1)]
    for block in blocks:
        for n_beside in (0, n_decode):
            looked = [back.in_rows(n_beside, n, DEEP) for n in block]
            assert looked == sorted(looked)
    starts = [{block[0], block[0] + n_decode} for block in blocks[1:]]
    assert all(any(n == TILE_ROWS or n % TILE_ROWS == 1 for n in either) for either in starts)
    fill_one = {TILE_ROWS, TILE_ROWS - n_decode}
    assert tiles == sorted(n for n in fill_one if 0 < n <= n_most)


def is_tiled(plan, n_decode=0):
    return LookingBack.of(plan).is_tiled(n_decode, TILE_ROWS - n_decode, NOTHING)


def test_tiles_are_the_cpus_with_flash_attention_and_a_cache_of_floats():
    ours = plan(kv_unified=True, kv_type_k="f16", kv_type_v="f16", flash_attention=None)
    in_streams = replace(ours, kv_unified=False)
    assert is_tiled(ours, n_decode=8)
    assert is_tiled(in_streams)
    assert not is_tiled(in_streams, n_decode=8)
    on_a_device = replace(ours.placement, n_gpu_layers=99)
    device_streams = LookingBack.of(replace(in_streams, placement=on_a_device))
    assert device_streams.in_rows(8, 64, DEEP) == device_streams.in_rows(0, 64, DEEP) > 0
    for change in (
        {"kv_type_k": "q8_0", "kv_type_v": "q8_0"},
        {"kv_type_k": "f32"},
        {"flash_attention": False},
        {"placement": on_a_device},
    ):
        assert not is_tiled(replace(ours, **change))


def test_before_any_was_seen_a_cpu_is_thought_to_look_back_dearly_whatever_its_cache():
    floats = plan(kv_unified=True, kv_type_k="f16", kv_type_v="f16", flash_attention=None)
    coarse = replace(floats, kv_type_k="q8_0", kv_type_v="q8_0")
    device = replace(floats, placement=replace(floats.placement, n_gpu_layers=99))
    deep = Before(4000, 4000, 4000)
    rows = [LookingBack.of(each).in_rows(8, 16, deep) for each in (floats, coarse, device)]
    assert rows[0] == rows[1] > 20 * rows[2]


@pytest.mark.parametrize(
    ("counts", "batches"),
    [
        ((5,), [(5, 1)]),
        ((1, 1, 1), [(1, 3)]),
        ((1, 64, 1), [(1, 3), (63, 1)]),
        ((88, 20, 424), [(20, 3), (68, 2), (336, 1)]),
        ((), []),
    ],
)
def test_streams_are_batches_of_as_many_rows_as_the_shortest_has_left(counts, batches):
    assert list(even_batches(counts)) == batches


def in_streams():
    decode = {n: step_s(n, 0, 0) for n in (1, 2, 4, 8)}
    prompt = {n: step_s(1, n - 1, 0) for n in (16, 64, 256, 512)}
    back = LookingBack(TILE_ROWS, on_cpu=True, in_streams=True)
    return Pace(0.1, StepCosts(decode, prompt, looking_back=back))


@pytest.mark.parametrize("n_streams", [1, 3, 8])
def test_on_a_stream_of_its_own_a_deep_prompt_is_read_by_whole_tiles_apart_from_the_others(
    n_streams,
):
    pace, at, sizes = in_streams(), 0, []
    while at < 3500:
        n = pace.chunk(n_streams, [Unread(3600 - at, at)], 500)
        before = Before.of([(n, at)])
        is_apart = pace.costs.are_apart(n_streams, n, before)
        rows = n - (not is_apart)  # one of them is in the streams' batch
        assert -rows % TILE_ROWS <= 8 or at < 1000 or at + n > 3500  # nearly whole tiles
        taken_s = step_s(n_streams, 0, 0) + step_s(0, rows, at)
        pace.observe(n, n_streams, taken_s, before=before)
        sizes.append(n)
        at += n
    assert sizes[0] > 3 * TILE_ROWS


def test_beside_streams_one_row_of_a_prompt_is_in_their_batch_and_may_be_missing_in_a_tile():
    costs = in_streams().costs
    for n, is_apart in ((40, False), (TILE_ROWS, True), (TILE_ROWS + 1, False), (130, False)):
        assert costs.are_apart(3, n, Before.of([(n, 1000)])) is is_apart
        assert not costs.are_apart(3, n, Before.of([(n, 0)]))
    assert costs.looking_back.sizes(3, 300).tiles == [TILE_ROWS, TILE_ROWS + 1]
    assert costs.looking_back.sizes(0, 300).tiles == [TILE_ROWS]


def test_on_streams_tiles_are_each_prompts_own():
    back = LookingBack(TILE_ROWS, on_cpu=True, in_streams=True)
    one, halves = (Before.of(chunks) for chunks in ([(64, 1000)], [(32, 1000), (32, 1000)]))
    assert [back.is_tiled(0, 64, each) for each in (one, halves)] == [True, False]
    assert back.in_rows(0, 64, one) < back.in_rows(0, 64, halves) / 2


def test_a_step_that_reads_no_prompt_has_nothing_apart():
    assert not in_streams().costs.are_apart(4, 0, Before.of([]))


def test_a_tile_looks_at_the_cells_of_those_prompts_that_have_rows_in_it():
    tiles = [Tiles(900, 100), Tiles(1400, 600)]
    for chunks, own in (([(64, 90)], 100), ([(40, 90), (24, 480)], 600), ([(9, 9)] * 3, 600)):
        assert Before.of(chunks, tiles).own_tiles == own
        assert Before.of(chunks, tiles).in_tiles == 800 + own


def test_to_pass_over_a_cell_costs_a_part_of_looking_at_it():
    costs = machine(0.1).costs
    for n_rows in (20, 500):
        looked_s = [costs.mixed_s(0, n_rows, Before(d, d, d)) for d in (1000, 2000)]
        a_cell_s = (looked_s[1] - looked_s[0]) / 1000
        assert costs.passing_s(n_rows) == pytest.approx(0.12 * a_cell_s, rel=0.05)
    assert costs.passing_s(0) == 0
