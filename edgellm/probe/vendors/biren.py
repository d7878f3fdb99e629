"""Biren's cards, by brsmi's answer in CSV.

Unproven: the query is one that its users run, but no recording of a whole answer was found. Total
memory is what is used and what is free, together. llama.cpp has no backend for them.
"""

from collections.abc import Iterator

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.vendors.readings import Reading, asked, csv_rows, mib, number

COMMAND = (
    "brsmi", "gpu", "--query-gpu=index,name,memory.used,memory.free",
    "--format=csv,noheader,nounits",
)  # fmt: skip


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    return asked(evidence, COMMAND, _parsed)


def _parsed(text: str) -> Iterator[Reading]:
    for index, name, *memory in csv_rows(text, 4):
        used, free = (number(cell, r"^(\d+)(?: MiB)?$") for cell in memory)
        known = used is not None and free is not None
        yield Reading(
            name=name,
            index=int(index),
            total_bytes=mib((used or 0) + (free or 0)) if known else None,
            used_bytes=mib(used),
        )
