"""One device in a vendor's tool's output: what it is and what it is doing.

The same table answers the probe ("which card, how much memory") and the meter ("how warm, how
busy"), so it is parsed once, by the vendor's file in this room. A field that the table lacks, or
fills with "N/A", "NA" or "-", is None.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TypeVar

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.pci import normal_address
from edgellm.probe.sources import capture_name
from edgellm.probe.vendors.cards import Card
from edgellm.units import MIB
from edgellm.values import frozen

T = TypeVar("T")

TIMEOUT_S = 4.0  # vendors' tools take about a second, with eight cards two

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.IGNORECASE)


@frozen
class Reading:
    name: str
    index: int | None = None  # as the tool counts
    address: str | None = None  # normal PCI address
    total_bytes: int | None = None
    used_bytes: int | None = None
    busy_ratio: float | None = None
    temperature_c: float | None = None
    memory_temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    clock_hz: float | None = None
    also: tuple[str, ...] = ()  # what the tool's other tables call it
    note: str | None = None


def asked(
    evidence: Evidence, argv: tuple[str, ...], parse: Callable[[str], Iterable[T]]
) -> tuple[T, ...]:
    """Runs the tool and parses its output. A tool that exists and lists no device is a fault."""
    output = evidence.run(argv, TIMEOUT_S)
    if output is None:
        return ()
    found = tuple(parse(output.text))
    if not found:
        said = (output.errors.strip() or output.text.strip()).partition("\n")[0]
        evidence.fault(capture_name(argv), f"tells of no device; it began {said[:80]!r}")
    return found


def cards(vendor: str, readings: Iterable[Reading]) -> tuple[Card, ...]:
    """Chips of one board may share its PCI address; then `part` numbers them: 0, 1."""
    said = tuple(readings)
    seen: Counter[str | None] = Counter()
    shared = {a for a, n in Counter(one.address for one in said).items() if a and n > 1}
    found = []
    for one in said:
        part = seen[one.address] if one.address in shared else None
        seen[one.address] += 1
        found.append(_card(vendor, one, part))
    return tuple(found)


def _card(vendor: str, said: Reading, part: int | None) -> Card:
    total, used = said.total_bytes, said.used_bytes
    return Card(
        vendor,
        said.name,
        said.address,
        part=part,
        index=said.index,
        total_bytes=total,
        free_bytes=None if total is None or used is None else max(0, total - used),
        power_limit_w=said.power_limit_w,
        note=said.note,
    )


def whole_lines(text: str) -> list[str]:
    """The lines that end in a newline: one without was cut off, perhaps within a number."""
    return [line.rstrip("\r\n") for line in text.splitlines(keepends=True) if line.endswith("\n")]


def rows(text: str) -> Iterator[tuple[str, ...]]:
    """The lines of a table whose columns are parted by |, without their frame. A line that has a
    frame on its left only was cut off, and a number in it may be."""
    for line in map(str.strip, text.splitlines()):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 1 and line.startswith("|") == line.endswith("|"):
            yield tuple(cells)


def boxes(text: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Two lines a device, as nvidia-smi invented it: the first names its PCI address."""
    for first, second in pairwise(rows(text)):
        if address(first[1]) is not None and address(second[1]) is None:
            yield first, second


def csv_rows(text: str, n_columns: int) -> Iterator[list[str]]:
    """Lines that begin with an index and a name. One that no newline ends was cut off."""
    for line in text.splitlines(keepends=True):
        cells = [cell.strip() for cell in line.split(",")]
        whole = line.endswith("\n") and len(cells) == n_columns
        if whole and cells[0].isdecimal() and cells[1]:
            yield cells


def address(cell: str) -> str | None:
    """The first PCI address in a cell, in its normal form; None where there is none."""
    match = _ADDRESS.search(cell)
    return normal_address(match[0]) if match else None


def number(text: str, pattern: str) -> float | None:
    """The first group of the first match: number("53W / 450W", r"([\\d.]+) ?W") -> 53.0"""
    match = re.search(pattern, text)
    try:
        return float(match[1]) if match else None
    except ValueError:
        return None


def ratio(text: str) -> float | None:
    """ "37%" -> 0.37"""
    percent = number(text, r"(\d+(?:\.\d+)?) ?%")
    return None if percent is None else percent / 100


def mib(value: float | None) -> int | None:
    """MiB to bytes."""
    return None if value is None else int(value * MIB)
