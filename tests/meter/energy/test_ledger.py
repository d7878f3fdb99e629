import random
from collections import Counter as Counts

import pytest

from edgellm.meter.energy.joules import Counter, Meter
from edgellm.meter.energy.ledger import STEP_TOKENS, Ledger, Work
from edgellm.meter.sample import Sample


def sample(at_s, **more):
    return Sample("gpu", at_s, **more)


def test_a_step_is_shared_by_who_is_in_it_and_a_token_is_ones_own():
    alone, crowded = Work(1, step_share=10.0, n_tokens=10), Work(2, step_share=2.5, n_tokens=10)

    assert alone.weight == 10 * STEP_TOKENS + 10
    assert crowded.weight == 2.5 * STEP_TOKENS + 10


def test_idling_is_nobodys():
    ledger = Ledger()
    ledger.book(5.0)
    ledger.note([(1, 4.0), (2, 4.0)])
    ledger.book(8.0)

    assert ledger.idle_j == 5.0
    assert (ledger.close(1), ledger.close(2)) == (4.0, 4.0)
    assert ledger.close(1) is None, "a request is closed once"


def test_who_ends_between_two_readings_is_charged_by_the_last_price_and_the_next_pays():
    ledger = Ledger()
    ledger.note([(1, 10.0), (2, 10.0)])
    ledger.book(100.0)  # 5 J a unit
    ledger.note([(1, 4.0), (2, 6.0)])

    assert ledger.close(1) == 50.0 + 4.0 * 5.0
    ledger.book(80.0)
    assert ledger.close(2) == 50.0 + 60.0
    assert ledger.total_j == 180.0


def test_a_step_that_ends_in_an_idle_interval_does_not_make_idling_dearer():
    ledger = Ledger()
    for joules in (60.0, 90.0):  # the second holds the end of a step
        ledger.book(joules, 1.0)
    ledger.note([(1, 10.0)], busy_s=0.5)
    ledger.book(230.0, 1.0)

    assert ledger.close(1) == 230.0 - 30.0
    assert ledger.idle_j == 60.0 + 90.0 + 30.0


def test_work_whose_seconds_nobody_told_fills_its_interval():
    ledger = Ledger()
    ledger.book(60.0, 1.0)
    ledger.note([(1, 10.0)])
    ledger.note([(2, 10.0)], busy_s=0.1)
    ledger.book(100.0, 1.0)

    assert (ledger.close(1), ledger.close(2), ledger.idle_j) == (50.0, 50.0, 60.0)


def test_what_has_become_slower_pays_in_advance_by_its_seconds_not_by_its_tokens():
    ledger = Ledger()
    ledger.note([(1, 100.0)], busy_s=0.5)
    ledger.book(100.0, 1.0)  # 50 J: 100 W while it works, half a joule a unit
    ledger.note([(2, 10.0)], busy_s=0.5)  # others hold it up

    assert (ledger.close(1), ledger.close(2)) == (50.0, 50.0)


def test_of_two_engines_that_work_at_once_each_second_costs_half_of_the_machines():
    ledger = Ledger()
    for request_id in (1, 2):
        ledger.note([(request_id, 10.0)], busy_s=1.0)
    ledger.book(100.0, 1.0)
    for request_id in (3, 4):
        ledger.note([(request_id, 10.0)], busy_s=1.0)

    assert (ledger.close(3), ledger.close(4)) == (50.0, 50.0)


def test_an_instant_of_work_in_a_second_a_little_above_idling_does_not_make_the_next_ones_dear():
    ledger = Ledger()
    ledger.book(10.0, 1.0)
    ledger.note([(0, 1.0)], busy_s=0.001)
    ledger.book(15.0, 1.0)  # 5 J more, of which work took little
    crowd = range(1, 9)
    ledger.note([(request_id, 100.0) for request_id in crowd], busy_s=0.5)
    told_j = sum(ledger.close(request_id) for request_id in crowd)

    assert told_j == pytest.approx(0.5 * 15.0)
    ledger.book(40.0, 1.0)
    assert ledger.close(0) + told_j + ledger.idle_j == pytest.approx(ledger.total_j)


