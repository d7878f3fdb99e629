"""Asks NVML about every NVIDIA card and writes what it says as JSON; run as a program.

A child, because a driver library may hang or abort its process. A call that this board or this
driver doesn't support gives null; one that fails otherwise gives null and a line in `faults`.
"""

from collections.abc import Callable
from typing import Any

from edgellm.probe import child_output


def survey() -> dict[str, Any]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        absent = isinstance(error, pynvml.NVMLError_LibraryNotFound)
        return {"cards": [], "error": None if absent else str(error)}
    count = pynvml.nvmlDeviceGetCount()
    return {
        "driver": _text(pynvml.nvmlSystemGetDriverVersion()),
        "cards": [describe(pynvml, index) for index in range(count)],
    }


def describe(nvml: Any, index: int) -> dict[str, Any]:
    faults: dict[str, str] = {}

    def ask(field: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
            return None
        except nvml.NVMLError as error:
            faults[field] = str(error)
            return None

    handle = ask("handle", lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    if handle is None:
        return {"index": index, "faults": faults}
    memory = ask("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    mig = ask("mig", lambda: nvml.nvmlDeviceGetMigMode(handle))
    return {
        "index": index,
        "name": _text(ask("name", lambda: nvml.nvmlDeviceGetName(handle))),
        "pci_bus_id": _text(ask("pci", lambda: nvml.nvmlDeviceGetPciInfo(handle).busId)),
        "memory_total_bytes": memory and memory.total,
        "memory_free_bytes": memory and memory.free,
        "compute_capability": ask("cc", lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle)),
        "link_generation": ask("link", lambda: nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle)),
        "link_width": ask("link", lambda: nvml.nvmlDeviceGetMaxPcieLinkWidth(handle)),
        "memory_bus_bits": ask("bus", lambda: nvml.nvmlDeviceGetMemoryBusWidth(handle)),
        "memory_clock_mhz": ask(
            "clock", lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)
        ),
        "power_limit_mw": ask("power", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle)),
        "mig": bool(mig and mig[0]),
        "faults": faults,
    }


def _text(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


if __name__ == "__main__":
    child_output.answer(survey)
