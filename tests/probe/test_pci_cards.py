from dataclasses import replace

from edgellm.probe import pci_cards
from edgellm.probe.pci import PciDevice
from edgellm.probe.vendors.cards import Card

SLOT = PciDevice(
    "0000:01:00.0", "biren", 1, link="PCIe 4.0 x16", link_now="PCIe 4.0 x8", numa_node=1
)
TOLD = Card("biren", "BR104P", index=0)


def test_a_card_learns_its_link_and_its_node_from_its_slot():
    [card] = pci_cards.with_pci([replace(TOLD, address="0000:01:00.0")], [SLOT])

    assert (card.link, card.link_now, card.numa_node) == ("PCIe 4.0 x16", "PCIe 4.0 x8", 1)


def test_the_only_one_told_is_the_only_one_on_the_bus():
    [card] = pci_cards.with_pci([TOLD], [SLOT])

    assert (card.name, card.address, card.has_driver) == ("BR104P", "0000:01:00.0", True)


def test_where_the_counts_differ_nobody_is_listed_twice():
    others = [SLOT, replace(SLOT, address="0000:02:00.0")]

    found = pci_cards.with_pci([TOLD, replace(TOLD, index=1), replace(TOLD, index=2)], others)

    assert [card.address for card in found] == [None, None, None]


def test_what_nobody_told_of_is_listed_as_the_bus_names_it():
    [card] = pci_cards.with_pci([], [replace(SLOT, vendor="huawei", device_id=0xD802)])

    assert (card.name, card.has_driver, card.link_now) == ("Ascend 910B", False, "PCIe 4.0 x8")


def test_a_card_that_shares_the_hosts_memory_has_no_link_that_matters():
    gb10 = Card("nvidia", "NVIDIA GB10", "0000:01:00.0", is_unified=True)

    [card] = pci_cards.with_pci([gb10], [replace(SLOT, vendor="nvidia")])

    assert card.link is None
