"""Whether another layout of the KV cells would have been faster, by what has run."""

from dataclasses import replace

import pytest
from real_model import plan

from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.depth_trial import DepthTrial, try_depth
from edgellm.runner.pacing.layouts import LayoutChoice
from edgellm.runner.pacing.looks import FlashAttention, Part, PlainAttention
from edgellm.selector.plan import layout_of

ROW_S = 0.001
ROWS = StepCosts({1: ROW_S, 16: 16 * ROW_S}, {64: 64 * ROW_S, 512: 512 * ROW_S})
POOL = plan(flash_attention=None)
STREAMS = replace(POOL, kv_unified=False)
POOL, STREAMS = (
    replace(here, other_layouts=(layout_of(there),))
    for here, there in ((POOL, STREAMS), (STREAMS, POOL))
)
FLASH = replace(POOL, other_layouts=(layout_of(replace(POOL, flash_attention=False)),))
PLAIN = FLASH.other_layouts[0]
DEEP = [Part(1, 3000)]
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


def saved_s(one):
    (there,) = one.saved_s.values()
    return there


def test_strangers_in_a_pool_make_streams_pay_and_not_before_it_is_clear():
    one = choice(POOL)
    serve(one, 1)
    assert not one.better
    serve(one, 20)
    assert one.better
    at_home = choice(STREAMS)
    serve(at_home, 60)
    assert not at_home.better


def test_a_common_prefix_in_streams_makes_a_pool_pay_the_more_so_for_what_is_copied():
    one = choice(STREAMS)
    serve(one, 30, shared=ALIKE_SHARED)
    assert one.better
    at_home = choice(POOL)
    serve(at_home, 60, shared=ALIKE_SHARED)
    assert not at_home.better
    plain, copying = choice(STREAMS), choice(STREAMS)
    serve(plain, 10)
    serve(copying, 10, copied=30_000)
    assert saved_s(copying) > saved_s(plain)


def test_what_costs_more_than_it_would_have_saved_several_times_over_is_left():
    one = choice(POOL, change_s=20)
    serve(one, 60)
    assert not one.better


def test_a_load_that_has_gone_is_forgotten():
    one = choice(POOL)
    serve(one, 30)
    assert one.better
    serve(one, 200, [Part(1, 100)])
    assert not one.better


def seconds_until_it_pays(one, shared):
    for n in range(1, 200):
        serve(one, 1, shared=shared)
        if one.better:
            return n
    return 200


def test_who_lost_by_a_change_has_to_be_twice_as_sure_each_time():
    one = choice(POOL)
    n_served = []
    for _ in range(4):  # loads take turns, each until the other layout pays
        n_served.append(seconds_until_it_pays(one, 0 if one.here.kv_unified else ALIKE_SHARED))
        one.changed(one.better, 0.3)
        assert not one.better
    assert n_served[2] > 2 * n_served[0]
    assert n_served[3] > 2 * n_served[1]


def test_a_change_that_was_right_makes_the_next_one_as_easy_as_the_first():
    one, first = choice(POOL), choice(STREAMS)
    serve(one, 30)
    one.changed(one.better, 0.3)
    serve(one, 30)
    for each in (first, one):
        serve(each, 300, [Part(1, 100)])  # and then nothing tells
        assert not each.better
    at_first = seconds_until_it_pays(first, ALIKE_SHARED)
    assert seconds_until_it_pays(one, ALIKE_SHARED) < 1.1 * at_first


def test_steps_that_are_told_together_say_what_they_say_one_by_one():
    apart, together = choice(POOL), choice(POOL)
    step_s = 2 * ROWS.mixed_s(16, 0)
    for _ in range(16):
        apart.observe(STRANGERS, 16, step_s, 0, 0)
    together.observe(STRANGERS, 16, 16 * step_s, 0, 0, 16)
    assert together.busy_s == pytest.approx(apart.busy_s, rel=0.01)
    assert saved_s(together) == pytest.approx(saved_s(apart), rel=0.01)
    assert saved_s(together) > 0


def test_a_busy_neighbour_is_not_taken_for_looking_back():
    one = choice(POOL)
    for _ in range(100):
        one.observe([Part(1, 2)] * 16, 16, 10 * ROWS.mixed_s(16, 0), 0, 0)
    assert not one.better


# ── another kind of attention ────────────────────────────────────────────────


def trial(empty_s, look_s, cell_s=0.0, depth=2560):
    """Seconds of steps on empty memory, and behind so many tokens: each cell and look costs this
    more. (Of the cells that a step passes without flash attention, 2,304 are not always there.)"""
    empty = {1: empty_s, 4: 2 * empty_s}
    deep = {n: s + depth * (cell_s + n * look_s) for n, s in empty.items()}
    return DepthTrial(depth, empty, deep)


