import struct

import pytest
from meter_samples import samples
from probe_fakes import FakeSources, captured

from edgellm.meter.readers.amd import AmdSensor
from edgellm.probe.detect import detect
from edgellm.probe.hardware import Device
from edgellm.probe.sources import NoAnswer

CARD = "/sys/class/drm/card0"


def test_an_amd_card_is_read_by_its_files():
    machine = captured("rx7800xt")
    devices = detect(machine).accelerators

    [sample] = AmdSensor(machine, devices).read()

    assert sample.device_id == "0000:04:00.0"
    assert sample.used_bytes == 310000000
    assert sample.total_bytes == 17163091968
    assert sample.busy_ratio == 0.03
    assert sample.temperature_c == 45.0
    assert (sample.power_w, sample.power_limit_w) == (10.0, 236.0)
    assert sample.clock_hz == 95e6


def test_an_apu_has_power_under_its_other_name():
    machine = captured("strix-halo")

    [sample] = AmdSensor(machine, detect(machine).accelerators).read()

    assert (sample.power_w, sample.power_limit_w) == (12.0, None)


def test_a_sleeping_card_stays_asleep_and_has_no_numbers():
    machine = captured("sleeping-dgpu")

    [sample] = AmdSensor(machine, detect(machine).devices).read()

    assert sample.used_bytes is None
    assert sample.temperature_c is None


def test_a_data_centres_amd_card_has_a_hotspot_and_a_memory_temperature():
    one, other = samples("2xmi300x", "amd")

    assert (one.device_id, other.device_id) == ("0000:05:00.0", "0000:26:00.0")
    assert (one.temperature_c, one.hotspot_c, one.memory_c) == (41.0, 41.0, 36.0)
    assert (one.power_w, one.power_limit_w, one.n_lanes) == (138.0, 750.0, 16)


def amd(**files):
    device = f"{CARD}/device"
    sources = FakeSources({f"{device}/{path}": said for path, said in files.items()})
    sources.real_path = lambda path: "/sys/devices/0000:03:00.0"
    card = Device("0000:03:00.0", "amd", "RX 7900", "rocm", "0000:03:00.0")
    return AmdSensor(sources, [card]), sources


def metrics(content, residency=0):
    """gpu_metrics 1.6 (a card's), 1.9 (none of ours)."""
    data = bytearray(b"\xff" * 1664)
    struct.pack_into("<HBBHHHH", data, 0, len(data), 1, content, 61, 48, 0xFFFF, 743)
    struct.pack_into("<Q", data, 16, 65536)
    struct.pack_into("<IIIIII", data, 32, 0, 0, 0, residency, 0, 0)
    return bytes(data)


def test_amds_metrics_speak_where_there_is_no_hwmon():
    sensor, sources = amd(gpu_metrics=metrics(6, residency=5))
    [first] = sensor.read()
    sources.files[f"{CARD}/device/gpu_metrics"] = metrics(6, residency=9)
    [second] = sensor.read()
    [third] = sensor.read()

    assert (first.temperature_c, first.memory_c, first.power_w) == (61.0, 48.0, 743.0)
    assert (first.energy_j, first.throttle, first.sees_throttle) == (1.0, (), True)
    assert (second.throttle, third.throttle) == (("thermal",), ())


def test_hwmon_goes_before_amds_metrics():
    chip = "hwmon/hwmon2"
    files = {f"{chip}/temp1_input": "44000", f"{chip}/power1_input": "12000000"}
    [sample] = amd(gpu_metrics=metrics(6), **files)[0].read()

    assert (sample.temperature_c, sample.power_w) == (44.0, 12.0)


@pytest.mark.parametrize("said", [metrics(9), b"rubbish", NoAnswer("denied", "Permission denied")])
def test_metrics_that_are_not_understood_are_no_metrics(said):
    [sample] = amd(gpu_metrics=said)[0].read()

    assert (sample.temperature_c, sample.power_w, sample.energy_j) == (None, None, None)
    assert (sample.throttle, sample.sees_throttle) == ((), False)


def test_a_card_that_leaves_its_bus_is_left_out_until_it_is_back():
    sensor, sources = amd(**{"hwmon/hwmon2/temp1_input": "44000"})
    there = dict(sources.files)
    assert len(sensor.read()) == 1
    sources.files.clear()
    assert sensor.read() == ()
    assert sensor.read() == ()
    sources.files |= there

    assert sensor.read()[0].temperature_c == 44.0


def test_a_card_that_answers_no_more_on_its_bus_is_left_out_though_its_files_are_there():
    sensor, sources = amd(**{"hwmon/hwmon2/temp1_input": "44000"})
    sensor.read()
    sources.files["/sys/bus/pci/devices/0000:03:00.0/current_link_width"] = "63"

    assert sensor.read() == ()


def test_a_card_that_tells_nothing_is_still_there():
    sensor, sources = amd(**{"hwmon/hwmon2/temp1_input": "44000"})
    sensor.read()
    sources.files = dict.fromkeys(sources.files, NoAnswer("broken", "Input/output error"))

    [sample] = sensor.read()
    assert sample.temperature_c is None
