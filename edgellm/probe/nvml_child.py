"""Asks NVML about every NVIDIA card and writes what it says as JSON; run as a program.

A child, because a driver library may hang or abort its process. A call that this board or this
driver doesn't support gives null; one that fails otherwise gives null and a line in `faults`.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

from edgellm.probe import child_output

# field, what a fault calls it, NVML's function, and the name of its further argument
_ASKED = (
    ("name", "name", "nvmlDeviceGetName", None),
    ("compute_capability", "cc", "nvmlDeviceGetCudaComputeCapability", None),
    ("link_generation", "link", "nvmlDeviceGetMaxPcieLinkGeneration", None),
    ("link_width", "link", "nvmlDeviceGetMaxPcieLinkWidth", None),
    ("link_generation_now", "link", "nvmlDeviceGetCurrPcieLinkGeneration", None),
    ("link_width_now", "link", "nvmlDeviceGetCurrPcieLinkWidth", None),
    ("memory_bus_bits", "bus", "nvmlDeviceGetMemoryBusWidth", None),
    ("memory_clock_mhz", "clock", "nvmlDeviceGetMaxClockInfo", "NVML_CLOCK_MEM"),
    ("power_limit_mw", "power", "nvmlDeviceGetEnforcedPowerLimit", None),
    ("power_default_mw", "power", "nvmlDeviceGetPowerManagementDefaultLimit", None),
    ("virtualization", "virtualization", "nvmlDeviceGetVirtualizationMode", None),
)
_Ask = Callable[..., Any]


def survey() -> dict[str, Any]:
    """The JSON of `nvidia.NvmlAnswer`."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        absent = isinstance(error, pynvml.NVMLError_LibraryNotFound)
        return {"cards": [], "error": None if absent else str(error)}
    count = pynvml.nvmlDeviceGetCount()
    ask = _asker(pynvml, {})
    return {
        "driver": _text(pynvml.nvmlSystemGetDriverVersion()),
        "cuda_version": ask("cuda", "nvmlSystemGetCudaDriverVersion_v2"),
        "cards": [describe(pynvml, index) for index in range(count)],
        "common_ancestors": common_ancestors(pynvml, count),
    }


def describe(nvml: Any, index: int) -> dict[str, Any]:
    """One card, as the JSON of `nvidia.NvmlCard`."""
    faults: dict[str, str] = {}
    ask = _asker(nvml, faults)
    handle = ask("handle", "nvmlDeviceGetHandleByIndex", index)
    if handle is None:
        return {"index": index, "faults": faults}
    said: dict[str, Any] = {
        field: _text(ask(fault, function, handle, *((getattr(nvml, more),) if more else ())))
        for field, fault, function, more in _ASKED
    }
    memory = ask("memory", "nvmlDeviceGetMemoryInfo", handle)
    place = ask("pci", "nvmlDeviceGetPciInfo", handle)
    mig = ask("mig", "nvmlDeviceGetMigMode", handle)
    return {
        "index": index,
        **said,
        "pci_bus_id": _text(place and place.busId),
        "memory_total_bytes": memory and memory.total,
        "memory_free_bytes": memory and memory.free,
        "mig": bool(mig and mig[0]),
        "instances": _instances(nvml, ask, handle) if mig and mig[0] else [],
        "nvlinks": _nvlinks(nvml, handle),
        "nvlink_mb_s": _nvlink_mb_s(nvml, handle),
        "faults": faults,
    }


def common_ancestors(nvml: Any, count: int) -> list[dict[str, Any]]:
    """The nearest common ancestor of each two cards, as NVML numbers it: 10 one switch, 20
    several, 30 a host bridge, 40 a NUMA node, 50 none below the system."""
    ask = _asker(nvml, {})
    handles = {i: ask("handle", "nvmlDeviceGetHandleByIndex", i) for i in range(count)}
    known = {i: handle for i, handle in handles.items() if handle is not None}
    told = []
    for one, other in combinations(known, 2):
        ancestor = ask("", "nvmlDeviceGetTopologyCommonAncestor", known[one], known[other])
        told.append({"one": one, "other": other, "ancestor": ancestor})
    return told


def _instances(nvml: Any, ask: _Ask, handle: Any) -> list[dict[str, Any]]:
    """What a card was cut into. CUDA sees the first, or the one that its environment names."""
    found = []
    for i in range(ask("mig", "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        part = _asker(nvml, {})("", "nvmlDeviceGetMigDeviceHandleByIndex", handle, i)
        if part is not None:  # places between them are empty
            memory = ask("mig", "nvmlDeviceGetMemoryInfo", part)
            found.append(
                {
                    "name": _text(ask("mig", "nvmlDeviceGetName", part)),
                    "memory_total_bytes": memory and memory.total,
                    "memory_free_bytes": memory and memory.free,
                }
            )
    return found


def _nvlinks(nvml: Any, handle: Any) -> list[str]:
    """Where each active link leads: another card's address, or a switch's."""
    ask = _asker(nvml, {})
    found = []
    for link in range(getattr(nvml, "NVML_NVLINK_MAX_LINKS", 0)):
        if not ask("", "nvmlDeviceGetNvLinkState", handle, link):
            continue
        remote = ask("", "nvmlDeviceGetNvLinkRemotePciInfo", handle, link)
        found.append(str(_text(remote.busId)) if remote else "")
    return found


def _nvlink_mb_s(nvml: Any, handle: Any) -> int | None:
    """One link's, in one direction."""
    field = getattr(nvml, "NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON", None)
    values = field and _asker(nvml, {})("", "nvmlDeviceGetFieldValues", handle, [field])
    if not values or values[0].nvmlReturn != nvml.NVML_SUCCESS:
        return None
    return int(values[0].value.uiVal) or None


def _asker(nvml: Any, faults: dict[str, str]) -> _Ask:
    def ask(fault: str, function: str, *arguments: Any) -> Any:
        try:
            return getattr(nvml, function)(*arguments)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound, AttributeError):
            return None  # this board, this driver or this pynvml lacks it
        except nvml.NVMLError as error:
            faults[fault] = str(error)
            return None

    return ask


def _text(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


if __name__ == "__main__":
    child_output.answer(survey)
