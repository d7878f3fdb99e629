"""What of each memory pool may be planned with.

    budget = free now − reserve        the reserve: the user's, or max(256 MiB, 2 %) of a device's
                                       own memory, or 5 % of what the CPU lives in, within 512 MiB
                                       and 4 GiB; never more than a quarter of what is free

Free memory that nobody can tell is taken as a part of the total. On a Mac the GPU may wire only
about three quarters of the memory. A reserve is for what we don't see coming: the desktop's next
window, fragmentation, the driver's own buffers.
"""

from collections.abc import Mapping

from edgellm.probe.hardware import Device, Hardware, MemoryPool
from edgellm.units import GIB, MIB

_UNKNOWN_FREE_RATIO = {"host": 0.75, "unified": 0.7, "dedicated": 0.9}
_METAL_WORKING_SET_RATIO = 0.75  # recommendedMaxWorkingSetSize of machines above 36 GB
_WSL_FREE_RATIO = 0.95  # Windows may take back what WSL reports as free

Budgets = Mapping[str, int]  # pool id → bytes


def pool_budgets(hardware: Hardware, reserve_bytes: int | None = None) -> dict[str, int]:
    return {pool.id: _budget(hardware, pool, reserve_bytes) for pool in hardware.pools}


def device_limit_bytes(hardware: Hardware, device: Device, budgets: Budgets) -> int:
    """What one device may take of its pool."""
    budget = budgets[device.pool_id]
    if device.backend != "metal":
        return budget
    total = hardware.pool(device.pool_id).total_bytes
    return min(budget, int(_METAL_WORKING_SET_RATIO * total))


def free_bytes(hardware: Hardware, pool: MemoryPool) -> int:
    if pool.free_bytes is None:
        free = int(pool.total_bytes * _UNKNOWN_FREE_RATIO[pool.kind])
    elif hardware.in_wsl and pool.kind == "dedicated":
        free = int(pool.free_bytes * _WSL_FREE_RATIO)
    else:
        free = pool.free_bytes
    if pool.id == hardware.host.id and hardware.cgroup_limit_bytes is not None:
        return min(free, hardware.cgroup_limit_bytes)
    return free


def _budget(hardware: Hardware, pool: MemoryPool, reserve_bytes: int | None) -> int:
    free = free_bytes(hardware, pool)
    if reserve_bytes is not None:
        return max(0, free - reserve_bytes)
    if pool.kind == "dedicated":
        wished = max(256 * MIB, pool.total_bytes // 50)
    else:
        wished = min(max(512 * MIB, pool.total_bytes // 20), 4 * GIB)
    return free - min(wished, free // 4)
