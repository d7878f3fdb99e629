"""What the PCI bus knows of cards that vendors told of, and the cards that nobody told of. Pure.

A vendor's tool often says neither how a card is attached nor to which processor; the bus does. A
tool that does not even tell the address is matched by count: one card told and one of that vendor
on the bus are the same. Where that fails, those on the bus are left out, not listed again.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgellm.probe import pci
from edgellm.probe.vendors.cards import Card


def joined(cards: Sequence[Card], on_pci: Sequence[pci.PciDevice]) -> list[Card]:
    at = {seen.address: seen for seen in on_pci}
    placed = [_addressed(card, cards, on_pci) for card in cards]
    told = [_attached(card, at.get(card.address or "")) for card in placed]
    claimed = {card.address for card in told}
    adrift = {card.vendor for card in told if card.address is None and not card.is_unified}
    loose = [s for s in on_pci if s.address not in claimed and s.vendor not in adrift]
    return told + [_seen_only(seen) for seen in loose]


def _addressed(card: Card, cards: Sequence[Card], on_pci: Sequence[pci.PciDevice]) -> Card:
    if card.address is not None or card.is_unified:
        return card
    namesakes = [other for other in cards if other.vendor == card.vendor]
    seen = [one for one in on_pci if one.vendor == card.vendor]
    if len(namesakes) == len(seen) == 1:
        return replace(card, address=seen[0].address)
    return card


def _attached(card: Card, seen: pci.PciDevice | None) -> Card:
    """The bus knows the slot, so its link goes before the driver's; a card that shares the host's
    memory has none that matters (GB10 claims PCIe 1.0 x1)."""
    if seen is None or card.is_unified:
        return card
    return replace(
        card,
        link=seen.link or card.link,
        link_now=seen.link_now or card.link_now,
        numa_node=seen.numa_node if card.numa_node is None else card.numa_node,
    )


def _seen_only(seen: pci.PciDevice) -> Card:
    return Card(
        vendor=seen.vendor,
        name=pci.name(seen),
        address=seen.address,
        link=seen.link,
        link_now=seen.link_now,
        numa_node=seen.numa_node,
        is_told=False,
    )
