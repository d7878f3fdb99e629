"""Which devices take part: every choice that isn't the same as another one.

Cards of one kind are alike, so only their number counts, the roomiest first. More than a few
kinds have too many combinations; then the fastest, the two fastest and so on, each kind alone and
each card alone stand for all.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, product
from math import prod

from edgellm.probe.hardware import Device, Hardware
from edgellm.selector.placing.machine import Machine
from edgellm.selector.power import power_w

_MAX_SETS = 40

DeviceSet = tuple[Device, ...]


def usable_accelerators(hardware: Hardware) -> DeviceSet:
    """Graphics inside the CPU are left alone beside a card of its own memory, as llama.cpp does."""
    own = tuple(
        device
        for device in hardware.accelerators
        if hardware.pool(device.pool_id).kind == "dedicated"
    )
    return own or hardware.accelerators


def device_sets(machine: Machine, accelerators: DeviceSet) -> tuple[DeviceSet, ...]:
    """Without the empty one; few devices first, fast ones first among equally many."""
    kinds = _kinds(machine, accelerators)
    order = [device for kind in kinds for device in kind]
    if _n_choices(kinds) <= _MAX_SETS:
        found = list(_combinations(kinds))
    else:
        found = [order[:n] for n in range(1, len(order) + 1)]
        found += kinds
        found += [[device] for device in order]
    rank = {device.id: i for i, device in enumerate(order)}
    unique = {tuple(sorted(rank[device.id] for device in some)): some for some in found}
    listed = accelerators.index
    return tuple(
        tuple(sorted(unique[key], key=listed))
        for key in sorted(unique, key=lambda key: (len(key), key))
    )


def are_thinned(machine: Machine, accelerators: DeviceSet) -> bool:
    """Whether `device_sets` lacks choices that a larger one of them may come down to."""
    return _n_choices(_kinds(machine, accelerators)) > _MAX_SETS


def within_watts(
    hardware: Hardware, sets: Sequence[DeviceSet], max_watts: float | None
) -> tuple[DeviceSet, ...]:
    """Those whose boards together keep the limit, or don't say what they draw."""
    if max_watts is None:
        return tuple(sets)
    drawn = [power_w(hardware, [device.id for device in some]) for some in sets]
    return tuple(
        some for some, watts in zip(sets, drawn, strict=True) if watts is None or watts <= max_watts
    )


def _kinds(machine: Machine, accelerators: DeviceSet) -> list[list[Device]]:
    """The fastest first, the roomiest first in each."""
    order = sorted(accelerators, key=lambda d: (*_pace(machine, d), -machine.room_bytes(d)))
    return [list(alike) for _, alike in groupby(order, key=lambda d: _kind(machine, d))]


def _n_choices(kinds: Sequence[Sequence[Device]]) -> int:
    """The empty one, too."""
    return prod(len(kind) + 1 for kind in kinds)


def _combinations(kinds: Sequence[Sequence[Device]]) -> Iterator[list[Device]]:
    for counts in product(*(range(len(kind) + 1) for kind in kinds)):
        chosen = [device for kind, n in zip(kinds, counts, strict=True) for device in kind[:n]]
        if chosen:
            yield chosen


def _kind(machine: Machine, device: Device) -> tuple[object, ...]:
    return (*_pace(machine, device), device.backend, device.link)


def _pace(machine: Machine, device: Device) -> tuple[float, str]:
    """The fastest first, those of one name side by side."""
    return -machine.bandwidth_bytes_s(device), device.name
