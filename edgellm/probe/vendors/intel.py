"""Intel's GPUs under i915 and xe: the kernel's files, and its answer to a child program for memory.

An integrated GPU has no memory of its own; a card (Arc) has, and tells only root how much is used.
Intel's out-of-tree i915 alone has a file for the total, beside the card's `device`. Neither driver
knows a marketing name: llama.cpp does, if it lists the device.
"""

from typing import Literal

import msgspec

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.pci import normal_address
from edgellm.probe.sources import child
from edgellm.probe.vendors.cards import Card

COMMAND = child("edgellm.probe.intel_child")

_TIMEOUT_S = 2.0
_INTEGRATED = "0000:00:02.0"  # where every processor of Intel's has its own
_BAR = 2  # of the memory, among the PCI resources


class Region(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["system", "local"]
    total_bytes: int
    used_bytes: int | None = None


class IntelCard(msgspec.Struct, frozen=True, kw_only=True):
    address: str
    regions: tuple[Region, ...] = ()
    error: str | None = None


def read(evidence: Evidence) -> tuple[Card, ...]:
    folders = dict(_folders(evidence))
    if not folders:
        return ()
    told = evidence.ask(COMMAND, _TIMEOUT_S, tuple[IntelCard, ...]) or ()
    said = {normal_address(card.address): card for card in told}
    return tuple(
        _card(evidence, folder, address, said.get(address), index)
        for index, (address, folder) in enumerate(sorted(folders.items()))
    )


def _folders(evidence: Evidence) -> list[tuple[str, str]]:
    found = []
    for card in evidence.list("/sys/class/drm/card[0-9]*"):
        folder = f"{card}/device"
        if "-" in card or evidence.number(f"{folder}/vendor") != 0x8086:
            continue
        address = normal_address(evidence.real_path(folder).rpartition("/")[2])
        if address:
            found.append((address, folder))
    return found


def _card(
    evidence: Evidence, folder: str, address: str, said: IntelCard | None, index: int
) -> Card:
    if said and said.error:
        evidence.fault(f"intel gpu {address}", said.error)
    local = next((r for r in said.regions if r.kind == "local"), None) if said else None
    total = (
        local.total_bytes
        if local
        else evidence.number(f"{folder.removesuffix('device')}lmem_total_bytes")
    )
    has_answer = said is not None and bool(said.regions)
    is_integrated = total is None and (has_answer or address == _INTEGRATED)
    used = local.used_bytes if local else None
    number = evidence.number(f"{folder}/device") or 0
    return Card(
        "intel",
        f"Intel GPU 8086:{number:04x}",
        address,
        index=index,
        total_bytes=total,
        free_bytes=None if total is None or used is None else max(0, total - used),
        is_unified=is_integrated,
        driver=evidence.real_path(f"{folder}/driver").rpartition("/")[2],
        visible_bytes=None if is_integrated else _bar_bytes(evidence, folder),
    )


def _bar_bytes(evidence: Evidence, folder: str) -> int | None:
    """A line a resource: "0x0000004000000000 0x00000042ffffffff 0x000000000014220c"."""
    lines = (evidence.text(f"{folder}/resource") or "").splitlines()
    try:
        first, last, _ = (int(word, 16) for word in lines[_BAR].split())
    except (IndexError, ValueError):
        return None
    return last - first + 1 if last > first else None
