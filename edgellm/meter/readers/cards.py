"""The kernel's folders of graphics cards, and what it means that one is no more."""

from collections.abc import Callable, Collection

from edgellm.meter.readers import bus
from edgellm.meter.sample import Sample
from edgellm.probe.pci import normal_address
from edgellm.probe.sources import Sources


class Cards:
    """Where some cards' files are, as long as these are on their bus. `below`: of a card's folder,
    the one in which all is told."""

    def __init__(self, sources: Sources, addresses: Collection[str], below: str = "") -> None:
        self._sources, self._addresses, self._below = sources, addresses, below
        self._folders: dict[str, str] = {}  # by PCI address

    def read(self, sample: Callable[[str, str], Sample]) -> tuple[Sample, ...]:
        """A `sample` of each address and its folder. A card that has left its bus is left out, and
        looked for."""
        if len(self._folders) < len(self._addresses):
            cards = card_folders(self._sources, self._addresses)
            self._folders = {address: card + self._below for address, card in cards.items()}
        read = {address: sample(address, at) for address, at in self._folders.items()}
        gone = {address for address, one in read.items() if self._is_gone(address, one)}
        self._folders = {one: at for one, at in self._folders.items() if one not in gone}
        return tuple(one for address, one in read.items() if address not in gone)

    def _is_gone(self, address: str, sample: Sample) -> bool:
        """Nothing was told, and the folder is no more; or the bus says so. One that sleeps or
        tells nothing still has its folder."""
        tells_nothing = sample == Sample(sample.device_id, sample.at_s)
        if tells_nothing and not self._sources.list(f"{self._folders[address]}/*"):
            return True
        return sample.n_lanes is None and bus.has_dropped(self._sources, address)


def card_folders(sources: Sources, addresses: Collection[str]) -> dict[str, str]:
    """PCI address → /sys/class/drm/cardN, of those that are asked for."""
    found = {}
    for card in sources.list("/sys/class/drm/card[0-9]*"):
        address = normal_address(sources.real_path(f"{card}/device").rpartition("/")[2])
        if address and "-" not in card and address in addresses:
            found[address] = card
    return found
