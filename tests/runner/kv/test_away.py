"""Conversations of models that carry a state, whole in host memory: others have their place."""

import random
from dataclasses import replace

import pytest
from state_runs import KINDS, STREAMS, TURN_END, Run, random_history, random_limits, text

from edgellm.runner.batch import Copy, RestoreAll, SaveAll
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import State

KINDS = {
    name: replace(
        limits, state=replace(limits.state, fixed_bytes=limits.state.row_bytes, full_cell_bytes=2)
    )
    for name, limits in (KINDS | STREAMS).items()
    if limits.state.has_cells
}
each_kind = pytest.mark.parametrize("limits", KINDS.values(), ids=list(KINDS))


def crowded(limits: Limits, n: int = 12, n_output: int = 20) -> tuple[Run, list[list[int]]]:
    """More conversations than there are ids, or cells in one pool."""
    run = Run(replace(limits, n_cells=500) if limits.unified else limits)
    prompts = [[*text(80, seed=i), TURN_END, *text(90, seed=100 + i)] for i in range(n)]
    said = [run.turn(prompt, n_output)[0].tokens for prompt in prompts]
    run.ops.clear()
    return run, said


def away(run: Run):
    return run.scheduler.memory._away


@each_kind
def test_a_conversation_that_had_to_make_place_goes_on_where_it_ended(limits):
    run, said = crowded(limits)
    for first in said:
        again, n_computed = run.turn([*first, *text(10, seed=7)], n_output=2)
        assert again.n_cached == len(first) - 1  # the last token was told but never computed
        assert n_computed == 1 + 10 + 1
    assert [op for op in run.ops if isinstance(op, RestoreAll)]


@each_kind
def test_it_is_told_what_came_back_from_memory(limits):
    run, said = crowded(limits)
    back, _ = run.turn([*said[0], 7])
    assert back.n_restored == back.n_cached == len(said[0]) - 1
    here, _ = run.turn([*back.tokens, 8])
    assert here.n_restored == 0
    assert here.n_cached >= len(said[0]) - 1


@each_kind
def test_who_parts_from_one_that_went_away_begins_at_its_checkpoint(limits):
    run, said = crowded(limits)
    other, _ = run.turn([*said[0][:81], *text(50, seed=9)])
    assert other.n_cached == 81  # its first message's end
    again, _ = run.turn([*said[0], 7])
    assert again.n_cached == len(said[0]) - 1  # nor has it lost its end


@each_kind
def test_what_is_short_is_computed_again(limits):
    run = Run(limits)
    for i in range(12):
        run.turn(text(40, seed=i))
    assert not away(run)


@each_kind
def test_copies_take_half_of_the_memory_and_the_longest_unused_goes_first(limits):
    """Where nobody has checkpoints, all of it."""
    n_bytes = limits.state.whole_bytes(190)
    n_most = 2 if limits.state.is_nothing else 5
    tight = replace(limits, state=replace(limits.state, budget_bytes=n_most * n_bytes))
    run, said = crowded(tight)
    assert 0 < len(away(run)) <= 2
    oldest, _ = run.turn([*said[0], 7])
    assert oldest.n_cached == 0
    run, said = crowded(tight)
    newest = next(reversed(away(run).values())).kept.tokens
    again, _ = run.turn([*newest, 7, 8])
    assert again.n_cached == len(newest)


@each_kind
def test_without_memory_nothing_is_copied(limits):
    run, said = crowded(replace(limits, state=replace(limits.state, budget_bytes=10)))
    again, _ = run.turn([*said[0], 7])
    assert again.n_cached == 0
    assert not [op for op in run.ops if isinstance(op, SaveAll)]


@each_kind
def test_who_asks_for_no_cache_takes_no_copy(limits):
    run, said = crowded(limits)
    sequence = run.add([*said[0], 7])
    sequence.params = replace(sequence.params, cache_prompt=False)
    run.finish()
    assert sequence.n_cached == 0


@pytest.mark.parametrize("kind", ["sliding", "hybrid"])
def test_nothing_is_copied_for_who_cannot_come_in_yet(kind):
    limits = KINDS[kind]
    run = Run(replace(limits, n_cells=1000, state=replace(limits.state, budget_bytes=200_000)))
    prompts = [[*text(150, seed=i), TURN_END, *text(140, seed=50 + i)] for i in range(6)]
    said = [run.turn(prompt, n_output=8)[0].tokens for prompt in prompts]
    assert away(run)
    run.add(text(60, seed=99), n_output=440)
    for _ in range(4):
        run.step()
    run.ops.clear()
    waiting = [run.add([*each, 7], n_output=420) for each in said[:3]]
    for _ in range(50):
        run.step()
    assert [one.state for one in waiting] == [State.WAITING] * 3
    assert not [op for op in run.ops if isinstance(op, SaveAll | RestoreAll)]
    run.finish()
    assert [one.n_cached for one in waiting] == [len(each) - 1 for each in said[:3]]
    assert len([op for op in run.ops if isinstance(op, RestoreAll)]) == 3


@pytest.mark.parametrize("kind", [name for name in KINDS if "split" in name])
def test_what_is_copied_from_a_stream_is_who_came_back_to_it_in_the_same_step(kind):
    run = Run(KINDS[kind])
    ours, theirs = [*text(60, seed=1), TURN_END], [*text(60, seed=2), TURN_END]
    away, _ = run.turn([*theirs, *text(120, seed=3)])
    for i, n in enumerate((190, 300, 300)):
        run.turn(text(n, seed=4 + i))
    run.turn([*ours, *text(80, seed=7)])
    run.ops.clear()
    for prompt in (ours, away.tokens, theirs):
        run.add([*prompt, *text(40, seed=8)])
    run.step()
    (back,) = [op for op in run.ops if isinstance(op, RestoreAll)]
    assert [op.source for op in run.ops if isinstance(op, Copy)] == [back.target] * 2
    run.finish()


def test_nothing_slow_is_copied_while_somebody_reads_along():
    limits = KINDS["hybrid, split"]
    for byte_s, copies in ((1e-9, True), (1.0, False)):
        run = Run(limits)
        run.scheduler = Scheduler(limits, Pace(0.1))
        run.scheduler.memory._byte_s = byte_s
        for i in range(3):
            run.turn(text(100, seed=i))
        run.add(text(100, seed=7), n_output=300)
        while not any(s.n_output for s in run.scheduler.running.values()):
            run.step()
        run.scheduler.memory._byte_s = byte_s
        run.add(text(100, seed=8))
        for _ in range(4):
            run.step()
        assert bool(away(run)) is copies
        run.finish()


def test_no_history_loses_an_id_a_cell_a_blob_or_a_right_answer():
    n_restored = 0
    for seed in range(60):
        rng = random.Random(seed)
        limits = list(KINDS.values())[seed % len(KINDS)]
        run = random_history(rng, random_limits(rng, limits, rng.choice((0, 500, 3_000, 10_000))))
        run.step()  # what is copied out when somebody leaves
        assert len(run.backend.wholes) == len(away(run)), "a copy was forgotten in memory"
        n_restored += sum(s.n_restored > 0 for s in run.sequences.values())
    assert n_restored > 30
