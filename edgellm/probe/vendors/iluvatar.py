"""Iluvatar's cards, by ixsmi. A board of two chips is two devices, and the second tells no power.

| 0    Iluvatar BI-V100         | 00000000:14:00.0     | 1500MHz   1200MHz    |
| 0%   31C   P0    54W / 250W   | 513MiB / 32768MiB    | 0%        Default    |
"""

import re
from collections.abc import Iterator

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.vendors.readings import Reading, address, asked, boxes, mib, number, ratio

COMMAND = ("ixsmi",)


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    return asked(evidence, COMMAND, _parsed)


def _parsed(text: str) -> Iterator[Reading]:
    for first, second in boxes(text):
        match = re.fullmatch(r"(\d+)\s+(\S.*)", first[0])
        if match:
            clock = number(first[2], r"^(\d+)MHz") if len(first) > 2 else None
            yield Reading(
                name=match[2],
                index=int(match[1]),
                address=address(first[1]),
                total_bytes=mib(number(second[1], r"/\s*(\d+)MiB")),
                used_bytes=mib(number(second[1], r"(\d+)MiB\s*/")),
                busy_ratio=ratio(second[2]) if len(second) > 2 else None,
                temperature_c=number(second[0], r"(\d+)C\b"),
                power_w=number(second[0], r"(\d+)W\b"),
                power_limit_w=number(second[0], r"/\s*(\d+)W\b"),
                clock_hz=None if clock is None else clock * 1e6,
            )
