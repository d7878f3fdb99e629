"""What leaves the KV cells and what comes back, decided without llama.cpp."""

import pytest
from runner_fakes import answer
from spill_runs import House, limits, text

from edgellm.runner.batch import Forget, Restore, Save
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace


def test_what_ended_is_copied_out_while_nothing_runs_and_stays_where_it_is():
    house = House(limits())
    house.run(text(5, 600))
    saves = house.done(Save)
    assert [(op.start, op.end) for op in saves] == [(0, 256), (256, 512), (512, 601)]
    assert house.scheduler.memory.used == 601
    assert len(house.scheduler.memory.retained) == 1


def test_the_next_turn_of_the_only_conversation_moves_nothing():
    house = House(limits())
    (first,) = house.run(text(5, 600))
    house.done(Save)
    (second,) = house.run([*first.tokens, 44, 45])
    assert (second.n_cached, second.n_restored) == (601, 0)
    assert not [op for op in house.ops if isinstance(op, Restore)]
    assert [(op.start, op.end) for op in house.done(Save)] == [(601, 605)]


def test_whoever_is_idle_leaves_the_cells_when_another_ones_steps_would_look_at_them():
    house = House(limits())
    house.run(text(5, 600))
    house.ask(text(6, 100), 5)
    house.step()
    assert house.backend.n_kv == house.scheduler.memory.n_kv == 256
    assert len(house.scheduler.memory.retained) == 0


def test_who_comes_the_moment_another_ends_has_the_low_cells_too():
    house = House(limits())
    house.ask(text(5, 900))
    while not house.scheduler.idle:
        house.step()
    house.ask(text(6, 100), 5)
    house.step()
    assert house.backend.n_kv == 256
    house.run()
    assert house.run([*text(5, 900), 44], n_output=300)[0].n_cached == 900


def test_whoever_is_in_nobodys_way_stays():
    house = House(limits())
    house.run(text(5, 100))
    house.ask(text(6, 50), 5)
    house.step()
    assert len(house.scheduler.memory.retained) == 1


def test_who_lies_scattered_leaves_after_all_others():
    house = House(limits(n_parallel=5))
    streams = [house.ask(text(5 + i, 20), 60 + i) for i in range(4)]
    while len(streams[0].tokens) < 78:
        house.step()
    house.ask(text(9, 300))
    while not house.scheduler.idle:
        house.step()
    kept = {one.seq_id: len(one.tokens) for one in house.scheduler.memory.retained.by_id.values()}
    assert sorted(kept.values()) == [79, 80, 81, 82, 301]
    house.done(Forget)
    house.ask(text(20, 600), 5)
    house.step()
    left = [kept[op.seq_id] for op in house.done(Forget) if op.seq_id in kept]
    assert left == [301, 79, 80], "of each kind the least recent first, until it is enough"


def test_what_left_comes_back_and_is_not_computed_again():
    house = House(limits())
    (first,) = house.run(text(5, 600))
    house.run(text(6, 600))
    computed = house.backend.n_computed
    (again,) = house.run([*first.tokens, 44], n_output=3)
    assert house.answers[again.request_id] == answer([*first.tokens, 44], 3)
    assert (again.n_cached, again.n_restored) == (601, 601)
    assert house.backend.n_computed - computed == 2 + 2


def test_a_shared_edge_is_copied_once():
    house = House(limits(n_parallel=8, n_retained=16))
    root = text(5, 300)
    house.run(*([*root, *text(10 + i, 40)] for i in range(8)))
    saves = house.done(Save)
    assert sum(op.end - op.start for op in saves) == 300 + 8 * 41


def test_of_a_part_that_is_shared_with_what_left_only_that_part_comes_back():
    house = House(limits())
    house.run(text(5, 600))
    house.run(text(6, 600))
    computed = house.backend.n_computed
    (other,) = house.run([*text(5, 400), 44, 44], n_output=3)
    assert house.answers[other.request_id] == answer([*text(5, 400), 44, 44], 3)
    assert other.n_cached == 256  # the next edge is longer than all that it may ever hold
    assert house.backend.n_computed - computed == 146 + 2
    (longer,) = house.run([*text(5, 400), 44, 45], n_output=300)
    assert longer.n_cached == 401
    assert house.answers[longer.request_id] == answer([*text(5, 400), 44, 45], 300)


def test_a_follower_waits_for_what_its_leader_copies_back_and_shares_its_cells():
    house = House(limits())
    (first,) = house.run(text(5, 600))
    house.run(text(6, 600))
    house.done(Restore)
    asked = house.run(*([*first.tokens, 40 + i] for i in range(3)), n_output=3)
    assert sum(isinstance(op, Restore) for op in house.ops) == 3
    assert [s.n_cached for s in asked] == [601, 602, 602]


def test_several_answers_to_one_prompt_compute_it_once():
    house = House(limits())
    asked = house.run(*[text(5, 600)] * 4, n_output=3)
    assert [s.n_cached for s in asked] == [0, 599, 599, 599]
    assert house.backend.n_computed == 600 + 3 * 1 + 4 * 2


def test_without_cache_prompt_nothing_comes_back():
    house = House(limits())
    (first,) = house.run(text(5, 600))
    house.run(text(6, 600))
    sequence = house.ask([*first.tokens, 44], 3, cache_prompt=False)
    house.run()
    assert sequence.n_cached == 0


def test_who_is_cancelled_while_it_waits_for_its_cells_leaves_nothing_behind():
    house = House(limits(), Pace(0.1))
    (first,) = house.run(text(5, 700))
    house.run(text(6, 700))
    house.ask(text(7, 20), 30)
    house.step()
    sequence = house.ask([*first.tokens, 44], 3)
    house.step()
    assert sequence.restoring
    house.scheduler.cancel(sequence.request_id)
    house.run()
    assert house.run([*first.tokens, 44])[0].n_cached == 701


def test_what_is_slower_to_copy_back_than_to_compute_is_computed():
    house = House(limits(), Pace(0.1, StepCosts({1: 0.01}, {512: 0.0512})))
    memory, n_restored = house.scheduler.memory, []
    for _ in range(4):
        house.run(text(5, 600))
        house.run(text(6, 600))
        memory.observe(0.001)  # what went out
        sequence = house.ask([*text(5, 600), 44], 3)
        house.step()
        memory.observe(1.0)  # 600 cells: 1.7 ms each, where a row takes 0.1
        house.run()
        n_restored.append(sequence.n_restored)
    assert n_restored == [600, 600, 0, 0], "the first tells nothing"


@pytest.mark.parametrize("shelf_bytes", [0, 50])
def test_without_room_on_the_shelf_an_idle_conversation_stays_until_its_cells_are_needed(
    shelf_bytes,
):
    house = House(limits(n_cells=1024, shelf_bytes=shelf_bytes))
    house.run(text(5, 600))
    house.run(text(6, 100))
    assert len(house.scheduler.memory.retained) == 2
    house.run(text(7, 500))
    assert not [seq for seq in house.scheduler.memory.retained.by_id.values() if seq.tokens[0] == 5]


def test_forgotten_cells_are_filled_again_before_higher_ones():
    house = House(limits())
    house.run(text(5, 700))
    for first in range(6, 12):
        house.run(text(first, 600))
        assert house.backend.n_kv <= 768
    assert sum(isinstance(op, Forget) for op in house.ops) > 6
