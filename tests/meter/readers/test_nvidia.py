from types import SimpleNamespace

import pynvml
import pytest

from edgellm.meter.readers.nvidia import NvidiaSensor
from edgellm.probe.hardware import Device
from edgellm.units import MIB


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
