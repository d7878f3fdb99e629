from dataclasses import replace

import pytest
from selector_machines import machine

from edgellm.meter.energy.joules import Counter, Meter, cost, interval_j, seen_twice
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


def test_a_meter_tells_when_its_slowest_device_has_told():
    meter = Meter()
    gpu = [Sample("gpu", float(t), power_w=100.0) for t in range(11)]
    npu = [Sample("npu", t, power_w=50.0) for t in (0.0, 5.0, 10.0)]
    blind = Sample("blind", 0.0)

    assert meter.add([gpu[0], npu[0], blind]) is None, "nothing to compare with"
    assert meter.add([gpu[1], npu[0], blind]) == 100.0, "the other has not told of energy yet"
    assert meter.add([gpu[5], npu[1], blind]) == 400.0 + 250.0
    assert [meter.add([one, npu[1], blind]) for one in gpu[6:10]] == [None] * 4
    assert meter.add([gpu[10], npu[2], blind]) == 500.0 + 250.0


def test_a_device_that_fell_silent_is_not_waited_for_longer_than_anybody_could_know():
    meter = Meter()
    lost = [Sample("lost", t, power_w=50.0) for t in (0.0, 1.0)]
    meter.add([Sample("gpu", 0.0, power_w=100.0), lost[0]])
    meter.add([Sample("gpu", 1.0, power_w=100.0), lost[1]])

    told = [meter.add([Sample("gpu", float(t), power_w=100.0)]) for t in range(2, 14)]
    assert told == [None] * 10 + [1100.0, 100.0]


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
