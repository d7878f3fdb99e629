"""What the probe found, for people (plain text, as wide as they want) and for programs. Pure."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from edgellm.probe.asked.evidence import SourceAnswer
from edgellm.probe.hardware import Device, Dimms, Hardware
from edgellm.probe.sources import NoAnswer, Output
from edgellm.probe.usage import usage_line
from edgellm.tables import short_name
from edgellm.units import DASH, format_bytes

_HEADINGS = ("DEVICE", "NAME", "BACKEND", "FREE / TOTAL", "BANDWIDTH", "ARCH", "LINK")
_GAP = "  "
_NAME = 1  # the column that gives way
_MIN_NAME = 16
_MIN_COLUMNS = 4
_FEW_WAYS = 6
_WAYS = {
    "die": "one package", "nvlink": "NVLink", "xgmi": "Infinity Fabric", "hccs": "HCCS",
    "switch": "a PCIe switch",
    "bridge": "a PCIe host bridge", "host": "the processor", "sockets": "two processors",
}  # fmt: skip


def as_text(hardware: Hardware, width: int = 100) -> str:
    """The table and lines of `edgellm probe`, at most `width` columns wide."""
    cpu = hardware.cpu
    blocks = [
        [
            *_machine_lines(hardware, width),
            *_wrapped("Instruction sets", ", ".join(cpu.isa), width),
        ],
        _table([_row(hardware, device) for device in hardware.devices], width),
        ["What llama.cpp uses:"],
        [line for ids, use in _uses(hardware) for line in _wrapped(ids, use, width)],
    ]
    if hardware.peers:
        blocks.append(["Between devices:"])
        blocks.append([line for said in _ways(hardware) for line in _wrapped(*said, width)])
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
    for pool in told["pools"]:
        pool["total_bytes"] = pool["total_bytes"] or None  # a host whose memory nobody tells
    for said, device in zip(told["devices"], hardware.devices, strict=True):
        said["usage"] = usage_line(hardware, device)
    return told


def raw_as_text(answers: Sequence[SourceAnswer]) -> str:
    """What each source said, word for word."""
    return "".join(
        f"== {said.source}\n{textwrap.indent(_said(said), '    ')}\n" for said in answers
    )


def raw_as_json(answers: Sequence[SourceAnswer]) -> list[dict[str, object]]:
    """The same for programs: who gave no answer has no text, and a reason."""
    return [{"source": said.source, **_parts(said)} for said in answers]


def _parts(answered: SourceAnswer) -> dict[str, object]:
    match answered.answer:
        case str(text):
            return {"text": text}
        case Output(text, errors, code):
            return {"text": text, "stderr": errors, "code": code}
        case NoAnswer(kind, message):
            return {"text": None, "silence": kind, "message": message}


def _uses(hardware: Hardware) -> Iterator[tuple[str, str]]:
    """Devices of which the same is to be said are named together."""
    said: dict[str, list[str]] = {}
    for device in hardware.devices:
        said.setdefault(usage_line(hardware, device), []).append(device.id)
    for use, ids in said.items():
        yield ", ".join(ids), use


def _ways(hardware: Hardware) -> Iterator[tuple[str, str]]:
    """By kind and rate, the fastest first; which two when there are few."""
    said: dict[tuple[str, float | None], list[str]] = {}
    for link in hardware.peers:
        said.setdefault((link.kind, link.bytes_s), []).append(f"{link.one} – {link.other}")
    for (kind, bytes_s), pairs in sorted(said.items(), key=lambda item: -(item[0][1] or 0)):
        rate = f", {bytes_s / 1e9:.0f} GB/s each way" if bytes_s else ""
        few = len(pairs) <= _FEW_WAYS
        yield f"{_WAYS[kind]}{rate}", "; ".join(pairs) if few else f"{len(pairs)} pairs"


def _said(answered: SourceAnswer) -> str:
    match answered.answer:
        case str(text):
            return text.rstrip()
        case Output(text, errors, code):
            tail = f"\n[stderr] {errors.strip()}" if errors.strip() else ""
            return text.rstrip() + tail + (f"\n[exit code] {code}" if code else "")
        case NoAnswer(kind, message):
            return f"({kind}: {message})"


def _machine_lines(hardware: Hardware, width: int) -> list[str]:
    cpu = hardware.cpu
    fast = f" ({cpu.n_fast_cores} fast)" if cpu.n_fast_cores is not None else ""
    parts = [
        hardware.system,
        f"{cpu.n_physical_cores} cores{fast} / {cpu.n_logical_cores} threads",
    ]
    if cpu.n_numa_nodes and cpu.n_numa_nodes > 1:
        parts.append(f"{cpu.n_numa_nodes} NUMA nodes")
    if cpu.l3_bytes:
        parts.append(f"L3 {format_bytes(cpu.l3_bytes)}")
    if cpu.dimms:
        parts.append(_dimms(cpu.dimms))
    if hardware.power_mode:
        parts.append(f"power mode {hardware.power_mode}")
    if hardware.in_wsl:
        parts.append("WSL")
    if hardware.in_container:
        parts.append("container")
    if hardware.cgroup_limit_bytes is not None:
        parts.append(f"cgroup limit {format_bytes(hardware.cgroup_limit_bytes)}")
    return textwrap.wrap(" · ".join(parts), max(40, width), subsequent_indent="  ")


def _dimms(dimms: Dimms) -> str:
    """ "DDR5-5600 in 2 channels (90 GB/s at most)" """
    speed = f"-{dimms.transfers_s / 1e6:.0f}" if dimms.transfers_s else ""
    place = f"{dimms.n_modules} modules"
    if dimms.n_channels:
        place = f"{dimms.n_channels} channel{'s' if dimms.n_channels > 1 else ''}"
    peak = f" ({dimms.peak_bytes_s / 1e9:.0f} GB/s at most)" if dimms.peak_bytes_s else ""
    return f"{dimms.kind or 'memory'}{speed} in {place}{peak}"


def _row(hardware: Hardware, device: Device) -> tuple[str, ...]:
    memory, bandwidth = DASH, DASH
    # A device that is not used and whose own memory nobody tells is filed under the host's.
    if device.backend != "none" or device.pool_id != hardware.host.id:
        pool = hardware.pool(device.pool_id)
        free, total = format_bytes(pool.free_bytes), format_bytes(pool.total_bytes or None)
        if free.rpartition(" ")[2] == total.rpartition(" ")[2]:  # one unit is said once
            free = free.partition(" ")[0]
        memory = f"{free} / {total}"
        if pool.bandwidth_bytes_s:
            bandwidth = f"{pool.bandwidth_bytes_s / 1e9:.0f} GB/s"
    return (
        device.id,
        device.name,
        device.backend,
        memory,
        bandwidth,
        _architecture(device),
        device.link or DASH,
    )


def _architecture(device: Device) -> str:
    """ "apple9, 30 cores" """
    cores = f"{device.n_gpu_cores} cores" if device.n_gpu_cores else None
    return ", ".join(part for part in (device.architecture, cores) if part) or DASH


def _table(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Columns that nobody fills are left out. In a narrow place names are cut, then columns go,
    the last ones first."""
    filled = [i for i in range(len(_HEADINGS)) if any(row[i] != DASH for row in rows)]
    cells = [[row[i] for i in filled] for row in (_HEADINGS, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(filled))]
    while (excess := sum(widths) + len(_GAP) * (len(widths) - 1) - width) > 0:
        if widths[_NAME] - excess >= _MIN_NAME:
            widths[_NAME] -= excess
        elif len(widths) > _MIN_COLUMNS:
            widths.pop()
        else:
            break
    return [
        _GAP.join(_cut(cell, n).ljust(n) for cell, n in zip(row, widths, strict=False)).rstrip()
        for row in cells
    ] + [""]


def _cut(text: str, width: int) -> str:
    """Without its maker, then in the middle: a card's number is at the end of its name."""
    text = short_name(text, width)
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
