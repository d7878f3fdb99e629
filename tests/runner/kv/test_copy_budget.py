import pytest

from edgellm.runner.kv.copy_budget import CopyBudget
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace

N_CELLS = 10_000


def budget(target_s=0.1, step_s=0.05, out_s=None):
    """Steps of one stream take `step_s`; a cell takes `out_s` to copy out, once that is known."""
    made = CopyBudget(Pace(target_s, StepCosts({1: step_s}, {512: 1.0})), N_CELLS)
    if out_s:
        go_out(made, 1, out_s)
    return made


def go_out(budget, n_cells, elapsed_s):
    budget.went_out(n_cells)
    budget.observe(elapsed_s)


def come_back(budget, n_cells, elapsed_s):
    budget.came_back(n_cells)
    budget.observe(elapsed_s)


def taken(budget):
    """Cells that go out in this step."""
    n_cells = 0
    while n := budget.piece():
        budget.went_out(n)
        n_cells += n
    return n_cells


def test_where_nobody_counts_the_time_all_may_go():
    made = budget(target_s=None, out_s=1.0)
    made.begin(1)
    assert taken(made) == N_CELLS


def test_beside_a_stream_a_thirtieth_of_its_step_goes_out():
    made = budget(out_s=0.00001)
    made.begin(1)
    assert taken(made) == pytest.approx(0.03 * 0.05 / 0.00001, abs=16)


def test_what_is_too_little_for_a_piece_is_saved_up():
    made, n_taken = budget(out_s=0.0003), []  # five cells a step
    for _ in range(8):
        made.begin(1)
        n_taken.append(taken(made))
    assert n_taken == [0, 0, 0, 20, 0, 0, 0, 20]


@pytest.mark.parametrize(("n_decoding", "wait_s"), [(1, 0.3 * 0.1), (0, 1.0)])
def test_who_needs_the_room_may_take_what_a_wait_is_worth_but_once(n_decoding, wait_s):
    made = budget(out_s=0.0002)
    made.begin(n_decoding)
    taken(made)
    made.hurry()
    assert taken(made) == pytest.approx(wait_s / 0.0002, abs=16)
    made.hurry()
    assert taken(made) == 0


def test_what_comes_back_takes_as_long_as_it_takes_while_no_stream_runs():
    for n_decoding, n_most in ((0, N_CELLS), (1, 300)):
        made = budget(out_s=0.0001)
        made.begin(n_decoding)
        n_back = 0
        while made.may_come_back:
            made.came_back(100)
            n_back += 100
        assert n_back == n_most


@pytest.mark.parametrize(("way_back_s", "is_worth_it"), [(0.001, True), (0.003, False)])
def test_a_step_that_copies_both_ways_tells_what_the_known_way_out_leaves(way_back_s, is_worth_it):
    made = budget(out_s=0.1)
    for _ in range(2):
        made.went_out(10)
        come_back(made, 10, 10 * 0.1 + 10 * way_back_s)
    assert (
        made.is_worth_restoring(512, range(512), on_disk=False) == is_worth_it
    )  # a second to compute
    made = budget()
    for _ in range(2):
        made.went_out(10)
        come_back(made, 10, 100.0)
    assert made.is_worth_restoring(512, range(512), on_disk=False), "neither way is known"


def test_the_first_copy_back_tells_nothing():
    """It found no buffers for the device: if it were believed, no other would follow."""
    made = budget()
    come_back(made, 64, 10.0)
    assert made.is_worth_restoring(512, range(512), on_disk=False)
    come_back(made, 64, 10.0)
    assert not made.is_worth_restoring(512, range(512), on_disk=False)


def test_a_disk_that_is_slow_is_not_tried_again_because_the_way_back_is_unknown():
    made = budget()
    made.loaded(512, 2.0)
    assert not made.is_worth_restoring(512, range(512), on_disk=True)
    assert made.is_worth_restoring(512, range(512), on_disk=False)


def test_what_is_slower_to_copy_than_to_compute_is_computed():
    made = budget(out_s=0.0012)
    made.begin(1)
    assert not made.is_worth_saving(range(512))  # out and back: 1.2 s; to compute them, one
    made = budget(out_s=0.0004)
    made.begin(1)
    assert made.is_worth_saving(range(512))
    for _ in range(2):
        come_back(made, 512, 512 * 0.0004)
    assert made.is_worth_restoring(512, range(512), on_disk=False)
    assert not made.is_worth_restoring(512, range(16), on_disk=False)
    made.loaded(512, 2.0)
    assert not made.is_worth_restoring(512, range(512), on_disk=True)


def test_while_nobody_waits_only_the_way_back_counts():
    made = budget(out_s=0.01)
    for wait in (lambda: made.begin(1), lambda: made.beside_prompt(64), made.hurry):
        made.begin(0)
        assert made.is_worth_saving(range(512))
        wait()
        assert not made.is_worth_saving(range(512))
    for _ in range(2):
        come_back(made, 512, 1.2)
    made.begin(0)
    assert not made.is_worth_saving(range(512))  # 1.2 s; to compute them, one


def test_idle_cells_are_worth_hurrying_out_before_a_prompt_that_is_long_enough():
    made = CopyBudget(Pace(0.1, StepCosts({1: 0.05}, {512: 2.0})), N_CELLS)
    assert not made.is_worth_hurrying(10_000), "nobody knows what a copy takes"
    row_s = made._pace.costs.passing_s(1)
    go_out(made, 100, 100 * 300 * row_s)
    assert [made.is_worth_hurrying(n) for n in (0, 200, 400)] == [False, False, True]
