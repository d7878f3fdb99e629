"""Cards as vendors describe them, completed by what the PCI bus shows. Pure.

A vendor's tool often tells neither a card's link nor its NUMA node; the bus does. A card without
an address is matched by count: if the tool lists one and the bus shows one of that vendor, they
are the same. Where that fails, the vendor's cards on the bus are left out: listed twice would be
worse. A card that only the bus shows has no driver.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgellm.probe import pci
from edgellm.probe.vendors.cards import Card


def with_pci(cards: Sequence[Card], on_pci: Sequence[pci.PciDevice]) -> list[Card]:
    """All cards, each once: those that vendors described, then those that only the bus shows."""
    at = {seen.address: seen for seen in on_pci}
    placed = [_addressed(card, cards, on_pci) for card in cards]
    told = [_attached(card, at.get(card.address or "")) for card in placed]
    claimed = {card.address for card in told}
    unplaced = {card.vendor for card in told if card.address is None and not card.is_unified}
    others = [s for s in on_pci if s.address not in claimed and s.vendor not in unplaced]
    return told + [_without_driver(seen) for seen in others]


def _addressed(card: Card, cards: Sequence[Card], on_pci: Sequence[pci.PciDevice]) -> Card:
    if card.address is not None or card.is_unified:
        return card
    namesakes = [other for other in cards if other.vendor == card.vendor]
    seen = [one for one in on_pci if one.vendor == card.vendor]
    if len(namesakes) == len(seen) == 1:
        return replace(card, address=seen[0].address)
    return card


def _attached(card: Card, seen: pci.PciDevice | None) -> Card:
    """The bus knows the slot, so its link is preferred to the driver's. For a GPU that shares the
    host's memory a link means nothing (GB10 claims PCIe 1.0 x1)."""
    if seen is None or card.is_unified:
        return card
    return replace(
        card,
        link=seen.link or card.link,
        link_now=seen.link_now or card.link_now,
        numa_node=seen.numa_node if card.numa_node is None else card.numa_node,
    )


def _without_driver(seen: pci.PciDevice) -> Card:
    return Card(
        vendor=seen.vendor,
        name=pci.name(seen),
        address=seen.address,
        link=seen.link,
        link_now=seen.link_now,
        numa_node=seen.numa_node,
        has_driver=False,
    )
