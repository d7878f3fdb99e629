import pytest
from meter_samples import samples
from probe_fakes import FakeSources

from edgellm.meter.readers.apple import MACMON, AppleSensor
from edgellm.probe.hardware import Device
from edgellm.probe.sources import capture_name

IOREG = '"PerformanceStatistics" = {"Device Utilization %"=37,"In use system memory"=123456789}'
V07 = {
    "temp": {"cpu_temp_avg": 43.7, "gpu_temp_avg": 36.9},
    "gpu_usage": [461, 0.0215],
    "all_power": 0.22,
}
V08 = {**V07, "gpu_freq_mhz": 500, "gpu_active_ratio": 0.09}


@pytest.mark.parametrize(("macmon", "clock_hz"), [(V07, 461e6), (V08, 500e6)])
def test_a_mac_with_macmon_in_two_versions(macmon, clock_hz):
    commands = {"ioreg -rc AGXAccelerator": IOREG, capture_name(MACMON): macmon}
    mac = Device("MTL0", "apple", "Apple M3", "metal", "host")

    [sample] = AppleSensor(FakeSources(commands=commands, system="Darwin"), [mac]).read()

    assert (sample.busy_ratio, sample.used_bytes) == (0.37, 123456789)
    assert (sample.temperature_c, sample.power_w, sample.clock_hz) == (36.9, 0.22, clock_hz)


def test_a_mac_without_macmon_knows_load_and_memory_and_asks_for_it_once():
    asked = []

    class Mac(FakeSources):
        def run(self, argv, timeout_s):
            asked.append(argv[0])
            return super().run(argv, timeout_s)

    sources = Mac(commands={"ioreg -rc AGXAccelerator": IOREG}, system="Darwin")
    sensor = AppleSensor(sources, [Device("MTL0", "apple", "M3", "metal", "host")])
    sensor.read()
    [sample] = sensor.read()

    assert (sample.busy_ratio, sample.used_bytes) == (0.37, 123456789)
    assert (sample.power_w, sample.temperature_c) == (None, None)
    assert asked == ["macmon", "ioreg", "ioreg"]


def test_a_captured_mac_tells_by_both_programs():
    [sample] = samples("apple-m3-max", "apple")
    assert (sample.busy_ratio, sample.used_bytes) == (0.42, 3221225472)
    assert (sample.power_w, sample.temperature_c) == (0.22, 36.9)
