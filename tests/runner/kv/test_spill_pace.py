"""Copying out and back beside running streams, who must not notice."""

import pytest
from runner_fakes import answer
from spill_runs import House, limits, text

from edgellm.runner.batch import Restore, Save
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.looking_back import LookingBack
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.sequence import State


def one_ends_beside_a_writer(house, n_written, n_output):
    """A prompt of 500 tokens has been answered, and somebody writes on."""
    house.ask(text(7, 20), n_written)
    house.step()
    house.ask(text(5, 500), n_output)
    while len(house.scheduler.running) + len(house.scheduler.waiting) > 1:
        house.step()


@pytest.mark.parametrize("n_streams", [0, 1])
def test_who_finds_the_cells_full_is_let_in_at_once_where_no_stream_would_wait_for_it(n_streams):
    house = House(limits(), Pace(0.1, StepCosts({1: 0.01}, {512: 2.0})))
    house.run(text(9, 100))
    house.scheduler.memory.observe(0.05)  # half a millisecond a cell
    for first in (5, 6, 7):
        house.ask(text(first, 600), 1)
    while not house.scheduler.idle:
        house.step()
    house.done(Save)
    for first in range(n_streams):
        house.ask(text(20 + first, 10), 200)
        house.step()
    news = [house.ask(text(first, 600), 5) for first in (10, 11, 12)]
    house.step()
    n_waiting = sum(one.state is State.WAITING for one in news)
    assert n_waiting == 0 if not n_streams else n_waiting > 0


@pytest.mark.parametrize(("masks", "n_kv"), [(True, 1024), (False, 512)])
def test_idle_cells_make_way_at_once_where_every_row_is_computed_with_them(masks, n_kv):
    house = House(limits(masks_cells=masks), Pace(0.1, StepCosts({1: 0.01}, {512: 2.0})))
    house.run(text(9, 100))
    house.scheduler.memory.observe(0.05)  # half a millisecond a cell
    house.ask(text(5, 600), 1)
    while not house.scheduler.idle:
        house.step()
    asked = house.ask(text(6, 300), 5)
    house.step()
    house.step()
    assert house.backend.n_kv == n_kv
    while not house.scheduler.idle:
        house.step()
    assert house.answers[asked.request_id] == answer(text(6, 300), 5)


@pytest.mark.parametrize("n_beside", [0, 1])
def test_idle_cells_make_way_at_once_for_a_prompt_that_would_take_longer_to_pass_over_them(
    n_beside,
):
    costs = StepCosts({1: 0.01}, {512: 2.0}, looking_back=LookingBack(on_cpu=True))
    house = House(limits(), Pace(0.1, costs))
    house.run(text(9, 100))
    house.scheduler.memory.observe(0.005)  # 50 microseconds a cell, where 300 rows take 250
    house.ask(text(5, 600), 1)
    while not house.scheduler.idle:
        house.step()
    for _ in range(n_beside):  # whoever reads along isn't held up for it
        house.ask(text(8, 10), 50)
        house.step()
    house.ask(text(6, 300), 5)
    house.step()
    house.step()
    assert (house.backend.n_kv == 512) is (n_beside == 0)


def test_out_of_a_device_what_is_idle_is_copied_only_while_nothing_runs():
    house = House(limits(on_device=True), Pace(0.1, StepCosts({1: 0.001}, {512: 0.01})))
    house.ask(text(7, 20), 30)
    house.step()
    house.ask(text(5, 500), 1)
    for _ in range(20):
        house.step()
    assert not house.done(Save)
    house.run()
    assert sum(op.end - op.start for op in house.done(Save)) == 500 + 49
    house.ask(text(6, 100), 5)
    house.step()
    assert house.backend.n_kv == 256, "what is saved leaves at once"


def test_what_is_too_slow_beside_a_writer_is_copied_out_when_nothing_runs():
    house = House(limits(), Pace(0.1, StepCosts({1: 0.01}, {512: 0.0512})))
    house.run(text(9, 100))
    house.scheduler.memory.observe(1.0)  # 10 ms a cell, where a row takes 0.1
    house.done(Save)
    one_ends_beside_a_writer(house, 60, 1)
    for _ in range(10):
        house.step()
    assert not house.done(Save)
    house.run()
    assert sum(op.end - op.start for op in house.done(Save)) == 500 + 79


def test_on_a_device_nobody_is_saved_to_keep_another_one():
    house = House(limits(on_device=True, n_retained=1), Pace(0.1))
    house.ask(text(7, 20), 60)
    house.step()
    for first in (5, 6):
        house.ask(text(first, 100), 1)
        for _ in range(10):
            house.step()
    assert not house.done(Save)
    assert len(house.scheduler.memory.retained) == 1


