"""How fast a card's link moves data one way, from its name: "PCIe 4.0 x16"."""

import re
from typing import Final

_PCIE: Final = re.compile(r"pcie\s+(\d)(?:\.\d)?\s+x(\d+)", re.IGNORECASE)
# Bytes a second of one lane one way, after the line code. Source: PCI-SIG's base specifications.
_LANE_BYTES_S: Final = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}


def link_bytes_s(link: str | None) -> float | None:
    """The link's own rate; transfers reach part of it. None: it doesn't say, or is no PCIe."""
    match = _PCIE.search(link) if link else None
    lane = _LANE_BYTES_S.get(int(match[1])) if match else None
    return lane * int(match[2]) if match and lane else None
