"""Sequences with different adapters never share a step or a prefix, and none waits for ever."""

import itertools
import random

import pytest
from runner_fakes import FakeBackend, answer

from edgellm.chat.messages import GenerateParams
from edgellm.runner.kv.edge import BlobSize
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.pacing.turns import Turns
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

UNIFIED = Limits(
    n_cells=400, n_ctx_seq=100, n_batch=16, n_seq_max=4, n_ids=8, shares_prefixes=True
)  # fmt: skip
SPLIT = Limits(
    n_cells=400, n_ctx_seq=100, n_batch=16, n_seq_max=4, n_ids=4, shares_prefixes=True,
    unified=False,
)  # fmt: skip
SHELF = Limits(
    n_cells=120, n_ctx_seq=100, n_batch=16, n_seq_max=4, n_scratch=1, n_ids=9, shares_prefixes=True,
    shelf_bytes=2000, blob=BlobSize(base_bytes=0, cell_bytes=1),
)  # fmt: skip
every_layout = pytest.mark.parametrize(
    "limits", [UNIFIED, SPLIT, SHELF], ids=["unified", "split", "shelf"]
)

BASE, HALF, WHOLE, OTHER = (), ((0, 0.5),), ((0, 1.0),), ((1, 1.0),)
SETS = [BASE, HALF, WHOLE, OTHER, ((0, 0.5), (1, 0.25))]


def sequence(request_id, adapters, prompt=(5, 6, 7), n=10):
    params = GenerateParams(adapters=adapters)
    return Sequence(request_id, list(prompt), len(prompt) + n, params)


def backend_of(limits):
    backend = FakeBackend(limits)
    backend.load_adapter(0, b"one")
    backend.load_adapter(1, b"two")
    return backend


def run(scheduler, backend, *, step_s=0.01):
    """Step until idle: the answers by request id, and the set of each step."""
    answers, sets = {}, []
    while not scheduler.idle:
        batch = scheduler.schedule()
        if batch is None:
            continue
        sets.append(batch.adapters)
        for output in scheduler.commit(batch, backend.decode(batch).sampled):
            answers.setdefault(output.sequence.request_id, []).append(output.token)
        scheduler.budget.turns.observe(step_s)
        scheduler.check()
    return answers, sets


@every_layout
def test_each_answer_is_that_of_its_own_adapters(limits):
    scheduler = Scheduler(limits)
    for request_id, adapters in enumerate(SETS):
        scheduler.add(sequence(request_id, adapters))
    answers, _ = run(scheduler, backend_of(limits))
    assert answers == {i: answer([5, 6, 7], 10, adapters) for i, adapters in enumerate(SETS)}
    assert len({tuple(tokens) for tokens in answers.values()}) == len(SETS)


@every_layout
def test_equal_sets_are_batched_and_share_their_prefix(limits):
    scheduler, backend = Scheduler(limits), backend_of(limits)
    prompt = list(range(3, 43))
    for request_id in range(4):
        scheduler.add(sequence(request_id, HALF, [*prompt, request_id + 3], n=3))
    _, sets = run(scheduler, backend)
    assert backend.n_computed == len(prompt) + 4 * (1 + 2)
    assert set(sets) == {HALF}


@every_layout
def test_a_prefix_of_other_adapters_is_not_shared(limits):
    scheduler, backend = Scheduler(limits), backend_of(limits)
    prompt = list(range(3, 43))
    for adapters in (BASE, WHOLE, BASE):  # one after the other: what ended is retained
        scheduler.add(sequence(0, adapters, prompt, n=3))
        answers, _ = run(scheduler, backend)
        assert answers[0] == answer(prompt, 3, adapters)
    assert backend.n_computed == 2 * (40 + 2) + 1 + 2


