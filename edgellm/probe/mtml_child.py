"""Asks Moore Threads' management library about every card and writes what it says as JSON; run as
a program.

A child, because a driver library may hang or abort its process. What this board or this driver
doesn't tell is null. Signatures and units: mtml.h (bytes, milliwatts, MHz, per cent); tried against
a library made by that header, and on no card of theirs yet.
"""

import ctypes
from collections.abc import Iterator
from typing import Any

from edgellm.probe import child_output

_LIBRARIES = ("libmtml.so.2", "libmtml.so.1", "libmtml.so")
_TEXT_BYTES = 80
_PCI_BYTES = 512  # MtmlPciInfo begins with the address and is a third as long

# field, what is asked (the device itself, its GPU or its memory), the function, what it writes
_ASKED = (
    ("power_mw", "device", "mtmlDeviceGetPowerUsage", ctypes.c_uint),
    ("temperature_c", "gpu", "mtmlGpuGetTemperature", ctypes.c_uint),
    ("busy_percent", "gpu", "mtmlGpuGetUtilization", ctypes.c_uint),
    ("clock_mhz", "gpu", "mtmlGpuGetClock", ctypes.c_uint),
    ("total_bytes", "memory", "mtmlMemoryGetTotal", ctypes.c_ulonglong),
    ("used_bytes", "memory", "mtmlMemoryGetUsed", ctypes.c_ulonglong),
)  # fmt: skip


def survey() -> dict[str, Any]:
    """The JSON of `moorethreads.MtmlSurvey`."""
    library = _load()
    if library is None:
        return {"cards": [], "error": None}
    root = ctypes.c_void_p()
    code = library.mtmlLibraryInit(ctypes.byref(root))
    if code:
        return {"cards": [], "error": f"mtmlLibraryInit: error {code}"}
    return {"cards": list(_cards(library, root)), "error": None}


def _load() -> Any:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _cards(library: Any, root: ctypes.c_void_p) -> Iterator[dict[str, Any]]:
    count = _asked(library, "mtmlLibraryCountDevice", root, ctypes.c_uint) or 0
    for index in range(count):
        device = ctypes.c_void_p()
        if library.mtmlLibraryInitDeviceByIndex(root, index, ctypes.byref(device)):
            continue
        parts = {
            "device": device,
            "gpu": _part(library, "mtmlDeviceInitGpu", device),
            "memory": _part(library, "mtmlDeviceInitMemory", device),
        }
        yield {
            "index": index,
            "name": _text(library, "mtmlDeviceGetName", device, ctypes.c_uint(_TEXT_BYTES)),
            "pci_bus_id": _text(library, "mtmlDeviceGetPciInfo", device),
            **{
                field: _asked(library, function, parts[part], kind)
                for field, part, function, kind in _ASKED
            },
        }


def _part(library: Any, function: str, device: ctypes.c_void_p) -> ctypes.c_void_p | None:
    part = ctypes.c_void_p()
    ask = getattr(library, function, None)
    return None if ask is None or ask(device, ctypes.byref(part)) else part


def _asked(library: Any, function: str, handle: ctypes.c_void_p | None, kind: Any) -> int | None:
    value = kind()
    ask = getattr(library, function, None)
    if ask is None or handle is None or ask(handle, ctypes.byref(value)):
        return None
    return int(value.value)


def _text(library: Any, function: str, device: ctypes.c_void_p, *more: Any) -> str | None:
    buffer = ctypes.create_string_buffer(_PCI_BYTES)
    ask = getattr(library, function, None)
    if ask is None or ask(device, buffer, *more):
        return None
    return buffer.value.decode("utf-8", "replace") or None


if __name__ == "__main__":
    child_output.answer(survey)
