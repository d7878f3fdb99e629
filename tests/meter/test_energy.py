import random

import pytest

from edgellm.meter.energy import Counter, Ledger, interval_j, split
from edgellm.meter.sample import Sample


def sample(at_s, **more):
    return Sample("gpu", at_s, **more)


def test_a_counters_difference_goes_before_the_power():
    before = sample(0, energy_j=100.0, power_w=50.0)
    after = sample(1, energy_j=180.0, power_w=60.0)

    assert interval_j(before, after) == 80.0


def test_without_a_counter_it_is_the_mean_power_times_the_seconds():
    assert interval_j(sample(0, power_w=100.0), sample(2, power_w=200.0)) == 300.0


def test_a_counter_that_was_reset_falls_back_to_the_power():
    before = sample(0, energy_j=1e6, power_w=100.0)
    after = sample(1, energy_j=5.0, power_w=100.0)

    assert interval_j(before, after) == 100.0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (sample(0), sample(1)),
        (sample(0, power_w=10.0), sample(1)),
        (sample(0, energy_j=10.0), sample(1, power_w=5.0)),
        (sample(1, power_w=10.0), sample(1, power_w=10.0)),
        (sample(0, power_w=10.0), sample(60, power_w=10.0)),  # a minute that nobody watched
        (sample(0, energy_j=9.0), sample(1, energy_j=1.0)),
    ],
)
def test_what_no_sensor_saw_is_unknown(before, after):
    assert interval_j(before, after) is None


def test_a_counter_that_wraps_only_grows():
    counter = Counter(wraps_at=1000)

    assert [counter.add(n) for n in (900, 990, 50, 60)] == [0, 90, 150, 160]


def test_a_counter_without_a_known_end_that_falls_began_anew():
    counter = Counter()

    assert [counter.add(n) for n in (900, 20, 30)] == [0, 20, 30]


def test_a_request_pays_for_its_share_of_the_tokens():
    assert split(12.0, [(1, 3), (2, 1)]) == ((1, 9.0), (2, 3.0))
    assert split(12.0, []) == ()
    assert split(12.0, [(1, 0)]) == ()


def test_idling_is_nobodys():
    ledger = Ledger()
    ledger.book(5.0, [])
    ledger.book(8.0, [(1, 4), (2, 4)])

    assert ledger.idle_j == 5.0
    assert (ledger.close(1), ledger.close(2)) == (4.0, 4.0)
    assert ledger.close(1) is None, "a request is closed once"


def test_requests_and_idle_add_up_to_all_the_energy_there_was():
    """Known joules, eight overlapping requests, a counter that wraps, a gap of two seconds."""
    chance = random.Random(7)
    counter, ledger = Counter(wraps_at=5_000.0), Ledger()
    true_j, reading, at_s = 0.0, 4_000.0, 0.0
    before = sample(at_s, energy_j=counter.add(reading))
    for step in range(500):
        seconds = 2.0 if step == 250 else 1.0
        joules = chance.uniform(30, 400) * seconds
        true_j, at_s = true_j + joules, at_s + seconds
        reading = (reading + joules) % 5_000.0
        after = sample(at_s, energy_j=counter.add(reading))
        running = [(r, chance.randrange(9)) for r in range(8 if step % 10 else 0)]
        ledger.book(interval_j(before, after), running)
        before = after
    per_request = [ledger.close(r) for r in range(8)]

    assert ledger.total_j == pytest.approx(true_j, rel=1e-9)
    assert sum(per_request) + ledger.idle_j == pytest.approx(true_j, rel=1e-9)
    assert ledger.idle_j > 0
