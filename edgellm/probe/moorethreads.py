"""Moore Threads' cards, by mthreads-gmi. It tells no power in its table.

0    MTT S80        |00000000:04:00.0    |0%    2MiB(16384MiB)
     Physical       |4x(16x)             |49C   YES
"""

import re
from collections.abc import Iterator

from edgellm.probe.cards import Card
from edgellm.probe.evidence import Evidence
from edgellm.probe.readings import Reading, address, asked, boxes, cards, mib, number, ratio

COMMAND = ("mthreads-gmi",)


def read(evidence: Evidence) -> tuple[Card, ...]:
    return cards("moorethreads", readings(evidence))


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    return asked(evidence, COMMAND, _parsed)


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
