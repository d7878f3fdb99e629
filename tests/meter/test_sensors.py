import time
from types import SimpleNamespace

import pynvml
import pytest
from probe_fakes import FakeSources, captured

from edgellm.meter.readers.amd import AmdSensor
from edgellm.meter.readers.host import HostSensor
from edgellm.meter.readers.nvidia import NvidiaSensor
from edgellm.meter.sensors import sampler_for, sensors_of
from edgellm.probe.detect import detect
from edgellm.probe.hardware import Device
from edgellm.probe.sources import Silence
from edgellm.units import GIB, MIB

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
            f"{RAPL}/energy_uj": Silence("denied", "Permission denied"),
        }
    )

    assert sensor.read()[0].energy_j is None


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


class FakeNvml:
    """pynvml with one card, its own error classes, and a record of the calls."""

    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    nvmlMemory_v2 = pynvml.nvmlMemory_v2  # noqa: N815 - pynvml's own name
    NVMLError = pynvml.NVMLError
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported
    NVMLError_FunctionNotFound = pynvml.NVMLError_FunctionNotFound
    NVMLError_NoPermission = pynvml.NVMLError_NoPermission

    def __init__(self, **answers):
        self.calls = []
        self.is_lost = False
        self._answers = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetPciInfo": SimpleNamespace(busId=b"00000000:01:00.0"),
            **answers,
        }

    def __getattr__(self, name):
        assert hasattr(pynvml, name), f"NVML has no {name}"

        def call(*more):
            asked = f"{name}_v2" if pynvml.nvmlMemory_v2 in more else name
            self.calls.append(asked)
            if self.is_lost:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
            if asked not in self._answers:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return self._answers[asked]

        return call


CARD = Device("0000:01:00.0", "nvidia", "RTX 4090", "cuda", "0000:01:00.0")


def test_an_nvidia_card_is_read_in_our_units():
    nvml = FakeNvml(
        nvmlDeviceGetMemoryInfo=SimpleNamespace(total=24564 * MIB, used=1024 * MIB),
        nvmlDeviceGetUtilizationRates=SimpleNamespace(gpu=97, memory=80),
        nvmlDeviceGetTemperature=61,
        nvmlDeviceGetPowerUsage=312_500,
        nvmlDeviceGetEnforcedPowerLimit=450_000,
        nvmlDeviceGetTotalEnergyConsumption=123_456_789,
        nvmlDeviceGetClockInfo=2520,
        nvmlDeviceGetCurrentClocksEventReasons=0x20 | 0x4 | 0x1,
    )
    sensor = NvidiaSensor([CARD], nvml)

    [sample] = sensor.read()
    sensor.close()

    assert (sample.used_bytes, sample.total_bytes) == (1024 * MIB, 24564 * MIB)
    assert (sample.busy_ratio, sample.temperature_c) == (0.97, 61)
    assert (sample.power_w, sample.power_limit_w) == (312.5, 450.0)
    assert sample.energy_j == pytest.approx(123_456.789)
    assert sample.clock_hz == 2.52e9
    assert sample.throttle == ("thermal", "power_cap")
    assert nvml.calls[-1] == "nvmlShutdown"


def test_what_a_board_does_not_support_is_unknown_and_asked_only_once():
    """As GB10: load and power, but no memory, no limit, no throttle reasons."""
    nvml = FakeNvml(
        nvmlDeviceGetUtilizationRates=SimpleNamespace(gpu=0, memory=0),
        nvmlDeviceGetPowerUsage=3_000,
    )
    sensor = NvidiaSensor([CARD], nvml)
    [first] = sensor.read()
    [second] = sensor.read()

    assert first.used_bytes is None
    assert first.busy_ratio == 0.0
    assert (second.power_w, second.power_limit_w, second.throttle) == (3.0, None, ())
    assert nvml.calls.count("nvmlDeviceGetMemoryInfo") == 1
    assert nvml.calls.count("nvmlDeviceGetMemoryInfo_v2") == 1
    assert nvml.calls.count("nvmlDeviceGetPowerUsage") == 2


def test_what_the_driver_keeps_for_itself_is_not_used():
    """An H100 with nothing on it, as it answered."""
    nvml = FakeNvml(
        nvmlDeviceGetMemoryInfo=SimpleNamespace(total=81559 * MIB, used=480 * MIB),
        nvmlDeviceGetMemoryInfo_v2=SimpleNamespace(total=81559 * MIB, used=0),
    )

    [sample] = NvidiaSensor([CARD], nvml).read()

    assert sample.used_bytes == 0


def test_a_card_that_fell_off_the_bus_is_left_out_and_the_driver_is_opened_anew():
    nvml = FakeNvml(nvmlDeviceGetTemperature=61)
    sensor = NvidiaSensor([CARD], nvml)
    sensor.read()
    nvml.is_lost = True

    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        sensor.read()
    nvml.is_lost = False

    assert sensor.read()[0].temperature_c == 61
    assert nvml.calls.count("nvmlInit") == 2


def test_a_machine_gets_the_sensors_of_its_vendors():
    def names(name):
        machine = captured(name)
        return [sensor.name for sensor in sensors_of(detect(machine), machine)]

    assert names("rtx4090") == ["host", "nvml", "amdgpu"]
    assert names("rx7800xt") == ["host", "amdgpu"]
    assert names("raspberry-pi-5") == ["host", "vcgencmd"]


def test_this_machine_is_sampled():
    sampler = sampler_for(detect(measure_bandwidth=False))
    sampler.start()
    for _ in range(200):
        if sampler.latest():
            break
        time.sleep(0.01)
    latest = sampler.latest()
    sampler.stop()

    assert latest[0].device_id == "cpu"
    assert latest[0].total_bytes > 0
