import pytest
from meter_samples import samples
from probe_fakes import FakeSources

from edgellm.meter.readers.jetson import JetsonSensor
from edgellm.probe.hardware import Device
from edgellm.probe.sources import NoAnswer


def test_a_jetsons_board_power_is_the_sum_of_its_rails():
    [sample] = samples("jetson-agx-orin", "nvidia")

    watts = (19560 * 262 + 19560 * 40 + 5000 * 800 + 5000 * 120) / 1e6
    assert sample.power_w == pytest.approx(watts)
    assert (sample.busy_ratio, sample.clock_hz) == (0.12, 612e6)
    assert (sample.temperature_c, sample.hotspot_c) == (43.25, 46.5)


def test_a_rail_of_all_that_comes_in_goes_before_the_sum():
    rails = "/sys/bus/i2c/devices/1-0040/hwmon/hwmon3"
    files = {}
    for n, label, millivolts, milliamperes in (
        (1, "VDD_IN", 5000, 2000),
        (2, "VDD_CPU", 5000, 500),
    ):
        files |= {
            f"{rails}/in{n}_label": label,
            f"{rails}/in{n}_input": str(millivolts),
            f"{rails}/curr{n}_input": str(milliamperes),
        }
    orin = Device("CUDA0", "nvidia", "Orin", "cuda", "host")

    assert JetsonSensor(FakeSources(files), [orin]).read()[0].power_w == 10.0
    files[f"{rails}/curr1_input"] = NoAnswer("denied", "Permission denied")
    assert JetsonSensor(FakeSources(files), [orin]).read()[0].power_w is None


def test_a_thor_has_no_load_file():
    [sample] = samples("jetson-agx-thor", "nvidia")

    assert (sample.busy_ratio, sample.clock_hz, sample.power_w) == (None, 1575e6, None)
