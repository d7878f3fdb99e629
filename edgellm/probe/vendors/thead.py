"""T-Head's PPUs, by ppu-smi's answer in CSV (SAIL's PPU-SMI manual, section 3.2). llama.cpp has no
backend for them."""

from collections.abc import Iterator

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.vendors.readings import Reading, asked, csv_rows, mib, number

COMMAND = (
    "ppu-smi",
    "--query-ppu=index,name,utilization.ppu,memory.used,memory.total,temperature.ppu,power.draw",
    "--format=csv,noheader,nounits",
)


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    return asked(evidence, COMMAND, _parsed)


def _parsed(text: str) -> Iterator[Reading]:
    for index, name, *values in csv_rows(text, 7):
        busy, used, total, temperature, power = (
            number(value, r"^([\d.]+)(?: (?:%|MiB|C|W))?$") for value in values
        )
        yield Reading(
            name=name,
            index=int(index),
            total_bytes=mib(total),
            used_bytes=mib(used),
            busy_ratio=None if busy is None else busy / 100,
            temperature_c=temperature,
            power_w=power,
        )
