"""What of each memory pool may be planned with.

    budget = free now − reserve        the reserve: the user's, or max(256 MiB, 2 %) of a device's
                                       own memory, or 5 % of what the CPU lives in, within 512 MiB
                                       and 4 GiB; never more than a quarter of what is free

Free is what other processes leave, and for the host what its cgroup still allows. Free memory that
nobody can tell is taken as a part of the total, so no pool is ever without an end. A device that
lives in the CPU's memory may have a limit of its own there: a Mac's GPU wires two thirds to three
quarters. A reserve is for what we don't see coming: the desktop's next window, fragmentation, the
driver's own buffers.
"""

from collections.abc import Mapping

from edgellm.probe.hardware import Device, Hardware, MemoryPool
from edgellm.units import GIB, MIB

_UNKNOWN_FREE_RATIO = {"host": 0.75, "unified": 0.7, "dedicated": 0.9}
# recommendedMaxWorkingSetSize as Macs report it: 10.7 of 16 GiB, 21.3 of 32, 27 of 36, 48 of 64.
_METAL_WORKING_SET_RATIO, _SMALL_METAL_WORKING_SET_RATIO = 3 / 4, 2 / 3
_SMALL_METAL_BYTES = 36 * GIB
_WSL_FREE_RATIO = 0.95  # Windows may take back what WSL reports as free

Budgets = Mapping[str, int]  # pool id → bytes
_NOTHING: Budgets = {}


def pool_budgets(
    hardware: Hardware, reserve_bytes: int | None = None, beside: Budgets = _NOTHING
) -> dict[str, int]:
    """`beside`: what else is going to be loaded, by pool: beside.py adds it up."""
    return {
        pool.id: max(0, _budget(hardware, pool, reserve_bytes) - beside.get(pool.id, 0))
        for pool in hardware.pools
    }


def device_limit_bytes(hardware: Hardware, device: Device, budgets: Budgets) -> int:
    """What one device may take of its pool."""
    budget = budgets[device.pool_id]
    if device.memory_limit_bytes is not None:
        return min(budget, device.memory_limit_bytes)
    if device.backend != "metal":
        return budget
    total = hardware.pool(device.pool_id).total_bytes
    small = total < _SMALL_METAL_BYTES
    ratio = _SMALL_METAL_WORKING_SET_RATIO if small else _METAL_WORKING_SET_RATIO
    return min(budget, int(ratio * total))


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
