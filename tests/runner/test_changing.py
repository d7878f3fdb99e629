"""One model between a pool and streams, while nobody runs: what it keeps, and what it says."""

import random

import pytest
from layout_runs import POOL, TwoLayouts, Willing, changing, other
from runner_fakes import answer
from spill_runs import text
from worker_runs import endings, greedy, run_worker, shown, text_of

from edgellm.errors import EdgellmError
from edgellm.runner.batch import Batch, Forget, Row
from edgellm.runner.messages import Generate, Shutdown
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence


class House:
    """A scheduler that may be changed for another one, stepped until it rests."""

    def __init__(self, begins=POOL, **sizes):
        self.backend, self.lines = TwoLayouts(begins=begins, **sizes), []
        self.changing = changing(self.backend, log=self.lines.append, begins=begins)
        self.scheduler = Scheduler(self.backend.limits, Pace(0.1))
        self.n_asked = 0

    def run(self, prompt, n_output=4, *, rests=True):
        """`rests`: until all is tidied up, too."""
        sequence = Sequence(self.n_asked, list(prompt), len(prompt) + n_output)
        self.n_asked += 1
        self.scheduler.add(sequence)
        while not (self.scheduler.is_at_rest if rests else self.scheduler.idle):
            if batch := self.scheduler.schedule():
                sampled = self.backend.decode(batch).sampled
                for _ in self.scheduler.commit(batch, sampled):
                    pass
                self.scheduler.memory.observe(0.001)
            self.scheduler.check()
        said = sequence.tokens[sequence.n_prompt :]
        assert said == answer(prompt, n_output)
        return sequence

    def change(self):
        self.scheduler = self.changing.change(self.scheduler)
        self.scheduler.check()
        assert self.backend.limits.unified == self.changing.plan.kv_unified


both_ways = pytest.mark.parametrize("begins", [POOL, other(POOL)], ids=["pool", "streams"])


@both_ways
def test_a_conversation_goes_on_where_it_was_in_the_other_layout_and_back(begins):
    house = House(begins)
    talk = house.run(text(8, 150)).tokens
    for turn in (1, 2, 3):
        house.change()
        again = house.run([*talk, turn, 5, 6])
        assert again.n_cached >= len(talk) - 1
        talk = again.tokens
    here, there = begins.kv_unified, not begins.kv_unified
    assert house.backend.laid_out == [here, there, here, there]


def test_what_was_still_to_be_copied_out_is_carried_over():
    house = House()
    talk = house.run(text(8, 150), rests=False).tokens
    assert house.scheduler.memory.has_chores
    assert house.changing.is_due(house.scheduler)
    house.change()
    assert house.run([*talk, 9]).n_cached >= len(talk) - 1


@both_ways
def test_what_there_is_no_room_for_is_what_nobody_has_asked_for_in_the_longest(begins):
    house = House(begins, ram_bytes=700, n_cells=2048)
    talks = [house.run(text(first, 300)).tokens for first in (3, 4, 5)]
    house.change()
    assert 600 <= house.scheduler.memory.shelf_bytes <= 700
    assert house.run([*talks[2], 9]).n_cached >= 300
    assert house.run([*talks[0], 9]).n_cached < 300


def test_pieces_of_conversations_that_left_the_cells_become_whole_ones_by_way_of_them():
    house = House(n_cells=512)
    system = text(8, 200)
    talks = [house.run(system + text(first, 100), n_output=30).tokens for first in (11, 12, 13)]
    assert len(house.scheduler.memory.retained) < 3  # others made place for the last
    assert house.scheduler.memory.shelf_bytes
    house.change()
    assert all(house.run([*talk, 9]).n_cached >= len(talk) - 1 for talk in talks)


@both_ways
def test_what_is_carried_over_is_held_once(begins):
    house = House(begins)
    for first in (11, 12, 13):
        house.run(text(first, 150))
    assert not begins.kv_unified or house.scheduler.memory.shelf_bytes >= 450  # and in the cells
    house.change()
    assert house.scheduler.memory.shelf_bytes >= 450
    assert not house.backend.left


@both_ways
@pytest.mark.parametrize("error", [EdgellmError("llama.cpp wrote 0 of 9 bytes"), MemoryError()])
def test_what_cannot_be_copied_out_is_computed_again(begins, error):
    house, n_copied = House(begins), 0
    talks = [house.run(text(first, 150)).tokens for first in (11, 12)]
    decode = house.backend.decode

    def failing(batch):
        nonlocal n_copied
        n_copied += 1
        if n_copied > 1:
            raise error
        return decode(batch)

    house.backend.decode = failing
    house.change()
    del house.backend.decode
    assert n_copied == 2
    assert house.run([*talks[1], 9]).n_cached >= len(talks[1]) - 1
    assert house.run([*talks[0], 9]).n_cached == 0
    assert "what else there was is computed again" in house.lines[0]


