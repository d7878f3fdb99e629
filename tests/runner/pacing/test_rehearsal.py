import pytest

from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.rehearsal import rehearse


class Machine:
    """Takes so long for a row, and a second time for a graph that it has not seen yet."""

    def __init__(self, row_s, first_s=0.0):
        self.row_s, self.first_s, self.now_s = row_s, first_s, 0.0
        self.seen = []

    def decode(self, rows):
        assert len({(row.seq_id, row.pos) for row in rows}) == len(rows)
        if rows not in self.seen:
            self.now_s += self.first_s
        self.seen.append(rows)
        self.now_s += len(rows) * self.row_s

    def sizes(self, *, decode):
        streams = {len(rows) for rows in self.seen if all(row.wants_logits for row in rows)}
        prompts = {len(rows) for rows in self.seen if not all(row.wants_logits for row in rows)}
        return streams if decode else prompts


def measured(machine, n_decode_max=8, n_prompt_max=512, **more):
    told = rehearse(
        machine.decode, lambda: machine.now_s, 1,
        n_decode_max=n_decode_max, n_prompt_max=n_prompt_max, **more,
    )  # fmt: skip
    return StepCosts(told.decode, told.prompt, told.switch_s)


def test_on_a_fast_machine_all_sizes_up_to_what_may_run_are_measured():
    machine = Machine(1e-5)
    costs = measured(machine)
    assert machine.sizes(decode=True) == {1, 2, 3, 4, 5, 6, 7, 8}
    assert machine.sizes(decode=False) == {16, 64, 256, 512}
    assert costs.step_s(5) == pytest.approx(5e-5)


def test_the_first_time_of_a_size_does_not_count():
    assert measured(Machine(1e-5, first_s=1e-3)).step_s(4) == pytest.approx(4e-5)


def test_a_slow_machine_is_not_held_up_for_long_after_its_budget():
    machine = Machine(0.05)
    costs = measured(machine, budget_s=1.0)
    assert machine.now_s <= 1.5
    assert costs.step_s(4) == pytest.approx(0.2)


def test_what_takes_long_is_decoded_once():
    machine = Machine(0.001, first_s=0.001)
    measured(machine, n_decode_max=1, n_prompt_max=256, budget_s=9.0)
    assert [len(rows) for rows in machine.seen] == [1, 1, 1, 64, 64, 16, 16, 16, 256]


def test_one_decode_is_enough_where_even_that_is_too_slow():
    machine = Machine(30.0)
    assert measured(machine).step_s(1) == 30.0
    assert machine.sizes(decode=True) == {1}


def test_logits_are_never_wanted_of_more_rows_than_may_run():
    machine = Machine(1e-5)
    measured(machine, n_decode_max=3, n_prompt_max=20)
    assert machine.sizes(decode=True) == {1, 2, 3}
    assert machine.sizes(decode=False) == {16}


def test_rows_beyond_those_of_the_sequences_are_guesses_of_the_last_one():
    machine = Machine(1e-5)
    measured(machine, n_sequences=2)
    most = max(
        (rows for rows in machine.seen if rows[-1].wants_logits and rows[0].wants_logits), key=len
    )
    assert [(row.seq_id, row.pos) for row in most] == [(0, 0), *((1, pos) for pos in range(7))]


def test_what_another_number_of_rows_costs_is_measured_by_turns():
    class Switching(Machine):
        def decode(self, rows):
            self.now_s += 0.003 if self.seen and len(self.seen[-1]) != len(rows) else 0.0
            super().decode(rows)

    costs = measured(Switching(1e-4))
    assert costs.switch_s == pytest.approx(0.003)
    assert costs.step_s(4) == pytest.approx(4e-4)
    assert measured(Machine(1e-4)).switch_s == pytest.approx(0.0, abs=1e-9)


def test_what_is_recorded_the_second_time_and_played_from_the_third_is_measured_as_it_plays():
    class Recording(Machine):
        """A CUDA graph's life."""

        def decode(self, rows):
            sizes = [len(rows) for rows in self.seen[-2:]]
            if sizes[-1:] != [len(rows)]:
                self.now_s += 0.002
            elif sizes != [len(rows)] * 2:
                self.now_s += 0.004
            super().decode(rows)

    costs = measured(Recording(1e-4))
    assert costs.step_s(4) == pytest.approx(4e-4)
    assert costs.switch_s == pytest.approx((0.002 + 0.002 + 0.004) / 2)


def test_where_a_step_takes_long_nobody_asks_what_another_number_of_rows_costs():
    machine = Machine(0.06)
    assert measured(machine, n_decode_max=2, n_prompt_max=1, budget_s=9.0).switch_s == 0.0
    assert [len(rows) for rows in machine.seen] == [1, 1, 2]
