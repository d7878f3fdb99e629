"""The PCIe link of a device, by the kernel's files: lanes that run, and errors it has counted.

A link that loses lanes or keeps correcting errors is a loose card or a bad riser, and the first
sign of it is here. The files are everyone's to read; a virtual machine has none.
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


@dataclass(frozen=True, slots=True)
class Link:
    n_lanes: int | None = None
    n_errors: int | None = None


def link(sources: Sources, device_id: str) -> Link:
    address = normal_address(device_id)
    if address is None:  # "cpu", or a chip that shares another's address
        return Link()
    folder = f"/sys/bus/pci/devices/{address}"
    lanes = number(sources, f"{folder}/current_link_width")
    counts = [_total(text(sources, f"{folder}/{file}"), name) for file, name in _COUNTERS]
    known = [count for count in counts if count is not None]
    return Link(lanes if lanes and lanes < 255 else None, sum(known) if known else None)


def _total(lines: str | None, name: str) -> int | None:
    """ "TOTAL_ERR_COR 12" among lines like "BadTLP 4"."""
    for line in (lines or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdecimal():
            return int(value)
    return None
