"""The links between Ascend NPUs, from the matrix of `npu-smi info -t topo`.

               NPU0       NPU1       CPU Affinity
    NPU0       X          HCCS       144-167
    NPU1       HCCS       X          144-167

An A3 names its dies by their physical ids ("Phy-ID12") and has two more kinds: SIO joins the two
dies of one package, HCCS_SW leads through a switch. Rates are not told. Boards without such links
(310P) answer with a sentence and no matrix, which is no fault.
"""

import re
from collections.abc import Iterator

from edgellm.probe.hardware import LinkKind
from edgellm.probe.vendors.cards import Peer

COMMAND = ("npu-smi", "info", "-t", "topo")

_KINDS: dict[str, LinkKind] = {
    "SIO": "die", "HCCS": "hccs", "HCCS_SW": "hccs",
    "PIX": "switch", "PXB": "switch", "PHB": "bridge", "SYS": "sockets",
}  # fmt: skip
_NAME = re.compile(r"(?:NPU|Phy-ID)\d+")


def peers(text: str, addresses: dict[str, str]) -> dict[str, tuple[Peer, ...]]:
    """By PCI address, the links from there to cards further down the matrix, so that each is listed
    once. `addresses`: the PCI address by each name that the matrix may use."""
    found: dict[str, tuple[Peer, ...]] = {}
    for one, other, word in _cells(text):
        here, there, kind = addresses.get(one), addresses.get(other), _KINDS.get(word)
        if here and there and here != there and kind:
            found[here] = (*found.get(here, ()), Peer(there, kind))
    return found


def _cells(text: str) -> Iterator[tuple[str, str, str]]:
    """The upper half: name, name, word. A row that was cut off gives what it has, save its last
    word where nothing follows: it may be half of one."""
    columns: list[str] = []
    for line in text.splitlines(keepends=True):
        name, *words = line.split() or [""]
        if not columns:
            columns = _NAME.findall(line)
        elif name in columns:
            whole = words if line.endswith("\n") else words[:-1]
            after = columns.index(name) + 1
            for other, word in zip(columns[after:], whole[after:], strict=False):
                yield name, other, word
