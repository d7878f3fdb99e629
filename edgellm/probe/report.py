"""What the probe found, for people (plain text, as wide as they want) and for programs. Pure."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from edgellm.probe.evidence import Testimony
from edgellm.probe.hardware import Device, Hardware
from edgellm.probe.sources import Output, Silence
from edgellm.probe.usage import usage_line
from edgellm.units import DASH, GIB, format_bytes

_HEADINGS = ("DEVICE", "NAME", "BACKEND", "FREE / TOTAL", "BANDWIDTH", "ARCH", "LINK")
_GAP = "  "
_NAME = 1  # the column that gives way
_LEAST_NAME = 16
_LEAST_COLUMNS = 4


def as_text(hardware: Hardware, width: int = 100) -> str:
    cpu = hardware.cpu
    blocks = [
        [_machine_line(hardware), *_wrapped("Instruction sets", ", ".join(cpu.isa), width)],
        _table([_row(hardware, device) for device in hardware.devices], width),
        ["What llama.cpp uses:"],
        [
            line
            for device in hardware.devices
            for line in _wrapped(device.id, usage_line(hardware, device), width)
        ],
    ]
    if hardware.faults:
        blocks.append(["What did not answer:"])
        blocks.append(
            [line for f in hardware.faults for line in _wrapped(f.source, f.message, width)]
        )
    first, *rest = ("\n".join(block) for block in blocks)
    return first + "\n\n" + "\n".join(rest) + "\n"


def as_json(hardware: Hardware) -> dict[str, Any]:
    """The dataclasses as they are, and each device's line of usage. Unknown is null."""
    told = cast(dict[str, Any], msgspec.to_builtins(hardware))
    for said, device in zip(told["devices"], hardware.devices, strict=True):
        said["usage"] = usage_line(hardware, device)
    return told


def raw_as_text(testimonies: Sequence[Testimony]) -> str:
    """What each source said, word for word."""
    return "".join(
        f"== {said.source}\n{textwrap.indent(_said(said), '    ')}\n" for said in testimonies
    )


def _said(testimony: Testimony) -> str:
    match testimony.answer:
        case str(text):
            return text.rstrip()
        case Output(text, errors, code):
            tail = f"\n[stderr] {errors.strip()}" if errors.strip() else ""
            return text.rstrip() + tail + (f"\n[exit code] {code}" if code else "")
        case Silence(kind, message):
            return f"({kind}: {message})"


def _machine_line(hardware: Hardware) -> str:
    cpu = hardware.cpu
    parts = [hardware.system, f"{cpu.n_physical_cores} cores / {cpu.n_logical_cores} threads"]
    if cpu.n_numa_nodes and cpu.n_numa_nodes > 1:
        parts.append(f"{cpu.n_numa_nodes} NUMA nodes")
    if cpu.l3_bytes:
        parts.append(f"L3 {format_bytes(cpu.l3_bytes)}")
    if hardware.in_wsl:
        parts.append("WSL")
    if hardware.in_container:
        parts.append("container")
    if hardware.cgroup_limit_bytes is not None:
        parts.append(f"cgroup limit {format_bytes(hardware.cgroup_limit_bytes)}")
    return " · ".join(parts)


def _row(hardware: Hardware, device: Device) -> tuple[str, ...]:
    memory, bandwidth = DASH, DASH
    # A device that is not used and whose own memory nobody tells is filed under the host's.
    if device.backend != "none" or device.pool_id != hardware.host.id:
        pool = hardware.pool(device.pool_id)
        free = DASH if pool.free_bytes is None else f"{pool.free_bytes / GIB:.1f}"
        memory = f"{free} / {format_bytes(pool.total_bytes)}"
        if pool.bandwidth_bytes_s:
            bandwidth = f"{pool.bandwidth_bytes_s / 1e9:.0f} GB/s"
    return (
        device.id,
        device.name,
        device.backend,
        memory,
        bandwidth,
        device.architecture or DASH,
        device.link or DASH,
    )


def _table(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Columns that nobody fills are left out. In a narrow place names are cut, then columns go,
    the last ones first."""
    filled = [i for i in range(len(_HEADINGS)) if any(row[i] != DASH for row in rows)]
    cells = [[row[i] for i in filled] for row in (_HEADINGS, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(filled))]
    while (excess := sum(widths) + len(_GAP) * (len(widths) - 1) - width) > 0:
        if widths[_NAME] - excess >= _LEAST_NAME:
            widths[_NAME] -= excess
        elif len(widths) > _LEAST_COLUMNS:
            widths.pop()
        else:
            break
    return [
        _GAP.join(_cut(cell, n).ljust(n) for cell, n in zip(row, widths, strict=False)).rstrip()
        for row in cells
    ] + [""]


def _cut(text: str, width: int) -> str:
    """In the middle: a card's number is at the end of its name."""
    if len(text) <= width:
        return text
    tail = width // 2
    return f"{text[: width - tail - 1]}…{text[-tail:]}"


def _wrapped(name: str, text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        f"{name}: {text or DASH}",
        max(40, width),
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
