"""Whether the other layout of KV cells would have been faster, by what has run."""

from dataclasses import replace

import pytest
from real_model import plan

from edgellm.profiles import load_profiles
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.layouts import Attention, LayoutChoice, Part, n_shared

ROW_S = 0.001
ROWS = StepCosts({1: ROW_S, 16: 16 * ROW_S}, {64: 64 * ROW_S, 512: 512 * ROW_S})
POOL = plan(flash_attention=None)
STREAMS = replace(POOL, kv_unified=False)
STRANGERS = [Part(1, 2000)] * 16
ALIKE_SHARED = 15 * 1950  # of the same, as a pool has them once


def choice(begins, change_s=0.3):
    return LayoutChoice(begins, ROWS, cell_bytes=100_000, kv_bytes=int((change_s - 0.3) / 5e-10))


def serve(one, seconds, parts=STRANGERS, shared=0, copied=0):
    """Steps of these parts, that take twice what their rows take in empty memory."""
    n_rows = sum(part.n_rows for part in parts)
    step_s = 2 * ROWS.mixed_s(n_rows, 0)
    for i in range(int(seconds / step_s)):
        one.observe(parts, n_rows, step_s, shared, 0 if i else copied)


def test_in_a_pool_strangers_pass_over_one_anothers_cells_and_in_streams_they_do_not():
    pool, streams = Attention().looks(STRANGERS)
    assert pool > 2 * streams
    alone = Attention().looks(STRANGERS[:1])
    assert alone.pool == alone.streams == pytest.approx(streams / 16)


def test_a_cell_that_is_passed_over_costs_what_it_costs_the_planner():
    kernels = load_profiles().speed.cpu.kernels
    assert {one.plain.masked_ratio for one in kernels if one.plain} == {Attention().masked_look}


def test_what_all_have_in_common_is_read_once_in_a_pool_and_by_each_in_streams():
    pool, streams = Attention().looks(STRANGERS, ALIKE_SHARED)
    assert pool < streams
    alone = Attention().looks([Part(1, 2000)])
    assert alone.pool == alone.streams


def test_prompts_of_some_are_read_by_tiles_in_a_pool_and_row_by_row_in_streams():
    parts = [Part(32, 2000)] * 16
    shared = 15 * 2000
    pool, streams = Attention(is_tiled=True).looks(parts, shared)
    one_by_one = Attention(is_tiled=False).looks(parts, shared)
    assert pool < streams / 2
    assert one_by_one.pool > pool
    tiles = [Part(64, 2000)] * 5
    beside = Attention().looks([Part(1, 0), *tiles])  # llama.cpp takes one row of each first
    assert beside.streams > 2 * Attention().looks(tiles).streams
    long = [Part(512, 2000)]  # its stream is a batch of its own, and long enough for tiles
    assert Attention().looks(long).streams == Attention().looks(long).pool


def test_in_a_pool_a_prompt_beside_deep_streams_is_counted_in_a_call_of_its_own():
    streams, prompt = [Part(1, 2000)] * 8, [Part(64, 500)]
    beside = Attention(masked_look=0.0).looks([*streams, *prompt]).pool
    apart = [Attention(masked_look=0.0).looks(each).pool for each in (streams, prompt)]
    assert beside == pytest.approx(sum(apart), rel=0.1)  # what is read is the same cells


def test_without_flash_attention_a_pool_multiplies_all_rows_with_all_cells():
    without = Attention.of(replace(POOL, flash_attention=False))
    assert without.looks(STRANGERS).pool > 5 * without.looks(STRANGERS).streams
    assert Attention.of(replace(POOL, kv_type_k="q8_0", kv_type_v="q8_0")).is_tiled is False


def test_tokens_in_common_are_those_of_a_tree_of_all():
    assert n_shared([[1, 2, 3, 9], [1, 2, 3, 4], [1, 2, 7], [8]]) == 3 + 2
    assert n_shared([]) == n_shared([[1]]) == 0


def test_strangers_in_a_pool_make_streams_pay_and_not_before_it_is_clear():
    one = choice(POOL)
    serve(one, 1)
    assert not one.pays
    serve(one, 20)
    assert one.pays
    at_home = choice(STREAMS)
    serve(at_home, 60)
    assert not at_home.pays


def test_a_common_prefix_in_streams_makes_a_pool_pay_the_more_so_for_what_is_copied():
    one = choice(STREAMS)
    serve(one, 30, shared=ALIKE_SHARED)
    assert one.pays
    at_home = choice(POOL)
    serve(at_home, 60, shared=ALIKE_SHARED)
    assert not at_home.pays
    plain, copying = choice(STREAMS), choice(STREAMS)
    serve(plain, 10)
    serve(copying, 10, copied=30_000)
    assert copying.saved_s > plain.saved_s


def test_what_costs_more_than_it_would_have_saved_several_times_over_is_left():
    one = choice(POOL, change_s=20)
    serve(one, 60)
    assert not one.pays


def test_a_load_that_has_gone_is_forgotten():
    one = choice(POOL)
    serve(one, 30)
    assert one.pays
    serve(one, 200, [Part(1, 100)])
    assert not one.pays


def seconds_until_it_pays(one, shared):
    for n in range(1, 200):
        serve(one, 1, shared=shared)
        if one.pays:
            return n
    return 200


def test_who_lost_by_a_change_has_to_be_twice_as_sure_each_time():
    one = choice(POOL)
    n_served = []
    for _ in range(4):  # loads take turns, each until the other layout pays
        n_served.append(seconds_until_it_pays(one, 0 if one.is_pool else ALIKE_SHARED))
        one.changed(0.3)
        assert not one.pays
    assert n_served[2] > 2 * n_served[0]
    assert n_served[3] > 2 * n_served[1]


def test_a_change_that_was_right_makes_the_next_one_as_easy_as_the_first():
    one, first = choice(POOL), choice(STREAMS)
    serve(one, 30)
    one.changed(0.3)
    serve(one, 30)
    for each in (first, one):
        serve(each, 300, [Part(1, 100)])  # and then nothing tells
        assert not each.pays
    at_first = seconds_until_it_pays(first, ALIKE_SHARED)
    assert seconds_until_it_pays(one, ALIKE_SHARED) < 1.1 * at_first


def test_steps_that_are_told_together_say_what_they_say_one_by_one():
    apart, together = choice(POOL), choice(POOL)
    step_s = 2 * ROWS.mixed_s(16, 0)
    for _ in range(16):
        apart.observe(STRANGERS, 16, step_s, 0, 0)
    together.observe(STRANGERS, 16, 16 * step_s, 0, 0, 16)
    assert together.busy_s == pytest.approx(apart.busy_s, rel=0.01)
    assert together.saved_s == pytest.approx(apart.saved_s, rel=0.01)
    assert together.saved_s > 0


def test_a_busy_neighbour_is_not_taken_for_looking_back():
    one = choice(POOL)
    for _ in range(100):
        one.observe([Part(1, 2)] * 16, 16, 10 * ROWS.mixed_s(16, 0), 0, 0)
    assert not one.pays