def test_no_history_of_changes_loses_a_blob_or_a_right_answer():
    for seed in range(25):
        rng = random.Random(seed)
        house = House(rng.choice([POOL, other(POOL)]), ram_bytes=rng.choice((0, 500, 10_000)))
        texts = [[5], text(8, 200)]
        for _ in range(12):
            base = rng.choice(texts)[: rng.randint(1, 300)]
            tail = [rng.randint(3, 49) for _ in range(rng.randint(0, 60))]
            n_output, rests = rng.randint(1, 30), rng.random() < 0.5
            texts.append(house.run(base + tail, n_output, rests=rests).tokens)
            if rng.random() < 0.4:
                house.change()


@both_ways
def test_where_the_other_context_cannot_be_made_it_stays_as_it_was_and_is_not_tried_again(begins):
    house = House(begins)
    house.backend.refused = [not begins.kv_unified]
    talk = house.run(text(8, 150)).tokens
    house.change()
    assert house.changing.plan == begins
    assert not house.changing.is_due(house.scheduler)
    assert house.run([*talk, 7]).n_cached >= len(talk) - 1
    assert len(house.lines) == 1
    assert "no memory for a context" in house.lines[0]


def test_where_neither_context_can_be_made_the_worker_ends_with_the_reason():
    house = House()
    house.backend.refused = [True, False]
    with pytest.raises(EdgellmError, match="no memory for a context"):
        house.change()


def test_nothing_changes_while_somebody_runs_or_waits_or_other_threads_are_busy():
    backend = TwoLayouts()
    busy = [False]
    one = changing(backend, is_busy=lambda: busy[0])
    scheduler = Scheduler(backend.limits, Pace(0.1))
    assert one.is_due(scheduler)
    busy[0] = True
    assert not one.is_due(scheduler)
    busy[0] = False
    scheduler.add(Sequence(1, [5, 6], 8))
    assert not one.is_due(scheduler)


def test_steps_that_are_alike_are_counted_at_once_and_none_is_lost():
    class Counting(Willing):
        told = ()

        def observe(self, parts, n_decode, elapsed_s, n_shared, n_copied, n_steps=1):
            rows = tuple(part.n_rows for part in parts)
            self.told = *self.told, (rows, n_decode, n_steps, round(elapsed_s, 6))

    def step(*rows, n_prompt_rows=0, ops=()):
        rows = tuple(Row(i, 20, 5, True) for i, n in enumerate(rows) for _ in range(n))
        one.observe(Batch(ops, rows, n_prompt_rows), running, 0.001)

    choice = Counting(POOL, StepCosts({1: 0.01}, {16: 0.02}), 1, 1000)
    one = changing(TwoLayouts(), choice=choice)
    running = {i: Sequence(i, [5] * 20, 40) for i in range(3)}
    step(1, 2, n_prompt_rows=2)  # its one row with logits is none of those that follow
    for _ in range(20):
        step(1)
    step(1, 1)
    step(1, 1, ops=(Forget(2),))
    step(1)
    assert choice.told == (
        ((1, 2), 1, 1, 0.001), ((1,), 1, 16, 0.016), ((1,), 1, 4, 0.004),
        ((1, 1), 2, 1, 0.001), ((1, 1), 2, 1, 0.001),
    )  # fmt: skip


def test_a_worker_that_could_not_change_for_another_thread_does_when_that_is_done():
    backend, busy, waits = TwoLayouts(), [True, True, True], []

    def take(wait_s):
        waits.append(wait_s)
        return [Shutdown()] if len(backend.laid_out) > 1 or len(waits) > 10 else []

    one = changing(backend, is_busy=lambda: bool(busy and busy.pop()))
    run_worker(backend, take, lambda messages: None, changing=one)
    assert backend.laid_out == [True, False]
    assert max(waits) == 1.0


def test_each_request_ends_once_whenever_it_comes_to_a_worker_that_changes():
    backend, told = TwoLayouts(), []
    choice = Willing(POOL, StepCosts({1: 0.01}, {16: 0.02}), 1, 1000)
    prompts = {i: tuple(text(8 + i % 3, 70 + i)) for i in range(12)}
    waves = [[Generate(i, prompts[i], greedy(5))] for i in prompts]

    def take(wait_s):
        if wait_s < 1:  # somebody runs, or there is something to tidy up
            return []
        take.n_pauses += 1
        if take.n_pauses % 2:  # it is quiet for long enough to change; then the next one comes
            return []
        return waves.pop(0) if waves else [Shutdown()]

    take.n_pauses = 0
    run_worker(backend, take, told.extend, changing=changing(backend, choice=choice))
    assert len(backend.laid_out) > 6
    for i, prompt in prompts.items():
        assert len(endings(told, i)) == 1
        assert text_of(told, i) == shown(answer(list(prompt), 5))
