"""PCI addresses, and the accelerators on the bus, with a driver or without.

Every source spells the same address its own way: NVML 00000000:01:00.0, sysfs 0000:01:00.0,
ggml 0000:01:00.0-v1 for the second of several virtual devices. One spelling joins them.
"""

import re
from typing import Literal

from edgellm.probe.asked.evidence import Evidence
from edgellm.values import frozen

_ADDRESS = re.compile(
    r"(?:(?P<domain>[0-9a-f]{1,8}):)?(?P<bus>[0-9a-f]{1,2}):(?P<slot>[0-9a-f]{1,2})"
    r"\.(?P<function>[0-7])(?:-v\d+)?",
    re.IGNORECASE,
)

_MAX_NODES = 1 << 10  # the kernel's MAX_NUMNODES; a numa_node of -1 is "unknown"

# PCI vendor ids of accelerator makers. Sources: pci.ids, gpustack-runtime
VENDORS = {
    0x10DE: "nvidia",
    0x1002: "amd",
    0x8086: "intel",
    0x19E5: "huawei",
    0x1ED5: "moorethreads",
    0x9999: "metax",
    0x1E3E: "iluvatar",
    0x1DED: "thead",
    0x1D94: "hygon",
    0xCABC: "cambricon",
}

_SPOKEN = {
    "nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel", "huawei": "Huawei",
    "moorethreads": "Moore Threads", "metax": "MetaX", "iluvatar": "Iluvatar",
    "thead": "T-Head", "hygon": "Hygon", "cambricon": "Cambricon",
}  # fmt: skip
_ASCEND = {
    0xD500: "Ascend 310P",
    0xD801: "Ascend 910",
    0xD802: "Ascend 910B",
    0xD803: "Ascend 910C",
}

_DISPLAY, _COPROCESSOR, _ACCELERATOR = 0x03, 0x0B, 0x12  # the class code's upper byte
_DISPLAY_3D = 0x0302  # and both: a display controller without a display
# A board's management controller calls itself a display too.
_DISPLAY_MAKERS = frozenset({"nvidia", "amd", "intel", "moorethreads", "metax", "iluvatar"})
_COPROCESSOR_MAKERS = frozenset(VENDORS.values()) - {"intel"}  # Intel's do cryptography


def normal_address(text: str | None) -> str | None:
    """ "00000000:0A:00.0" -> "0000:0a:00.0". Not an address, or one of zeros: None."""
    match = _ADDRESS.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    domain, bus, slot = (int(match[part] or "0", 16) for part in ("domain", "bus", "slot"))
    if not (domain or bus or slot):  # Jetson: the GPU is on no PCI bus
        return None
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{match['function']}"


@frozen
class PciDevice:
    address: str
    vendor: str
    device_id: int
    link: str | None  # the widest and fastest it can do in this slot: at rest cards slow down
    link_now: str | None = None
    numa_node: int | None = None


def scan(evidence: Evidence) -> tuple[PciDevice, ...]:
    """Every accelerator on the PCI bus, by its class and vendor; none where there is no sysfs."""
    found = []
    for folder in evidence.list("/sys/bus/pci/devices/*"):
        kind = evidence.number(f"{folder}/class")
        vendor_id = evidence.number(f"{folder}/vendor")
        address = normal_address(folder.rpartition("/")[2])
        if kind is None or vendor_id is None or address is None:
            continue
        vendor = VENDORS.get(vendor_id, f"{vendor_id:04x}")
        if _is_accelerator(kind >> 8, vendor):
            node = evidence.number(f"{folder}/numa_node")
            found.append(
                PciDevice(
                    address,
                    vendor,
                    device_id=evidence.number(f"{folder}/device") or 0,
                    link=link(evidence, folder, vendor),
                    link_now=link(evidence, folder, vendor, "current"),
                    numa_node=node if node is not None and 0 <= node < _MAX_NODES else None,
                )
            )
    return tuple(found)


def name(device: PciDevice) -> str:
    """ "Ascend 910B", or the vendor's name and the device's number."""
    known = _ASCEND.get(device.device_id) if device.vendor == "huawei" else None
    return known or f"{_SPOKEN.get(device.vendor, device.vendor)} device {device.device_id:04x}"


def link(
    evidence: Evidence, folder: str, vendor: str, which: Literal["max", "current"] = "max"
) -> str | None:
    """ "PCIe 4.0 x16": the least of all ports on the way from the device to the processor.

    A card in a narrow slot still claims its own full width; the slot's port knows better. Arc
    cards and the bridge port above them are inside the chip and claim 2.5 GT/s x1: left out.
    """
    ports = [part for part in evidence.real_path(folder).split("/") if normal_address(part)]
    way = evidence.real_path(folder).partition(ports[0])[0] if ports else ""
    places = [f"{way}{'/'.join(ports[: n + 1])}" for n in range(len(ports))] or [folder]
    if vendor == "intel" and len(places) > _ARC_PORTS:
        places = places[:-_ARC_PORTS]
    told = [_one_link(evidence, place, which) for place in places]
    known = [one for one in told if one is not None]
    if not known:
        return None
    generation, width = (min(values) for values in zip(*known, strict=True))
    return f"PCIe {generation}.0 x{width}"


def _one_link(evidence: Evidence, folder: str, which: str) -> tuple[int, int] | None:
    speed = evidence.text(f"{folder}/{which}_link_speed")  # "16.0 GT/s PCIe"
    width = evidence.text(f"{folder}/{which}_link_width")
    generation = _GENERATIONS.get((speed or "").partition(" ")[0])
    if generation is None or width is None or not width.isdecimal() or width in ("0", "255"):
        return None
    return generation, int(width)


_GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
_ARC_PORTS = 2  # the endpoint, and the port above it


def _is_accelerator(kind: int, vendor: str) -> bool:
    """A compute-only class is one whoever made it; displays count for known makers only."""
    if kind >> 8 == _ACCELERATOR or kind == _DISPLAY_3D:
        return True
    if kind >> 8 == _DISPLAY:
        return vendor in _DISPLAY_MAKERS
    return kind >> 8 == _COPROCESSOR and vendor in _COPROCESSOR_MAKERS
