import random
from collections import Counter as Counts
from dataclasses import replace

import pytest
from selector_machines import machine

from edgellm.meter.energy import (
    STEP_TOKENS,
    Counter,
    Ledger,
    Meter,
    Work,
    cost,
    interval_j,
    seen_twice,
    split,
    weights,
)
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Device


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


def test_the_parts_add_up_to_the_whole():
    assert split(12.0, [(1, 3.0), (2, 1.0)]) == ((1, 9.0), (2, 3.0))
    assert split(12.0, []) == ()
    assert split(12.0, [(1, 0.0)]) == ()


def test_a_step_is_shared_by_who_is_in_it_and_a_token_is_ones_own():
    decoding, prefilling = Work(1, n_steps=10, n_tokens=10), Work(2, n_steps=2, n_tokens=1024)

    shares = dict(weights([decoding, prefilling], n_steps=10, step_tokens=60))

    assert shares[1] == pytest.approx(60 * 10 * 10 / 12 + 10)
    assert shares[2] == pytest.approx(60 * 10 * 2 / 12 + 1024)
    assert sum(shares.values()) == pytest.approx(60 * 10 + 1034)


def test_eight_who_decode_together_pay_an_eighth_each():
    crowd = weights([Work(n, 100, 100) for n in range(8)], n_steps=100)
    [alone] = weights([Work(0, 100, 100)], n_steps=100)

    assert {round(weight, 9) for _, weight in crowd} == {100 * STEP_TOKENS / 8 + 100}
    assert alone[1] == 100 * STEP_TOKENS + 100


def test_idling_is_nobodys():
    ledger = Ledger()
    ledger.book(5.0)
    ledger.note([(1, 4.0), (2, 4.0)])
    ledger.book(8.0)

    assert ledger.idle_j == 5.0
    assert ledger.so_far(1) == 4.0
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

    assert (ledger.so_far(1), ledger.close(1)) == (None, None)
    assert ledger.close(2) == 20.0


def test_who_ended_before_the_first_reading_has_no_number_and_is_not_forgotten():
    ledger = Ledger()
    ledger.note([(1, 10.0), (2, 30.0)])

    assert ledger.close(1) is None
    ledger.book(40.0)
    assert (ledger.close(2), ledger.unclaimed_j, ledger.idle_j) == (30.0, 10.0, 0.0)


def test_a_meter_adds_up_devices_at_their_own_paces():
    meter = Meter()
    gpu = [Sample("gpu", t, power_w=100.0) for t in (0.0, 1.0, 2.0)]
    npu = [Sample("npu", t, power_w=50.0) for t in (0.0, 5.0)]

    assert meter.add([gpu[0], npu[0]]) is None, "nothing to compare with"
    assert meter.add([gpu[1], npu[0]]) == 100.0, "one of them has nothing to add yet"
    assert meter.add([gpu[2], npu[0]]) == 100.0
    assert meter.add([gpu[2], npu[1]]) == 250.0
    assert meter.add([Sample("blind", 0.0)]) is None


def test_an_apus_watts_are_the_processors_where_that_has_a_counter():
    apu = Device("0000:c1:00.0", "amd", "Radeon 8060S", "vulkan", "host")
    plain = machine(ram=64)
    hardware = replace(plain, devices=(apu, *plain.devices))
    counted, blind = Sample("cpu", 0.0, energy_j=1.0), Sample("cpu", 0.0)

    assert seen_twice(hardware, [counted]) == {apu.id}
    assert seen_twice(hardware, [blind]) == frozenset()
    meter = Meter(leave_out=seen_twice(hardware, [counted]))
    meter.add([Sample(apu.id, 0.0, power_w=50.0), Sample("cpu", 0.0, energy_j=0.0)])
    assert meter.add([Sample(apu.id, 1.0, power_w=50.0), Sample("cpu", 1.0, energy_j=60.0)]) == 60.0


def test_a_kilowatt_hour_costs_its_price():
    assert cost(3.6e6, 0.30) == 0.30


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


def metered(sample_of):
    """Each second a reading, save one that is missing; each request closed as it ends. The true
    joules, the ledger, and each request's."""
    ledger, meter, paid = Ledger(), Meter(), {}
    true_j, alive, work = 0.0, set(), Counts()
    for millisecond, (at_s, watts, running) in enumerate(trace()):
        true_j += watts / 1000
        work.update(running)
        for request_id in alive - set(running):
            ledger.note(weights([Work(r, n, n) for r, n in work.items()], max(work.values())))
            work.clear()
            paid[request_id] = ledger.close(request_id)
        alive = set(running)
        if millisecond % 1000 == 999 and int(at_s) != 150:  # the sampler misses second 150
            if work:
                ledger.note(weights([Work(r, n, n) for r, n in work.items()], max(work.values())))
                work.clear()
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
