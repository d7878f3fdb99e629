"""T-Head's PPUs, by ppu-smi's answer in CSV (SAIL's PPU-SMI manual, section 3.2). llama.cpp has no
backend for them."""

from collections.abc import Iterator

from edgellm.probe.cards import Card
from edgellm.probe.evidence import Evidence
from edgellm.probe.readings import Reading, asked, cards, mib, number

COMMAND = (
    "ppu-smi",
    "--query-ppu=index,name,utilization.ppu,memory.used,memory.total,temperature.ppu,power.draw",
    "--format=csv,noheader,nounits",
)


def read(evidence: Evidence) -> tuple[Card, ...]:
    return cards("thead", readings(evidence))


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    return asked(evidence, COMMAND, _parsed)


def _parsed(text: str) -> Iterator[Reading]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 7 and cells[0].isdecimal() and cells[1]:
            busy, used, total, temperature, power = (
                number(cell, r"^([\d.]+)(?: (?:%|MiB|C|W))?$") for cell in cells[2:]
            )
            yield Reading(
                name=cells[1],
                index=int(cells[0]),
                total_bytes=mib(total),
                used_bytes=mib(used),
                busy_ratio=None if busy is None else busy / 100,
                temperature_c=temperature,
                power_w=power,
            )