def test_a_debt_larger_than_a_reading_is_paid_by_the_following_ones():
    ledger = Ledger()
    ledger.note([(1, 10.0)])
    ledger.book(100.0)
    ledger.note([(1, 10.0)])
    charged = ledger.close(1)
    ledger.book(30.0)
    ledger.book(80.0)

    assert charged == 200.0
    assert ledger.idle_j == 10.0
    assert ledger.total_j == charged + ledger.idle_j


def test_work_that_no_reading_saw_makes_no_number():
    ledger = Ledger()
    ledger.note([(1, 10.0)])
    ledger.book(None)
    ledger.note([(1, 10.0), (2, 10.0)])
    ledger.book(40.0)

    assert (ledger.close(1), ledger.close(2)) == (None, 20.0)


def test_who_ended_before_the_first_reading_has_no_number_and_is_not_forgotten():
    ledger = Ledger()
    ledger.note([(1, 10.0), (2, 30.0)])

    assert ledger.close(1) is None
    ledger.book(40.0)
    assert (ledger.close(2), ledger.unclaimed_j, ledger.idle_j) == (30.0, 10.0, 0.0)


IDLE_W, STEP_W = 60.0, 35.0  # the board's at rest, and what each running request adds
WRAPS_AT_J = 5_000.0


def trace(seconds=300, seed=3):
    """Eight overlapping requests, at any moment: (power in watts, who runs), a millisecond each."""
    chance = random.Random(seed)
    spans = []
    for request_id in range(8):
        begins = chance.uniform(0, seconds * 0.7)
        spans.append((request_id, begins, begins + chance.uniform(20, 80)))
    for millisecond in range(seconds * 1000):
        at_s = millisecond / 1000
        running = [r for r, begins, ends in spans if begins <= at_s < ends]
        yield at_s, IDLE_W + STEP_W * len(running), running


def shares(work):
    """What was done since it was asked last."""
    told = [(r, Work(r, n / len(work), n).weight) for r, n in work.items()]
    work.clear()
    return told


def metered(sample_of):
    """Each second a reading, save one that is missing; each request closed as it ends. The true
    joules, the ledger, and each request's."""
    ledger, meter, paid = Ledger(), Meter(), {}
    true_j, alive, work = 0.0, set(), Counts()
    for millisecond, (at_s, watts, running) in enumerate(trace()):
        true_j += watts / 1000
        work.update(running)
        for request_id in alive - set(running):
            ledger.note(shares(work))
            paid[request_id] = ledger.close(request_id)
        alive = set(running)
        if millisecond % 1000 == 999 and int(at_s) != 150:  # the sampler misses second 150
            if work:
                ledger.note(shares(work))
            ledger.book(meter.add([sample_of(at_s, true_j, watts)]))
    return true_j, ledger, paid


def counted(wrapping):
    def sample_of(at_s, true_j, watts):
        return sample(at_s, energy_j=wrapping.add(true_j % WRAPS_AT_J))

    return sample_of


def powered(at_s, true_j, watts):
    return sample(at_s, power_w=watts)


@pytest.mark.parametrize(
    "sample_of", [counted(Counter(WRAPS_AT_J)), powered], ids=["counter", "watts"]
)
def test_requests_and_idle_add_up_to_all_the_energy_there_was(sample_of):
    """Known joules, eight overlapping requests, a counter that wraps, a gap of two seconds."""
    true_j, ledger, paid = metered(sample_of)
    first_second_j = IDLE_W  # before the first reading there was none to compare it with

    assert ledger.total_j == pytest.approx(true_j - first_second_j, rel=0.005)
    parts = sum(paid.values()) + ledger.idle_j + ledger.unclaimed_j
    assert parts == pytest.approx(ledger.total_j, rel=1e-9)
    assert sorted(paid) == list(range(8))
    assert min(paid.values()) > 0
    assert ledger.idle_j > 0
