"""How fast this machine reads its memory: measured once a boot, by a child program.

It decides more than anything else how many tokens a second the CPU makes, and it can't be looked
up: DIMM tables need root, and a virtual machine has none.
"""

from pathlib import Path

import msgspec

from edgellm.probe.asked import cache_files
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import MemoryPool
from edgellm.probe.sources import child
from edgellm.units import MIB

_TIMEOUT_S = 5.0  # it takes about one
_MIN_BYTES_S, _MAX_BYTES_S = 0.2e9, 4000e9  # outside is no measurement


class Measured(msgspec.Struct, frozen=True):
    bytes_s: float
    busy: bool = False  # other programs ran meanwhile: alone it may be faster


def measure(
    evidence: Evidence,
    host: MemoryPool,
    n_cores: int,
    boot_id: str | None,
    folder: Path | None = None,
) -> Measured | None:
    """`folder` keeps the result for this boot; the user's cache folder when not said."""
    command = (
        *child("edgellm.probe.bandwidth_child"),
        str(n_cores),
        str(_buffer_bytes(host, n_cores)),
        boot_id or "",
        str(folder or cache_files.folder()),
    )
    told = evidence.ask(command, _TIMEOUT_S, Measured)
    if told is None:
        return None
    if not _MIN_BYTES_S <= told.bytes_s <= _MAX_BYTES_S:
        evidence.fault("bandwidth", f"{told.bytes_s / 1e9:.1f} GB/s is no memory's bandwidth")
        return None
    return told


def _buffer_bytes(host: MemoryPool, n_cores: int) -> int:
    """Bytes for each thread: together larger than any cache, at most an eighth of what is free."""
    wished = (64 if n_cores <= 16 else 32) * MIB
    free = host.free_bytes or host.total_bytes
    return max(4 * MIB, min(wished, free // 8 // n_cores))
