"""Machines that are only described: devices named on the command line, and what boards state.

    RTX 4090, 2x RTX 3090         rows of profiles/devices.toml, so many of them
    cuda:24GiB@1008, metal:64GiB  backend:memory[@GB/s]; without a bandwidth nobody knows it
    64GiB@60                      the host's memory, for --ram

Ids are made up, in the order of the description: the machine is nobody's.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, get_args

from edgellm.errors import BadRequest
from edgellm.probe.hardware import Backend, Cpu, Device, Hardware, MemoryPool
from edgellm.probe.known import catalog
from edgellm.probe.known.catalog import DeviceRow
from edgellm.units import GIB, TIB, format_bytes, parse_bytes
from edgellm.values import frozen

MAX_DEVICES: Final = 16  # GGML_CUDA_MAX_DEVICES, and llama_max_devices()
_FREE_RATIO: Final = 0.985  # 24200 of a headless RTX 3090's 24576 MiB (llama.cpp's fit reports)
_ASSUMED_RAM_BYTES: Final = 16 * GIB
_ASSUMED_CORES: Final = 8
_NAMED: Final = "'EPYC 9004 (Genoa) 12ch DDR5-4800'"
_ASSUMED_ISA: Final = ("avx2", "fma", "f16c")
_METAL_ISA: Final = ("neon", "dotprod", "i8mm")  # of Macs from M2 on
_MAX_DEVICE_BYTES, _MAX_RAM_BYTES = 4 * TIB, 64 * TIB
_MAX_GB_S: Final = 100_000.0
_COUNT = re.compile(r"(\d+)\s*[x×*]\s+(.+)|(\d{1,3})\s*[x×*]\s*(.+)", re.IGNORECASE)  # no 7900 XTX
_KINDS: Final = tuple(kind for kind in get_args(Backend) if kind not in ("cpu", "none"))


@frozen
class Part:
    """One accelerator of a described machine. `free_bytes`: None where it shares the host's."""

    row: DeviceRow
    free_bytes: int | None
    link: str | None = None
    is_bridged: bool = False
    backend: Backend | None = None  # where another than the row's is meant


def assemble(
    parts: Sequence[Part],
    host: MemoryPool,
    cpu: Cpu,
    system: str = "Linux",
    note: str | None = None,
) -> Hardware:
    """`note` is said of the CPU. Raises BadRequest when no llama.cpp could use that many."""
    if len(parts) > MAX_DEVICES:
        raise BadRequest(f"{len(parts)} devices are more than llama.cpp takes: {MAX_DEVICES}")
    devices: list[Device] = []
    pools: list[MemoryPool] = []
    for part in parts:
        backend = part.backend or part.row.planned_as or part.row.backend
        n = sum(device.backend == backend for device in devices)
        device = _device(part, backend, n, host.id)
        devices.append(device)
        if part.free_bytes is not None:
            pools.append(_own_pool(part, device.id))
    devices.append(Device("cpu", "cpu", cpu.name, "cpu", host.id, ggml_name="CPU", note=note))
    return Hardware(tuple(devices), (*pools, host), cpu, system=system)


def hardware_from_devices(specs: Sequence[str], ram: str | None = None) -> Hardware:
    """For `--device` (each its own) and `--ram`. Raises BadRequest for what is no machine."""
    rows = [row for spec in specs for row in _rows(spec)]
    hosts = [row for row in rows if row.unified or row.backend == "cpu"]
    if len(hosts) > 1:
        raise BadRequest(
            f"{hosts[0].name} and {hosts[1].name} each are a machine's whole memory",
            hint="describe one machine",
        )
    shared = hosts[0] if hosts else None
    parts = [
        Part(row, None if row.unified else _usable_bytes(row), link_of(row))
        for row in rows
        if row.backend != "cpu"
    ]
    is_mac = any(row.backend == "metal" for row in rows)
    host, note = _host(ram, shared)
    if not rows:  # beside an accelerator it matters less
        note = f"{_ASSUMED_CORES} cores with AVX2 are assumed; --device names a processor: {_NAMED}"
    return assemble(parts, host, _cpu(rows, shared), "Darwin" if is_mac else "Linux", note)


def _cpu(rows: Sequence[DeviceRow], shared: DeviceRow | None) -> Cpu:
    """That of the machine whose memory is described, else of a card that is soldered beside one;
    else a usual one is assumed."""
    told = shared or next((row for row in rows if row.isa), None)
    n_cores = (told and told.n_cores) or _ASSUMED_CORES
    isa = told.isa if told and told.isa else _ASSUMED_ISA
    return Cpu(shared.device_name if shared else "described CPU", n_cores, n_cores, isa)


def link_of(row: DeviceRow) -> str | None:
    return f"PCIe {row.pcie}" if row.pcie else None


def _rows(spec: str) -> list[DeviceRow]:
    """ "2x RTX 3090" → its row, twice."""
    text = spec.strip()
    counted = _COUNT.fullmatch(text)
    count = int(counted[1] or counted[3]) if counted else 1
    text = (counted[2] or counted[4]) if counted else text
    if not 1 <= count <= MAX_DEVICES:
        raise BadRequest(f"{spec!r} asks for {count} devices, llama.cpp takes 1 to {MAX_DEVICES}")
    kind, colon, rest = text.partition(":")
    row = _described(spec, kind.strip().lower(), rest) if colon else catalog.load().named(text)
    return [row] * count


