"""NVIDIA cards, by NVML. One session is kept open; a call that a board doesn't support is asked
once and not again.

The sampler's thread may hang here without harm. The probe asks in a child process instead,
because it does not know yet whether the driver is sane.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Device
from edgellm.probe.pci import normal_address

# nvmlClocksEventReasons*; 0x1 (idle) and what an operator set are no throttling
_THROTTLE = (
    (0x20 | 0x40, "thermal"),
    (0x80, "power_brake"),
    (0x04, "power_cap"),
    (0x08, "hardware"),
)


class NvidiaSensor:
    name = "nvml"

    def __init__(self, devices: Sequence[Device], nvml: Any = None) -> None:
        self._ids = tuple(device.id for device in devices)
        self._nvml = nvml  # the pynvml module, imported at the first reading
        self._handles: dict[str, Any] | None = None  # device id → NVML's handle
        self._unsupported: set[tuple[str, str, int]] = set()  # device id, call, its arguments

    def read(self) -> tuple[Sample, ...]:
        """A card that fell off the bus is left out. Raises NVMLError when all of them are gone;
        the next reading then opens the driver anew."""
        if self._handles is None:
            self._handles = self._open()
        samples, failure = [], None
        for device_id, handle in self._handles.items():
            try:
                samples.append(self._sample(device_id, handle))
            except self._nvml.NVMLError as error:
                failure = error
        if failure is not None and not samples:
            self._handles = None
            raise failure
        return tuple(samples)

    def close(self) -> None:
        if self._handles is not None:
            self._nvml.nvmlShutdown()

    def _open(self) -> dict[str, Any]:
        if self._nvml is None:
            import pynvml

            self._nvml = pynvml
        self._nvml.nvmlInit()
        count = self._nvml.nvmlDeviceGetCount()
        handles = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        by_address = {
            normal_address(_text(self._nvml.nvmlDeviceGetPciInfo(h).busId)): h for h in handles
        }
        if len(handles) == 1 and len(self._ids) == 1:  # a Jetson's is on no PCI bus
            return {self._ids[0]: handles[0]}
        return {id_: by_address[id_] for id_ in self._ids if id_ in by_address}

    def _sample(self, device_id: str, handle: Any) -> Sample:
        nvml = self._nvml

        def ask(name: str, *more: Any) -> Any:
            return self._ask(device_id, name, handle, *more)

        # The second version keeps the driver's own part (480 MiB of an H100) out of what is used.
        memory = ask("nvmlDeviceGetMemoryInfo", nvml.nvmlMemory_v2) or ask(
            "nvmlDeviceGetMemoryInfo"
        )
        load = ask("nvmlDeviceGetUtilizationRates")
        reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # the name it had before driver 535
            reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return Sample(
            device_id,
            time.monotonic(),
            used_bytes=memory.used if memory and memory.total else None,
            total_bytes=(memory.total or None) if memory else None,
            busy_ratio=load.gpu / 100 if load else None,
            temperature_c=ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            power_w=_scaled(ask("nvmlDeviceGetPowerUsage"), 1e-3),
            power_limit_w=_scaled(ask("nvmlDeviceGetEnforcedPowerLimit"), 1e-3),
            energy_j=_scaled(ask("nvmlDeviceGetTotalEnergyConsumption"), 1e-3),
            clock_hz=_scaled(ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM), 1e6),
            throttle=tuple(name for bits, name in _THROTTLE if (reasons or 0) & bits),
            sees_throttle=reasons is not None,
            memory_c=self._memory_c(device_id, handle),
            memory_clock_hz=_scaled(ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM), 1e6),
            fan_ratio=_scaled(ask("nvmlDeviceGetFanSpeed"), 0.01),
            n_lanes=ask("nvmlDeviceGetCurrPcieLinkWidth") or None,
            n_link_errors=ask("nvmlDeviceGetPcieReplayCounter"),
        )

    def _memory_c(self, device_id: str, handle: Any) -> float | None:
        """Only cards with HBM tell it, and they say 0 for "no"."""
        field = getattr(self._nvml, "NVML_FI_DEV_MEMORY_TEMP", None)
        values = (
            self._ask(device_id, "nvmlDeviceGetFieldValues", handle, [field]) if field else None
        )
        if not values or values[0].nvmlReturn != self._nvml.NVML_SUCCESS:
            return None
        return float(values[0].value.uiVal) or None

    def _ask(self, device_id: str, name: str, handle: Any, *more: Any) -> Any:
        if (device_id, name, len(more)) in self._unsupported:
            return None
        call: Callable[..., Any] = getattr(self._nvml, name)
        try:
            return call(handle, *more)
        except (
            self._nvml.NVMLError_NotSupported,
            self._nvml.NVMLError_FunctionNotFound,
            self._nvml.NVMLError_NoPermission,
        ):
            self._unsupported.add((device_id, name, len(more)))
            return None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