def deep(one, seconds=40):
    serve(one, seconds, DEEP)
    return one


def test_a_long_conversation_makes_the_other_attention_worth_a_trial():
    one = deep(choice(FLASH))
    assert one.better == PLAIN
    assert not one.has_tried
    short = choice(FLASH)
    serve(short, 60, [Part(1, 100)])
    assert short.better is None


def tried(flash, plain):
    """After a trial on a load that made it worth one."""
    one = deep(choice(FLASH))
    one.changed(PLAIN, 1.0)
    assert one.better is None
    one.learn(flash, plain)
    return one


def test_what_a_trial_bears_out_stays_and_goes_back_only_for_another_load():
    one = tried(trial(0.001, 4e-7), trial(0.0014, 1e-7))
    assert one.has_tried
    assert one.better is None
    deep(one)
    assert one.better is None
    serve(one, 240, [Part(1, 60)] * 2)
    assert one.better == layout_of(FLASH)


def test_what_a_trial_does_not_bear_out_is_gone_back_from_at_once_and_not_tried_again():
    one = tried(trial(0.001, 4e-7), trial(0.0014, 5e-7))
    assert one.better == layout_of(FLASH)
    one.changed(one.better, 1.0)
    deep(one, 300)
    assert one.better is None


def test_a_trial_that_tells_nothing_leaves_what_was_believed_and_is_made_again():
    one = tried(trial(0.001, 0.0), trial(0.0011, 1e-7))
    assert not one.has_tried
    assert one.better is None
    deep(one)
    assert one.better is None


def test_what_cannot_be_had_is_not_asked_for_again():
    one = deep(choice(FLASH))
    one.drop(PLAIN)
    assert deep(one, 300).better is None


def test_what_ran_in_a_layout_that_cannot_be_had_any_more_is_not_counted_again():
    both = replace(FLASH, other_layouts=(PLAIN, layout_of(replace(FLASH, kv_unified=False))))
    one = choice(both)
    deep(one)
    one.changed(both.other_layouts[1], 1.0)
    one.drop(layout_of(both))
    one.changed(PLAIN, 1.0)
    one.learn(trial(0.001, 4e-7), trial(0.0011, 1e-7))
    assert one.has_tried
    assert layout_of(both) not in one.saved_s


def test_layouts_that_can_try_different_numbers_of_rows_are_compared_by_those_of_both():
    few = DepthTrial(2560, {1: 0.001, 3: 0.002}, {1: 0.0012, 3: 0.0024})
    assert tried(trial(0.001, 4e-7), few).has_tried


def test_a_change_that_could_not_be_made_now_has_to_promise_twice_as_much():
    one, first = choice(FLASH), choice(FLASH)
    deep(one)
    one.postpone()
    assert one.better is None
    deep(one, 8)
    deep(first, 8)
    assert first.better == PLAIN
    assert one.better is None
    assert deep(one).better == PLAIN


def test_a_trial_tells_what_a_cell_and_a_look_cost():
    cost = trial(0.01, 3e-6, 2e-6).cost(FlashAttention())
    assert cost == pytest.approx((2e-6, 3e-6))
    plain = trial(0.01, 3e-6, 2e-6, depth=2560).cost(PlainAttention())
    assert plain.look == pytest.approx(3e-6 * 2560 / 2304)
    alone = DepthTrial(1000, {1: 0.01}, {1: 0.02}).cost(FlashAttention())
    assert alone == pytest.approx((1e-5, 0.0))  # of a single row both are one
    assert trial(0.01, -1e-6).cost(FlashAttention()) == (0.0, 0.0)


def test_steps_are_timed_behind_a_conversation_and_leave_it_as_it_was():
    now, decoded, cuts = [0.0], [], []

    def decode(rows):
        decoded.append(rows)
        now[0] += 0.2 if len(rows) > 1 else 0.01 * (1 + len(decoded) % 2)

    found = try_depth(decode, cuts.append, lambda: now[0], token=7, depth=600, n_most=9)
    assert found == pytest.approx({1: 0.01, 4: 0.2})
    assert [len(rows) for rows in decoded] == [1, 1, 1, 4]  # what takes long is timed once
    assert {row.pos for row in decoded[-1]} == {600, 601, 602, 603}
    assert cuts == [600] * 4
    assert list(try_depth(decode, cuts.append, lambda: now[0], token=7, depth=600, n_most=1)) == [1]