def test_beside_running_streams_copying_goes_in_pieces():
    pace = Pace(0.1)
    house = House(limits(), pace)
    one_ends_beside_a_writer(house, 200, 1)
    house.done(Save)
    per_step = []
    for _ in range(40):
        house.step()
        per_step.append(sum(op.end - op.start for op in house.done(Save)))
        house.scheduler.memory.observe(per_step[-1] * 0.0002)  # 50 cells in 10 ms
    assert max(per_step[1:]) <= 50
    assert sum(per_step) == 500


def test_beside_short_steps_a_piece_waits_until_enough_of_them_have_passed():
    house = House(limits(), Pace(0.1, StepCosts({1: 0.002}, {512: 1.0})))
    house.run(text(9, 8))
    (saved,) = house.done(Save)
    house.scheduler.memory.observe(saved.end * 0.0002)
    one_ends_beside_a_writer(house, 500, 1)
    house.done(Save)
    per_step = []
    for _ in range(400):
        house.step()
        per_step.append(sum(op.end - op.start for op in house.done(Save)))
    assert 100 <= sum(per_step) <= 0.03 * 400 * 10 + 16, "of 400 steps of 10 cells each"
    assert {n for n in per_step if n} == {16}


def test_beside_running_streams_copying_back_takes_a_part_of_the_pace():
    house = House(limits(), Pace(0.1))
    (first,) = house.run(text(5, 700))
    house.run(text(6, 700))
    house.ask(text(7, 20), 100)
    house.step()
    house.done(Restore)
    sequence = house.ask([*first.tokens, 44], 3)
    per_step = []
    while not sequence.n_output:
        ops = [op for op in house.step().ops if isinstance(op, Restore)]
        restored = [house.backend.blobs[op.blob] for op in ops]
        per_step.append(sum(len(tokens) - start for start, tokens in restored))
        house.scheduler.memory.observe(per_step[-1] * 0.0002)  # 150 cells in 30 ms
    assert sum(per_step) == 701
    assert max(per_step) < 150 + 64, "what is under way when the time is up is a piece"
    assert len(per_step) <= 6
    assert house.answers[sequence.request_id] == answer([*first.tokens, 44], 1)


# 293 of the longest, and what it is thought to take for lying 490 tokens deep.
@pytest.mark.parametrize(
    ("n_more", "n_saved"), [(1, [0]), (40, range(16, 36)), (500, range(293, 305))]
)
def test_what_has_just_ended_takes_a_thirtieth_of_the_next_prompt_to_save(n_more, n_saved):
    """Its own next turn, mostly: it would be the one to wait."""
    house = House(limits(), Pace(0.1, StepCosts({1: 0.02}, {32: 0.2, 512: 2.0})))
    house.run(text(9, 8))
    (saved,) = house.done(Save)
    house.scheduler.memory.observe(saved.end * 0.0002)
    first = house.ask(text(5, 500), 2)
    while not house.scheduler.idle:
        house.step()
    house.done(Save)
    house.ask([*first.tokens[:490], *text(8, n_more)], 2)  # another answer than it got
    house.step()
    assert sum(op.end - op.start for op in house.done(Save)) in n_saved


def test_who_needs_the_cells_of_the_idle_waits_until_they_are_copied():
    house = House(limits(n_cells=1024), Pace(0.1))
    one_ends_beside_a_writer(house, 400, 2)
    waiting = house.ask(text(6, 500), 2)
    house.step()
    assert house.scheduler.waiting
    while house.scheduler.waiting:
        house.step()
    house.run()
    assert house.answers[waiting.request_id] == answer(text(6, 500), 2)
    assert house.run([*text(5, 500), 44])[0].n_restored > 400


def test_who_is_kept_out_for_want_of_cells_waits_a_part_of_the_pace_for_each_step():
    house = House(limits(n_cells=1024), Pace(0.1, StepCosts({1: 0.01}, {512: 0.5})))
    one_ends_beside_a_writer(house, 400, 2)
    house.scheduler.memory.observe(sum(op.end - op.start for op in house.done(Save)) * 0.0002)
    house.ask(text(6, 500), 2)
    per_step = []
    while house.scheduler.waiting:
        house.step()
        per_step.append(sum(op.end - op.start for op in house.done(Save)))
        house.scheduler.memory.observe(per_step[-1] * 0.0002)
    assert max(per_step) <= 150 + 16, "30 ms of 100, and what goes unnoticed"
    assert len(per_step) <= 5
