import pytest
from meter_samples import samples
from probe_fakes import FakeSources

from edgellm.meter.readers.intel import IntelSensor
from edgellm.probe.hardware import Device
from edgellm.probe.sources import NoAnswer

CARD = "/sys/class/drm/card0"
ARC = Device("0000:03:00.0", "intel", "Arc B580", "vulkan", "0000:03:00.0")
IGPU = Device("0000:00:02.0", "intel", "Iris Xe", "vulkan", "host")


def intel(device, **files):
    sources = FakeSources({f"{CARD}/{path}": text for path, text in files.items()})
    sources.real_path = lambda path: f"/sys/devices/{device.id}"
    return IntelSensor(sources, [device]), sources


def test_an_arc_card_is_read_by_its_files():
    [sample] = samples("arc-b580", "intel")

    assert (sample.temperature_c, sample.memory_c) == (48.0, 52.0)
    assert (sample.energy_j, sample.power_w) == (pytest.approx(8123.456789), None)
    assert (sample.power_limit_w, sample.clock_hz) == (190.0, 2850e6)
    assert (sample.throttle, sample.sees_throttle) == ((), True)


def test_intels_power_and_load_are_differences():
    energy, idle = "device/hwmon/hwmon1/energy1_input", "device/tile0/gt0/gtidle/idle_residency_ms"
    sensor, sources = intel(ARC, **{energy: "5000000", idle: "1000"})
    [first] = sensor.read()
    sources.files[f"{CARD}/{energy}"] = "9000000"
    [second] = sensor.read()
    seconds = second.at_s - first.at_s

    assert (first.power_w, first.busy_ratio) == (None, None)
    assert second.power_w == pytest.approx(4.0 / seconds, rel=0.01)
    assert second.busy_ratio == 1.0, "it has not idled since"


def test_an_integrated_gpus_counter_is_the_processors_and_not_told_twice():
    sensor, _ = intel(IGPU, **{"device/hwmon/hwmon1/energy1_input": "5000000"})

    assert sensor.read()[0].energy_j is None


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("device/tile0/gt0/freq0/throttle/reason_thermal", "thermal"),
        ("device/tile0/gt0/freq0/throttle/reason_pl1", "power_cap"),
        ("gt/gt0/throttle_reason_prochot", "thermal"),
        ("gt/gt0/throttle_reason_pl4", "power_brake"),
    ],
)
def test_intels_reasons_of_throttling_under_both_drivers(file, reason):
    device = {"device/vendor": "0x8086"}

    assert intel(ARC, **device, **{file: "1\n"})[0].read()[0].throttle == (reason,)
    assert intel(ARC, **device, **{file: "0\n"})[0].read()[0].throttle == ()


def test_a_card_that_leaves_its_bus_is_left_out_until_it_is_back():
    sensor, sources = intel(ARC, **{"device/hwmon/hwmon1/temp1_input": "44000"})
    there = dict(sources.files)
    assert len(sensor.read()) == 1
    sources.files.clear()
    assert sensor.read() == ()
    assert sensor.read() == ()
    sources.files |= there

    assert sensor.read()[0].temperature_c == 44.0


def test_a_card_that_tells_nothing_is_still_there():
    sensor, sources = intel(ARC, **{"device/hwmon/hwmon1/temp1_input": "44000"})
    sensor.read()
    sources.files = dict.fromkeys(sources.files, NoAnswer("broken", "Input/output error"))

    [sample] = sensor.read()
    assert sample.temperature_c is None