@every_layout
def test_no_history_mixes_adapters(limits):
    for seed in range(60):
        rng = random.Random(seed)
        scheduler, backend = Scheduler(limits, Pace(0.05)), backend_of(limits)
        asked = {}
        for request_id in range(12):
            prompt = [*range(3, rng.randint(4, 45)), rng.randint(3, 9)]
            asked[request_id] = (prompt, rng.randint(1, 12), rng.choice(SETS))
        late = dict(asked)
        answers = {}
        while late or not scheduler.idle:
            while late and rng.random() < 0.3:
                request_id, (prompt, n, adapters) = late.popitem()
                scheduler.add(sequence(request_id, adapters, prompt, n))
            batch = scheduler.schedule()
            if batch is None:
                continue
            for output in scheduler.commit(batch, backend.decode(batch).sampled):
                answers.setdefault(output.sequence.request_id, []).append(output.token)
            scheduler.budget.turns.observe(rng.choice((0.001, 0.01, 0.1)))
            scheduler.check()
        assert answers == {i: answer(p, n, adapters) for i, (p, n, adapters) in asked.items()}


def test_no_stream_waits_longer_than_the_target():
    target_s, step_s = 0.1, 0.01
    scheduler = Scheduler(UNIFIED, Pace(target_s))
    for request_id, adapters in enumerate((BASE, HALF, OTHER)):
        scheduler.add(sequence(request_id, adapters, n=90))
    _, sets = run(scheduler, backend_of(UNIFIED), step_s=step_s)
    for adapters in (BASE, HALF, OTHER):
        at = [i for i, one in enumerate(sets) if one == adapters]
        gaps = [(after - before) * step_s for before, after in itertools.pairwise(at)]
        assert max(gaps) <= target_s + 1e-9
    n_changes = sum(a != b for a, b in itertools.pairwise(sets))
    assert n_changes < len(sets) / 2, "a set keeps its turn for some steps"


class Doubtful(StepCosts):
    """Wants to see a step of streams alone, and never sees enough of them."""

    doubtful = True


def test_prompts_are_read_also_where_only_streams_of_other_adapters_run():
    costs = Doubtful()
    costs.observe(1, 0, 0.001)
    scheduler = Scheduler(UNIFIED, Pace(0.1, costs))
    scheduler.add(sequence(0, BASE, n=90))
    backend = backend_of(UNIFIED)
    for _ in range(3):
        list(scheduler.commit(batch := scheduler.schedule(), backend.decode(batch).sampled))
        scheduler.budget.turns.observe(0.05)
    scheduler.add(sequence(1, HALF, prompt=range(3, 43), n=5))
    answers, sets = run(scheduler, backend, step_s=0.05)
    assert answers[1] == answer(list(range(3, 43)), 5, HALF)
    assert HALF in sets[:4], "it was not left for last"


def test_a_set_without_anything_to_compute_passes_its_turn_on():
    turns = Turns(Pace(0.1))
    running = [sequence(0, BASE), sequence(1, WHOLE)]
    assert [turns.next(running) for _ in range(4)] == [BASE, WHOLE, BASE, WHOLE]


def test_steps_longer_than_the_target_alternate():
    turns = Turns(Pace(0.05))
    running = [sequence(0, BASE), sequence(1, WHOLE)]
    seen = []
    for _ in range(6):
        seen.append(turns.next(running))
        turns.observe(0.2)
    assert seen == [BASE, WHOLE] * 3


def test_newcomers_do_not_push_in_before_those_who_wait():
    turns = Turns(Pace(0.05))
    running = [sequence(0, BASE), sequence(1, WHOLE)]
    first = turns.next(running)
    turns.observe(0.2)
    then = turns.next([*running, sequence(2, HALF), sequence(3, OTHER)])
    assert (first, then) == (BASE, WHOLE)


def test_a_set_that_runs_alone_keeps_its_turn():
    turns = Turns(Pace(0.05))
    for _ in range(100):
        assert turns.next([sequence(0, HALF)]) == HALF
        turns.observe(1.0)
    assert turns.next([]) == ()


class Took:
    """The mask of a structure that is hard to follow."""

    took_s = 0.05


def test_streams_with_long_masks_have_their_turns_among_those_of_their_set_too():
    scheduler, backend = Scheduler(UNIFIED, Pace(0.05)), backend_of(UNIFIED)
    streams = [sequence(i, BASE if i < 2 else WHOLE, n=90) for i in range(4)]
    for one in streams:
        one.mask = Took()
        scheduler.add(one)
    for _ in range(80):
        batch = scheduler.schedule()
        list(scheduler.commit(batch, backend.decode(batch).sampled))
        scheduler.budget.turns.observe(0.2)
    n_told = [one.n_output for one in streams]
    assert max(n_told) - min(n_told) <= 1
    assert sum(n_told) >= 80
