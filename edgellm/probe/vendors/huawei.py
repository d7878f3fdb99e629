"""Huawei's Ascend NPUs, by npu-smi.

Its table has had five layouts since 2020: with and without a column for HBM, for huge pages, for
the number of the device node. Read by meaning and never by column: two lines a chip, the second
names the PCI address; the memory is the last "used / total" pair that is not zero. A 310P has no
HBM, calls its own memory DDR, and tells no power (its card's controller does).

    | 0     910B3         | OK            | 98.4      50             0    / 0           |
    | 0                   | 0000:C1:00.0  | 0         0    / 0       3369 / 65536       |

llama.cpp counts in the order of logic ids, which `npu-smi info -m` tells. An A3 tells beside the
chip its physical id, by which it is called where the links are told (`huawei_links.py`).
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from edgellm.probe.asked.asking import ask
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.vendors import huawei_links
from edgellm.probe.vendors.cards import Card
from edgellm.probe.vendors.readings import (
    TIMEOUT_S,
    Reading,
    address,
    asked,
    cards,
    mib,
    number,
    rows,
)

TABLE = ("npu-smi", "info")
MAPPING = ("npu-smi", "info", "-m")

_PAIR = re.compile(r"(\d+)\s*/\s*(\d+)")
_ANY_ADDRESS = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.\d")


def read(evidence: Evidence) -> tuple[Card, ...]:
    asking = ask(lambda: evidence.run(huawei_links.COMMAND, TIMEOUT_S))
    said = readings(evidence)
    if not said:
        return ()
    output = asking.result()
    links = huawei_links.peers(output.text if output else "", _addresses(said))
    found = cards("huawei", said)
    return tuple(replace(card, peers=links.get(card.address or "", ())) for card in found)


def _addresses(said: tuple[Reading, ...]) -> dict[str, str]:
    """By the names in the matrix of links; one that two chips bear names neither."""
    names = [(name, one.address) for one in said for name in one.also if one.address]
    n_bearers = Counter(name for name, _ in names)
    return {name: address for name, address in names if n_bearers[name] == 1}


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    """In the order of logic ids; in the table's own order when nobody tells those."""
    asking = ask(lambda: evidence.run(MAPPING, TIMEOUT_S))  # each takes about a second
    chips = dict(asked(evidence, TABLE, _chips))
    if not chips:
        return ()
    output = asking.result()
    logic = _logic_ids(output.text if output else "")
    keys = sorted(chips, key=logic.__getitem__) if logic.keys() == chips.keys() else list(chips)
    return tuple(replace(chips[key], index=n) for n, key in enumerate(keys))


def _chips(text: str) -> Iterator[tuple[tuple[int, int], Reading]]:
    """((NPU id, chip id), what it says)"""
    for first, second in pairwise(rows(text)):
        if len(first) < 3 or len(second) < 3 or not _ANY_ADDRESS.fullmatch(second[1]):
            continue
        npu, *name = first[0].split()
        chip = second[0].split()[:1]
        if npu.isdecimal() and chip and chip[0].isdecimal():
            also = (f"NPU{npu}", *(f"Phy-ID{phy}" for phy in second[0].split()[1:2]))
            said = _reading(name, first, second)
            yield (int(npu), int(chip[0])), replace(said, also=also)


def _reading(name: list[str], first: tuple[str, ...], second: tuple[str, ...]) -> Reading:
    power, _, rest = first[2].partition(" ")
    pairs = [(int(used), int(total)) for used, total in _PAIR.findall(second[2])]
    used, total = next((pair for pair in reversed(pairs) if pair[1]), (None, None))
    model = "".join(name) or "NPU"
    busy = number(second[2], r"^(\d+)\b")
    return Reading(
        name=model if model.startswith("Ascend") else f"Ascend{model}",
        address=address(second[1]),
        total_bytes=mib(total),
        used_bytes=mib(used),
        busy_ratio=None if busy is None else busy / 100,
        temperature_c=number(rest, r"^\s*(\d+)\b"),
        power_w=number(power, r"^([\d.]+)$"),
        note=None if first[1] in ("OK", "") else f"npu-smi calls its health {first[1]!r}",
    )


def _logic_ids(text: str) -> dict[tuple[int, int], int]:
    """Rows "NPU ID, Chip ID, Chip Logic ID, Chip Name"; the Mcu's logic id is "-"."""
    words = (line.split() for line in text.splitlines())
    ids = [w[:3] for w in words if len(w) >= 4 and all(n.isdecimal() for n in w[:3])]
    return {(int(npu), int(chip)): int(logic) for npu, chip, logic in ids}
