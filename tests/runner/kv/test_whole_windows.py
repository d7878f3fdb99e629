"""A window that still begins with the first token can be cut back: it is shared at any length."""

import random
from dataclasses import replace

import pytest
from state_runs import KINDS, Run, random_history, random_limits, text

from edgellm.runner.batch import Checkpoint

WINDOW = 200
WIDE = {
    name: replace(limits, state=replace(limits.state, n_window=WINDOW), n_cells=4000)
    for name, limits in KINDS.items()
    if limits.state.n_window
}
each_layout = pytest.mark.parametrize("limits", WIDE.values(), ids=list(WIDE))


def n_copies(run):
    return sum(isinstance(op, Checkpoint) for op in run.ops)


@each_layout
def test_who_comes_when_a_prompt_has_been_read_beyond_what_is_common_shares_it(limits):
    run = Run(limits)
    leader = run.add([*text(100), *text(80, seed=1)])
    while leader.n_computed <= 100:
        run.step()
    followers = [run.add([*text(100), *text(10, seed=2 + i)]) for i in range(3)]
    run.finish()
    assert [s.n_cached for s in followers] == [100] * 3


@each_layout
def test_a_long_step_ends_where_the_window_is_whole_yet(limits):
    """Who comes while it computes shares it, and so does who comes when it has ended."""
    run = Run(replace(limits, state=replace(limits.state, n_window=400), n_batch=2048))
    run.add([*text(390), *text(50, seed=1)])
    run.step()
    followers = [run.add([*text(390), *text(10, seed=2 + i)]) for i in range(3)]
    run.finish()
    last, _ = run.turn([*text(300), *text(10, seed=6)])
    assert [s.n_cached for s in (*followers, last)] == [390, 390, 390, 300]


@each_layout
def test_one_copy_serves_all_who_part_from_it(limits):
    run = Run(limits)
    leader = run.add([*text(100), *text(80, seed=1)])
    while leader.n_computed <= 100:
        run.step()
    before = n_copies(run)
    for n in (100, 60, 80):
        run.add([*text(n), 5, 6])
    run.step()
    assert [s.n_cached for s in run.sequences.values()] == [0, 100, 60, 80]
    assert n_copies(run) == before + 1
    run.finish()


@each_layout
@pytest.mark.parametrize("n_common", [70, 120])
def test_what_has_ended_is_gone_on_from_where_another_prompt_parts(limits, n_common):
    run = Run(limits)
    run.turn(text(150))
    other, n_computed = run.turn([*text(n_common), *text(10, seed=1)])
    assert other.n_cached == n_common
    assert n_computed == 10 + 3


@each_layout
def test_a_window_that_has_moved_on_is_not(limits):
    run = Run(limits)
    run.turn(text(WINDOW + 100))
    other, _ = run.turn([*text(WINDOW + 50), *text(10, seed=1)])
    assert other.n_cached == 0


@each_layout
@pytest.mark.parametrize("n_computed", [WINDOW - 1, WINDOW])
def test_in_one_pool_a_full_window_loses_its_first_cell_to_whoever_computes_next(
    limits, n_computed
):
    run = Run(limits)
    run.backend.adapters = {1: b"one"}
    leader = run.add(text(30), n_output=WINDOW)  # too short for a checkpoint
    other = run.add(text(30, seed=1), n_output=2 * WINDOW)
    other.params = replace(other.params, adapters=((1, 0.5),))  # so each has steps of its own
    while leader.n_computed < n_computed:
        run.step()
    run.step()
    assert leader.n_computed == n_computed
    follower = run.add([*leader.tokens[:100], 5, 6])
    run.step()
    is_lost = limits.unified and n_computed == WINDOW
    assert follower.n_cached == (0 if is_lost else 100)


@each_layout
def test_a_few_tokens_are_computed_sooner_than_a_window_is_copied(limits):
    run = Run(limits)
    run.turn(text(100))
    other, _ = run.turn([*text(20), *text(60, seed=1)])
    assert other.n_cached == 0


@each_layout
def test_without_room_for_a_copy_it_is_computed(limits):
    run = Run(replace(limits, state=replace(limits.state, budget_bytes=10)))
    leader = run.add([*text(100), *text(80, seed=1)])
    while leader.n_computed <= 100:
        run.step()
    follower = run.add([*text(100), *text(10, seed=2)])
    run.finish()
    assert follower.n_cached == 0


def test_no_history_cuts_a_window_back_too_far():
    n_cached = 0
    for seed in range(40):
        rng = random.Random(seed)
        limits = list(WIDE.values())[seed % len(WIDE)]
        limits = replace(limits, state=replace(limits.state, n_window=rng.choice((60, 120))))
        run = random_history(rng, random_limits(rng, limits, rng.choice((0, 1_000, 5_000, 50_000))))
        n_cached += sum(s.n_cached for s in run.sequences.values())
    assert n_cached > 10_000
