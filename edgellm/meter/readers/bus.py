"""The PCIe link of a device, by the kernel's files: lanes that run, and errors it has counted.

A link that loses lanes or keeps correcting errors is a loose card or a bad riser, and the first
sign of it is here. The files are everyone's to read; a virtual machine has none.

Where nobody answers, the bus reads ones: a device that has dropped off it has 63 lanes, if its
files are still there at all (drivers/pci/pci-sysfs.c, current_link_width_show). So does one that
its driver has put to sleep, which is why that is asked first.
"""

from dataclasses import dataclass

from edgellm.meter.readers.sysfs import number, text
from edgellm.probe.pci import normal_address
from edgellm.probe.sources import Sources

_COUNTERS = (
    ("aer_dev_correctable", "TOTAL_ERR_COR"),
    ("aer_dev_nonfatal", "TOTAL_ERR_NONFATAL"),
    ("aer_dev_fatal", "TOTAL_ERR_FATAL"),
)


_MOST_LANES, _ONES = 32, 63  # six bits: PCI_EXP_LNKSTA_NLW
_ASLEEP = ("suspended", "suspending", "resuming")


@dataclass(frozen=True, slots=True)
class Link:
    n_lanes: int | None = None
    n_errors: int | None = None


def link(sources: Sources, device_id: str) -> Link:
    folder = _folder(device_id)
    if folder is None:  # "cpu"
        return Link()
    lanes = number(sources, f"{folder}/current_link_width")
    counts = [_total(text(sources, f"{folder}/{file}"), name) for file, name in _COUNTERS]
    known = [count for count in counts if count is not None]
    is_told = lanes is not None and 0 < lanes <= _MOST_LANES
    return Link(lanes if is_told else None, sum(known) if known else None)


def has_dropped(sources: Sources, device_id: str) -> bool:
    """Its files are there, it is not asleep, and on the bus nobody answers for it."""
    folder = _folder(device_id)
    if folder is None or number(sources, f"{folder}/current_link_width") != _ONES:
        return False
    return text(sources, f"{folder}/power/runtime_status") not in _ASLEEP


def is_there(sources: Sources, device_id: str) -> bool:
    """False as well for one that never was on any bus."""
    folder = _folder(device_id)
    is_listed = folder is not None and bool(sources.list(f"{folder}/*"))
    return is_listed and not has_dropped(sources, device_id)


def _folder(device_id: str) -> str | None:
    """Chips of one board that share its address are counted behind it: "0000:81:00.0/1"."""
    address = normal_address(device_id.partition("/")[0])
    return None if address is None else f"/sys/bus/pci/devices/{address}"


def _total(lines: str | None, name: str) -> int | None:
    """ "TOTAL_ERR_COR 12" among lines like "BadTLP 4"."""
    for line in (lines or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdecimal():
            return int(value)
    return None
