"""Cambricon's cards, by cnmon's table. (Its JSON goes to a file in the current folder.)

| 0     /   MLU370-X8    v1.1.6 |         0000:39:00.0 | 0%                N/A |
|  0%   32C        106 W/ 250 W |     0 MiB/ 23374 MiB | N/A           Default |
"""

import re
from collections.abc import Iterator

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.vendors.readings import Reading, address, asked, boxes, mib, number, ratio

COMMAND = ("cnmon",)


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    return asked(evidence, COMMAND, _parsed)


def _parsed(text: str) -> Iterator[Reading]:
    for first, second in boxes(text):
        match = re.fullmatch(r"(\d+)\s+\S+\s+(\S+)\s+v\S+", first[0])  # card, VF, name, firmware
        if match:
            yield Reading(
                name=match[2],
                index=int(match[1]),
                address=address(first[1]),
                total_bytes=mib(number(second[1], r"/\s*(\d+)\s*MiB")),
                used_bytes=mib(number(second[1], r"(\d+)\s*MiB\s*/")),
                busy_ratio=ratio(first[2]) if len(first) > 2 else None,
                temperature_c=number(second[0], r"(\d+)C\b"),
                power_w=number(second[0], r"(\d+)\s*W\b"),
                power_limit_w=number(second[0], r"/\s*(\d+)\s*W\b"),
            )