def _described(spec: str, kind: str, rest: str) -> DeviceRow:
    backend = next((known for known in _KINDS if known == kind), None)
    if backend is None:
        raise BadRequest(
            f"{spec!r}: {kind!r} is no kind of accelerator",
            hint=f"kinds are {', '.join(_KINDS)}; the CPU's memory is --ram 64GiB@60",
        )
    memory_bytes, bandwidth_gb_s = _memory(spec, rest, _MAX_DEVICE_BYTES)
    return DeviceRow(
        name=f"{kind} device, {format_bytes(memory_bytes)}",
        vendor="described",
        match=(),
        backend=backend,
        memory_gib=memory_bytes / GIB,
        unified=backend == "metal",
        isa=_METAL_ISA if backend == "metal" else (),
        bandwidth_gb_s=bandwidth_gb_s,
        source="as described",
        date="",
    )


def _memory(spec: str, text: str, most_bytes: int) -> tuple[int, float | None]:
    """ "24GiB@1008" → bytes and GB/s."""
    size, at, rate = text.partition("@")
    try:
        n_bytes = parse_bytes(size)
    except BadRequest as error:
        raise BadRequest(f"{spec!r}: {error}", hint=error.hint) from error
    if not GIB // 64 <= n_bytes <= most_bytes:
        raise BadRequest(
            f"{spec!r}: {size.strip()} of memory can't be; 16 MiB to {format_bytes(most_bytes)} can"
        )
    if not at:
        return n_bytes, None
    number = rate.strip().lower().removesuffix("gb/s")
    try:
        gb_s = float(number)
    except ValueError:
        gb_s = 0.0
    if not 0 < gb_s <= _MAX_GB_S:
        raise BadRequest(
            f"{spec!r}: {rate.strip()!r} is no bandwidth in GB/s",
            hint="write it like 24GiB@1008, or leave @ away where nobody knows it",
        )
    return n_bytes, gb_s


def _host(ram: str | None, shared: DeviceRow | None) -> tuple[MemoryPool, str | None]:
    """The host's pool and, where its size is only assumed, a word on that. Raises BadRequest
    for another size than that of the device that is described as having all of it."""
    kind = "unified" if shared and shared.unified else "host"
    bandwidth = shared.bandwidth_bytes_s if shared else None
    note = None
    if ram is not None:
        total, gb_s = _memory(ram, ram, _MAX_RAM_BYTES)
        bandwidth = gb_s * 1e9 if gb_s else bandwidth
        _check_same_memory(ram, total, shared)
    elif shared is not None and shared.memory_gib is not None:
        total = int(shared.memory_gib * GIB)
    else:
        total = _ASSUMED_RAM_BYTES
        note = f"{format_bytes(total)} of memory are assumed; --ram 64GiB@60 says better"
    taken = min(total // 10, 8 * GIB)  # the system and what runs beside
    pool = MemoryPool("host", "host", total, total - taken, bandwidth)
    return (replace(pool, kind="unified") if kind == "unified" else pool), note


def _check_same_memory(ram: str, total_bytes: int, shared: DeviceRow | None) -> None:
    """Of a row by its name another size may be sold; what was described has the one it has."""
    if shared is None or shared.vendor != "described" or shared.memory_gib is None:
        return
    if total_bytes != int(shared.memory_gib * GIB):
        raise BadRequest(
            f"{shared.name}, has the machine's whole memory, and --ram says {ram}",
            hint="leave --ram away, or describe the device with as much",
        )


def _usable_bytes(row: DeviceRow) -> int:
    total = int((row.memory_gib or 0) * GIB)
    return total if row.vendor == "described" else int(total * _FREE_RATIO)


def _device(part: Part, backend: Backend, n: int, host_id: str) -> Device:
    row, device_id = part.row, f"{backend}:{n}"
    return Device(
        id=device_id,
        vendor=row.vendor,
        name=row.device_name,
        backend=backend,
        pool_id=host_id if part.free_bytes is None else device_id,
        architecture=row.architecture,
        n_gpu_cores=row.gpu_cores,
        ggml_name=f"{backend.upper()}{n}",
        link=part.link,
        note=_as_if(row),
        fp16_flops_s=row.fp16_flops_s,
        vector_flops_s=row.vector_flops_s,
        board_power_w=row.board_power_w,
        peer_bytes_s=row.peer_bytes_s(part.is_bridged),
    )


def _as_if(row: DeviceRow) -> str | None:
    if row.planned_as is None:
        return None
    return f"llama.cpp has no backend for it; planned as if {row.planned_as.upper()} were one"


def _own_pool(part: Part, device_id: str) -> MemoryPool:
    total = int((part.row.memory_gib or 0) * GIB)
    free = part.free_bytes or 0
    return MemoryPool(device_id, "dedicated", max(total, free), free, part.row.bandwidth_bytes_s)
