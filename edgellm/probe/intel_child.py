"""Asks the kernel how much memory Intel's GPUs have, and writes it as JSON; run as a program.

There is no file for it: it takes an ioctl on the render node (group render). A child, because a
driver may hang in it. Sources: the kernel's include/uapi/drm/xe_drm.h and i915_drm.h.
"""

import ctypes
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgellm.probe import child_output

_DRM = Path("/sys/class/drm")
_INTEL = "0x8086"

_XE_DEVICE_QUERY = 0xC0286440  # DRM_IOWR(0x40 + 0x00, struct drm_xe_device_query)
_XE_QUERY = struct.Struct("=QIIQQQ")  # extensions, query, size, data, reserved
_XE_MEM_REGIONS = 1
_XE_HEAD = struct.Struct("=II")  # regions, padding
_XE_REGION = struct.Struct("=HHIQQQQ48x")  # class, instance, page, total, used, visible, its used

_I915_QUERY = 0xC0106479  # DRM_IOWR(0x40 + 0x39, struct drm_i915_query)
_I915_QUERIES = struct.Struct("=IIQ")  # items, flags, their address
_I915_ITEM = struct.Struct("=QiIQ")  # query, length, flags, data
_I915_MEM_REGIONS = 4
_I915_HEAD = struct.Struct("=I12x")
_I915_REGION = struct.Struct("=HHIQQ64x")  # class, instance, reserved, probed, unallocated

Ioctl = Callable[[int, int, Any], Any]  # as fcntl.ioctl


def survey() -> list[dict[str, Any]]:
    """The JSON of `intel.IntelCard`, one for each GPU."""
    found = []
    for node in sorted(_DRM.glob("renderD*")):
        device = (node / "device").resolve()
        if (device / "vendor").read_text().strip() == _INTEL:
            driver = (device / "driver").resolve().name
            found.append({"address": device.name, **_asked(f"/dev/dri/{node.name}", driver)})
    return found


def _asked(path: str, driver: str) -> dict[str, Any]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        hint = ": join the group render" if isinstance(error, PermissionError) else ""
        return {"error": f"{path}: {error.strerror}{hint}"}
    try:
        return {"regions": (xe_regions if driver == "xe" else i915_regions)(fd, fcntl.ioctl)}
    except OSError as error:
        return {"error": f"{path}: {error.strerror}"}
    finally:
        os.close(fd)


def xe_regions(fd: int, ioctl: Ioctl) -> list[dict[str, Any]]:
    """The first question asks for the answer's size. Without CAP_PERFMON, used is told as 0."""

    def ask(size: int, data: int) -> int:
        question = bytearray(_XE_QUERY.pack(0, _XE_MEM_REGIONS, size, data, 0, 0))
        ioctl(fd, _XE_DEVICE_QUERY, question)
        return int(_XE_QUERY.unpack(question)[2])

    answer = ctypes.create_string_buffer(ask(0, 0))
    ask(len(answer), ctypes.addressof(answer))
    (count, _) = _XE_HEAD.unpack_from(answer)
    places = range(_XE_HEAD.size, _XE_HEAD.size + count * _XE_REGION.size, _XE_REGION.size)
    regions = (_XE_REGION.unpack_from(answer, place) for place in places)
    return [
        {"kind": "local" if kind else "system", "total_bytes": total, "used_bytes": used or None}
        for kind, _, _, total, used, _, _ in regions
    ]


def i915_regions(fd: int, ioctl: Ioctl) -> list[dict[str, Any]]:
    """Without CAP_PERFMON all of the memory is told as unallocated."""

    def ask(length: int, data: int) -> int:
        item = ctypes.create_string_buffer(_I915_ITEM.pack(_I915_MEM_REGIONS, length, 0, data))
        ioctl(fd, _I915_QUERY, bytearray(_I915_QUERIES.pack(1, 0, ctypes.addressof(item))))
        told = int(_I915_ITEM.unpack_from(item)[1])
        if told < 0:
            raise OSError(-told, os.strerror(-told))
        return told

    answer = ctypes.create_string_buffer(ask(0, 0))
    ask(len(answer), ctypes.addressof(answer))
    (count,) = _I915_HEAD.unpack_from(answer)
    places = range(_I915_HEAD.size, _I915_HEAD.size + count * _I915_REGION.size, _I915_REGION.size)
    regions = (_I915_REGION.unpack_from(answer, place) for place in places)
    return [
        {
            "kind": "local" if kind else "system",
            "total_bytes": total,
            "used_bytes": total - free if free < total else None,
        }
        for kind, _, _, total, free in regions
    ]


if __name__ == "__main__":
    child_output.answer(survey)
