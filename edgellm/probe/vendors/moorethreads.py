"""Moore Threads' cards: by their management library, which tells power and clocks, too, where its
driver is loaded; else by mthreads-gmi, whose table has neither.

0    MTT S80        |00000000:04:00.0    |0%    2MiB(16384MiB)
     Physical       |4x(16x)             |49C   YES
"""

import re
from collections.abc import Iterator

import msgspec

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.pci import normal_address
from edgellm.probe.sources import child
from edgellm.probe.vendors.readings import (
    Reading,
    address,
    asked,
    boxes,
    mib,
    number,
    ratio,
)

COMMAND = ("mthreads-gmi",)
LIBRARY = child("edgellm.probe.mtml_child")
LIBRARY_TIMEOUT_S = 2.0  # no program of theirs, and the tool is asked after it

_DRIVER = "/dev/mtgpu*"  # without it no child is started


class MtmlCard(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    name: str | None = None
    pci_bus_id: str | None = None
    total_bytes: int | None = None
    used_bytes: int | None = None
    busy_percent: int | None = None
    temperature_c: int | None = None
    power_mw: int | None = None
    clock_mhz: int | None = None


class MtmlSurvey(msgspec.Struct, frozen=True, kw_only=True):
    cards: tuple[MtmlCard, ...] = ()
    error: str | None = None


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    return _by_library(evidence) or asked(evidence, COMMAND, _parsed)


def _by_library(evidence: Evidence) -> tuple[Reading, ...]:
    if not evidence.list(_DRIVER):
        return ()
    said = evidence.ask(LIBRARY, LIBRARY_TIMEOUT_S, MtmlSurvey)
    if said is None:
        return ()
    if said.error:
        evidence.fault("mtml", said.error)
    return tuple(_reading(card) for card in said.cards)


def _reading(card: MtmlCard) -> Reading:
    return Reading(
        name=card.name or "Moore Threads GPU",
        index=card.index,
        address=normal_address(card.pci_bus_id or ""),
        total_bytes=card.total_bytes,
        used_bytes=card.used_bytes,
        busy_ratio=None if card.busy_percent is None else card.busy_percent / 100,
        temperature_c=card.temperature_c,
        power_w=None if card.power_mw is None else card.power_mw / 1000,
        clock_hz=None if card.clock_mhz is None else card.clock_mhz * 1e6,
    )


def _parsed(text: str) -> Iterator[Reading]:
    for first, second in boxes(text):
        match = re.fullmatch(r"(\d+)\s+(\S.*)", first[0])
        if match and len(first) > 2:
            yield Reading(
                name=match[2],
                index=int(match[1]),
                address=address(first[1]),
                total_bytes=mib(number(first[2], r"\((\d+)MiB\)")),
                used_bytes=mib(number(first[2], r"(\d+)MiB\(")),
                busy_ratio=ratio(first[2]),
                temperature_c=number(second[2], r"(\d+)C\b") if len(second) > 2 else None,
            )
