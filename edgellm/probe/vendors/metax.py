"""MetaX's cards, by mx-smi. Another maker's tool has that name too: only a table that names MetaX
(MX-SMI) is believed.

    | 0           MetaX C550             | 0000:0f:00.0        | 0%                   |
    | 29C         53W / 450W             | 858/65536 MiB       | Available            |
"""

import re
from collections.abc import Iterator

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.vendors.readings import Reading, address, asked, boxes, mib, number, ratio

COMMAND = ("mx-smi",)


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    return asked(evidence, COMMAND, _parsed)


def _parsed(text: str) -> Iterator[Reading]:
    if "MetaX" not in text and "MX-SMI" not in text:
        return
    for first, second in boxes(text):
        match = re.fullmatch(r"(\d+)\s+(\S.*?)(?:\s+(?:On|Off))?", first[0])  # persistence mode
        if match:
            yield Reading(
                name=match[2],
                index=int(match[1]),
                address=address(first[1]),
                total_bytes=mib(number(second[1], r"/\s*(\d+)\s*MiB")),
                used_bytes=mib(number(second[1], r"(\d+)\s*/")),
                busy_ratio=ratio(first[2]) if len(first) > 2 else None,
                temperature_c=number(second[0], r"(\d+)C\b"),
                power_w=number(second[0], r"(\d+)W\b"),
                power_limit_w=number(second[0], r"/\s*(\d+)W\b"),
            )
