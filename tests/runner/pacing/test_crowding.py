"""A machine that is known: what a step takes with so many threads, and what they get of the CPU."""

import pytest

from edgellm.runner.pacing.crowding import ThreadCount


class Machine:
    """Of `n_cores` others take `n_taken` for themselves. Where there are more threads than cores,
    some have half of one, and all wait for them: a step takes `wait_ratio` times as long."""

    def __init__(self, n_cores, *, alone_s=0.02, wait_ratio=3.0):
        self.n_cores, self.alone_s, self.wait_ratio = n_cores, alone_s, wait_ratio
        self.n_taken = 0.0
        self.now_s = 0.0

    def step(self, threads, n_rows=1, **reads):
        n = threads.of(n_rows, **reads)
        lost = max(0.0, n + self.n_taken - self.n_cores)
        elapsed_s = self.alone_s * self.n_cores / n * n_rows * (self.wait_ratio if lost else 1.0)
        self.now_s += elapsed_s
        threads.observe(n_rows, elapsed_s, (n - lost / 2) * elapsed_s, **reads)
        return n

    def run(self, threads, seconds, n_rows=1, **reads):
        """How many threads computed each second's worth of steps, on average."""
        end_s, seen = self.now_s + seconds, []
        while self.now_s < end_s:
            seen.append(self.step(threads, n_rows, **reads))
        return sum(seen) / len(seen)


@pytest.mark.parametrize("n_cores", [1, 2, 8])
def test_alone_all_threads_compute(n_cores):
    machine, threads = Machine(n_cores), ThreadCount(n_cores)
    assert machine.run(threads, 60) == n_cores


@pytest.mark.parametrize(("n_cores", "n_taken", "left"), [(2, 1, 1), (8, 1, 7), (8, 3, 5)])
def test_beside_busy_neighbours_the_cores_that_are_left_are_used(n_cores, n_taken, left):
    machine, threads = Machine(n_cores), ThreadCount(n_cores)
    machine.n_taken = n_taken
    machine.run(threads, 5)
    assert machine.run(threads, 60) == pytest.approx(left, abs=0.1)


def test_all_threads_compute_again_soon_after_the_neighbour_has_gone():
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 60)
    machine.n_taken = 0
    machine.run(threads, 9)
    assert machine.run(threads, 60) == 2


@pytest.mark.parametrize("n_rows", [20, 100, 256])
def test_a_server_that_reads_prompts_in_every_step_sees_too_that_the_neighbour_has_gone(n_rows):
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 60)
    machine.run(threads, 60, n_rows, reads_prompt=True)  # some looks are in vain
    machine.n_taken = 0
    machine.run(threads, 20, n_rows, reads_prompt=True)
    assert threads.of(20, reads_prompt=True) == 2
    assert machine.run(threads, 60, 20, reads_prompt=True) == 2


def test_a_trial_that_meets_only_prompts_ends_and_all_threads_are_looked_at_again():
    machine, threads = Machine(8), ThreadCount(8)
    machine.n_taken = 3
    machine.run(threads, 5)
    machine.n_taken = 5
    while threads.of(1) == threads.of(20, reads_prompt=True):
        machine.step(threads)  # until fewer are tried
    machine.n_taken = 0
    machine.run(threads, 30, 20, reads_prompt=True)
    assert threads.of(20, reads_prompt=True) == 8


def test_a_pause_of_the_neighbours_is_not_taken_for_its_end():
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 60)
    while machine.step(threads, 5, reads_prompt=True) == 1:
        pass
    machine.n_taken = 0
    while machine.step(threads, 5, reads_prompt=True) == 1:
        pass  # the next look is a good one
    machine.n_taken = 1
    machine.run(threads, 2, 5, reads_prompt=True)
    assert threads.of(1) == 1


def test_a_look_says_nothing_of_what_steps_take_beside_threads_of_our_own():
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 60)
    while threads.of(20, reads_prompt=True) == 1:
        machine.step(threads, 20, reads_prompt=True)
    assert threads.slowdown(1) == 1


def test_beside_a_neighbour_that_stays_prompts_are_held_up_little_by_looking():
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 60)
    began_s, n_looks = machine.now_s, 0
    for _ in range(200):
        n_looks += machine.step(threads, 20, reads_prompt=True) == 2
    assert n_looks > 0
    lost_s = n_looks * 20 * 0.02 * 3
    assert lost_s < 0.12 * (machine.now_s - began_s)
    assert threads.of(1) == 1


def test_looking_whether_the_neighbour_has_gone_takes_little():
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 30)
    n_before, began_s = 0, machine.now_s
    for _ in range(1000):
        n_before += machine.step(threads) == 2
    lost_s = n_before * 0.02 * 3
    assert 0 < lost_s < 0.02 * (machine.now_s - began_s)


def test_where_fewer_threads_are_no_faster_all_go_on_and_trials_get_rare():
    machine, threads = Machine(2, wait_ratio=1.2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 60)
    assert machine.run(threads, 120) > 1.98


def test_steps_of_other_sizes_are_not_compared():
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 0.3)  # steps of one row: they were seen
    assert threads.of(1) == 1  # a trial has begun
    for n_rows in range(2, 14):
        machine.step(threads, n_rows)
    assert threads.of(1) == 2  # nothing was learnt, and nothing is changed


def test_a_long_chunk_of_a_prompt_has_all_threads_and_is_no_trial():
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 5)
    assert threads.of(1) == 1
    assert [machine.step(threads, n_rows=256) for _ in range(20)] == [2] * 20
    assert threads.of(1) == 1


def test_threads_of_our_own_have_a_core_each():
    threads = ThreadCount(4)
    assert [threads.of(1, n_beside) for n_beside in range(6)] == [4, 3, 2, 1, 1, 1]
    assert threads.of(256, 1) == 4


def test_what_steps_take_beside_threads_of_our_own_is_known_beforehand():
    assert [ThreadCount(4).slowdown(n_beside) for n_beside in (0, 1, 2, 9)] == [1, 4 / 3, 2, 4]
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 5)
    assert threads.slowdown(1) == 1  # one thread computes anyway


def test_a_prompts_short_chunk_is_computed_by_as_many_threads_as_is_settled():
    machine, threads = Machine(8), ThreadCount(8)
    machine.n_taken = 3
    machine.run(threads, 5)
    assert threads.of(20) == 5
    assert threads.of(20, reads_prompt=True) == threads.of(100, reads_prompt=True) == 5
    assert threads.of(20, n_beside=4, reads_prompt=True) == 4


def test_no_prompts_chunk_takes_part_in_a_trial():
    machine, threads = Machine(2), ThreadCount(2)
    machine.n_taken = 1
    machine.run(threads, 0.3)
    assert threads.of(1) == 1  # a trial has begun, and nothing is settled
    assert threads.of(20, reads_prompt=True) == 2
