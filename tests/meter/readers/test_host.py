import pytest
from probe_fakes import FakeSources

from edgellm.meter.readers.host import HostSensor
from edgellm.probe.sources import NoAnswer
from edgellm.units import GIB

RAPL = "/sys/class/powercap/intel-rapl:0"
HWMON = "/sys/class/hwmon/hwmon1"
MEMINFO = {"/proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 6291456 kB\n"}


def host(**files):
    sources = FakeSources(MEMINFO | files)
    return HostSensor(sources), sources


def test_memory_in_use_is_what_is_not_free():
    sensor, _ = host()
    [sample] = sensor.read()

    assert sample.device_id == "cpu"
    assert (sample.used_bytes, sample.total_bytes) == (2 * GIB, 8 * GIB)
    assert 0.0 <= sample.busy_ratio <= 1.0


def test_a_machine_without_sensors_has_no_numbers():
    sensor, _ = host()
    [sample] = sensor.read()

    assert (sample.temperature_c, sample.power_w, sample.energy_j, sample.clock_hz) == (None,) * 4


@pytest.mark.parametrize(
    "files",
    [
        {f"{HWMON}/name": "k10temp\n", f"{HWMON}/temp1_input": "48250\n"},
        {f"{HWMON}/name": "coretemp\n", f"{HWMON}/temp1_input": "48250\n"},
        {
            "/sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "/sys/class/thermal/thermal_zone0/temp": "48250\n",
        },
        {
            f"{HWMON}/name": "nvme\n",
            f"{HWMON}/temp1_input": "70000\n",
            "/sys/class/hwmon/hwmon2/name": "k10temp\n",
            "/sys/class/hwmon/hwmon2/temp1_input": "48250\n",
        },
    ],
)
def test_the_processors_temperature_is_told_from_a_disks(files):
    sensor, _ = host(**files)

    assert sensor.read()[0].temperature_c == 48.25


def test_rapl_counts_packages_takes_out_wraps_and_gives_power():
    sensor, sources = host(
        **{
            f"{RAPL}/name": "package-0\n",
            f"{RAPL}/energy_uj": "9000000\n",
            f"{RAPL}/max_energy_range_uj": "10000000\n",
            "/sys/class/powercap/intel-rapl:0:0/name": "core\n",
            "/sys/class/powercap/intel-rapl:0:0/energy_uj": "1\n",
            "/sys/class/powercap/intel-rapl:1/name": "psys\n",
            "/sys/class/powercap/intel-rapl:1/energy_uj": "1\n",
        }
    )
    [first] = sensor.read()
    sources.files[f"{RAPL}/energy_uj"] = "2000000\n"  # over the end, and 2 J more
    [second] = sensor.read()

    assert (first.energy_j, first.power_w) == (0.0, None)
    assert second.energy_j == pytest.approx(3.0)
    assert second.power_w == pytest.approx(3.0 / (second.at_s - first.at_s), rel=0.05)


def test_a_counter_that_only_root_may_read_is_no_counter():
    sensor, _ = host(
        **{
            f"{RAPL}/name": "package-0\n",
            f"{RAPL}/energy_uj": NoAnswer("denied", "Permission denied"),
        }
    )

    assert sensor.read()[0].energy_j is None


def test_memorys_own_counter_is_added_and_a_part_of_the_package_is_not():
    rapl = "/sys/class/powercap/intel-rapl"
    sensor, sources = host()
    for zone, name in ((":0", "package-0"), (":0:0", "core"), (":0:1", "dram"), (":1", "psys")):
        sources.files |= {f"{rapl}{zone}/name": name, f"{rapl}{zone}/energy_uj": "1000000"}
    sensor.read()
    for zone in (":0", ":0:0", ":0:1", ":1"):
        sources.files[f"{rapl}{zone}/energy_uj"] = "3000000"

    assert sensor.read()[0].energy_j == pytest.approx(4.0), "2 J of the package, 2 J of the DIMMs"


def test_a_processor_that_was_throttled_since_the_last_look():
    count = "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    sensor, sources = host(**{count: "7"})
    before, unchanged = sensor.read()[0], sensor.read()[0]
    sources.files[count] = "9"

    assert (before.throttle, unchanged.throttle) == ((), ())
    assert sensor.read()[0].throttle == ("thermal",)
