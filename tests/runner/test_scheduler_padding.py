"""Rows of nobody's, where a step of more rows is the shorter one."""

from dataclasses import replace

import pytest
from runner_fakes import FakeBackend, answer
from scheduler_runs import LIKES_FOUR, LIMITS, SPLIT, run

from edgellm.runner.batch import Row
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence


def padded(limits, costs=LIKES_FOUR):
    return Scheduler(limits, Pace(None, StepCosts(costs))), FakeBackend(limits)


def test_three_streams_take_a_row_of_nobodys_where_four_are_faster():
    scheduler, backend = padded(LIMITS)
    answers = run(scheduler, backend, [([5 + i, 6], 10) for i in range(3)])
    assert answers == {i: answer([5 + i, 6], 10) for i in range(3)}
    assert 5 <= backend.n_padded <= 10


def test_what_padding_saves_is_looked_at_again_now_and_then():
    scheduler, backend = padded(replace(LIMITS, n_cells=400))
    for i in range(3):
        scheduler.add(Sequence(i, [5 + i, 6], 92))
    sizes = []
    while len(scheduler.running) == 3 or scheduler.waiting:
        batch = scheduler.schedule()
        sizes.append(len(batch.rows) + len(batch.padding))
        list(scheduler.commit(batch, backend.decode(batch).sampled))
    assert 1 <= sizes.count(3) <= 3
    assert sizes.count(4) > 20


@pytest.mark.parametrize(
    "limits",
    [
        SPLIT,
        Limits(n_cells=6, n_ctx_seq=6, n_batch=16, n_seq_max=4, n_ids=4),  # no cell to spare
        Limits(n_cells=200, n_ctx_seq=100, n_batch=16, n_seq_max=3, n_ids=3),  # no id to spare
    ],
    ids=["split", "no cell", "no id"],
)
def test_nothing_is_padded_where_it_would_be_somebodys_place(limits):
    scheduler, backend = padded(limits)
    requests = [([5 + i], 2) for i in range(3)]
    assert run(scheduler, backend, requests) == {i: answer([5 + i], 2) for i in range(3)}
    assert backend.n_padded == 0


def test_nothing_is_padded_beyond_a_steps_rows():
    limits = replace(LIMITS, n_batch=2, n_seq_max=2, n_draft_rows=3)
    scheduler, backend = padded(limits, {1: 0.05, 2: 0.06, 3: 0.01})
    assert run(scheduler, backend, [([5], 9)]) == {0: answer([5], 9)}
    assert backend.n_padded == 0


def test_a_padded_batch_that_finds_no_slot_is_tried_without():
    scheduler, _ = padded(LIMITS)
    for i in range(3):
        scheduler.add(Sequence(i, [5 + i], 20))
    scheduler.commit(batch := scheduler.schedule(), {})
    batch = replace(batch, padding=(Row(3, 0, 5, wants_logits=True),))
    again = scheduler.relieve(batch)
    assert (again.rows, again.padding) == (batch.rows, ())
