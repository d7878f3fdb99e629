"""Which layers go where, and the tensor_split that makes llama.cpp agree.

llama.cpp numbers the output head as layer n_layers. The last n_gpu_layers of those n_layers + 1
go to the accelerators, in the order of their list, so the head is the first thing to leave the
CPU; the input embedding never does. We fill from the head downwards, the fastest device first;
devices of the same speed share evenly by the room they have. A device that gets nothing is left
out of the plan, because llama.cpp would still take buffers on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.probe.hardware import Device, Hardware
from edgellm.selector.budget import Budgets, device_limit_bytes
from edgellm.selector.memory import (
    ContextShape,
    device_compute_bytes,
    host_compute_bytes,
    host_weight_bytes,
    layer_kv_bytes_each,
)
from edgellm.selector.plan import Placement, Share
from edgellm.selector.profiles import SpeedProfile

_BALANCE_STEPS = 12  # halvings while looking for the fullest common level of equal devices


@dataclass(frozen=True, slots=True)
class Machine:
    """What a placement is made for."""

    hardware: Hardware
    budgets: Budgets
    speed: SpeedProfile

    def room_bytes(self, device: Device) -> int:
        return device_limit_bytes(self.hardware, device, self.budgets)

    def overhead_bytes(self, device: Device) -> int:
        return self.speed.family(device).overhead_bytes

    def bandwidth_bytes_s(self, device: Device) -> float:
        known = self.hardware.pool(device.pool_id).bandwidth_bytes_s
        return known or self.speed.family(device).unknown_bandwidth_bytes_s


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What a placement would overfill: a pool, or what one device may take of it."""

    pool_id: str
    needed_bytes: int
    available_bytes: int
    shares: tuple[Share, ...]  # of that placement, all of them

    @property
    def missing_bytes(self) -> int:
        return self.needed_bytes - self.available_bytes


@dataclass(frozen=True, slots=True)
class _Load:
    """A model in a context: what each layer weighs, the head as the last one."""

    spec: ModelSpec
    shape: ContextShape
    weights: tuple[int, ...] = field(init=False)
    kv: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        weights = (*(layer.weight_bytes for layer in self.spec.layers), self.spec.output_bytes)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "kv", (*layer_kv_bytes_each(self.spec, self.shape), 0))

    @property
    def n_all(self) -> int:
        return len(self.weights)


def place(
    spec: ModelSpec,
    shape: ContextShape,
    machine: Machine,
    accelerators: Sequence[Device],
    n_gpu_layers: int | None = None,
) -> Placement | Shortfall:
    """The placement with the most layers on `accelerators`, or exactly `n_gpu_layers` of them
    (negative: all, as llama.cpp has it)."""
    load = _Load(spec, shape)
    wished = load.n_all
    if n_gpu_layers is not None and n_gpu_layers >= 0:
        wished = min(n_gpu_layers, load.n_all)
    if wished == 0 or not accelerators:
        return _finish(load, machine, {})
    order = fill_order(machine, accelerators)
    pinned = n_gpu_layers is not None
    left_to_host = spec.layers[: load.n_all - wished]
    taken = _fill(load, _rooms(load, machine, order, left_to_host), order, machine, wished)
    if not pinned and _count(taken) < wished:
        # Not everything fits, so op_offload's copy needs room too: fill again, with it.
        rooms = _rooms(load, machine, order, spec.layers)
        taken = _fill(load, rooms, order, machine, wished - 1)
    if pinned:
        taken = _force(taken, order, load.n_all, wished)
    return _finish(load, machine, taken)


def fill_order(machine: Machine, accelerators: Sequence[Device]) -> list[Device]:
    """The fastest first, then the roomiest; equal ones in llama.cpp's order."""
    backwards = list(reversed(accelerators))
    return sorted(backwards, key=lambda d: (-machine.bandwidth_bytes_s(d), -machine.room_bytes(d)))


def tensor_split(counts: Sequence[int]) -> tuple[float, ...]:
    """Proportions for which llama.cpp gives device i exactly counts[i] layers.

    llama.cpp puts its k-th offloaded layer on the first device whose cumulated share exceeds
    k / n. Cutting half a layer before each border keeps clear of float32 rounding on both sides.
    Source: src/llama-model.cpp load_tensors, std::upper_bound.
    """
    if len(counts) < 2:
        return tuple(1.0 for _ in counts)
    return (counts[0] - 0.5, *(float(n) for n in counts[1:-1]), counts[-1] + 0.5)


# ---- filling


def _fill(
    load: _Load, rooms: dict[str, int], order: Sequence[Device], machine: Machine, wished: int
) -> dict[str, range]:
    """Up to `wished` layers from the head down; device id → its layers, in the order of filling."""
    end = load.n_all
    floor = end - wished
    taken: dict[str, range] = {}
    for _, equals in groupby(order, key=machine.bandwidth_bytes_s):
        group = list(equals)
        filled = _level(load, [rooms[device.id] for device in group], end, floor)
        for device, layers in zip(group, filled, strict=True):
            if layers:
                taken[device.id] = layers
                end = layers.start
    return taken


def _force(
    taken: dict[str, range], order: Sequence[Device], n_all: int, wished: int
) -> dict[str, range]:
    """What was asked for and found no room goes to the last device, so that the sum can be told."""
    if _count(taken) == wished:
        return taken
    last = next(reversed(taken), order[0].id)
    stop = taken[last].stop if last in taken else n_all
    return {**taken, last: range(n_all - wished, stop)}


def _count(taken: dict[str, range]) -> int:
    return sum(len(layers) for layers in taken.values())


def _rooms(
    load: _Load, machine: Machine, order: Sequence[Device], host_layers: tuple[LayerSpec, ...]
) -> dict[str, int]:
    """What each device has left for weights and KV, if all of them take part."""
    rooms = {}
    for device in order:
        compute = device_compute_bytes(
            load.spec,
            load.shape,
            holds_head=True,  # whoever turns out to have it
            n_accelerators=len(order),
            is_first=device is order[-1],
            host_layers=host_layers,
        )
        room = machine.room_bytes(device)
        if device.pool_id == machine.hardware.host.id:
            fixed = _host_fixed(load, len(host_layers), len(order))
            room = min(room, machine.budgets[device.pool_id] - fixed)
        rooms[device.id] = room - compute - machine.overhead_bytes(device)
    return rooms


def _level(load: _Load, rooms: Sequence[int], end: int, floor: int) -> list[range]:
    """Fill equal devices to the lowest common level that takes all, or to the brim."""
    best = _take(load, rooms, end, floor)
    if len(rooms) < 2 or best[-1].start > floor:
        return best
    low, high = 0.0, 1.0
    for _ in range(_BALANCE_STEPS):
        level = (low + high) / 2
        tried = _take(load, [int(room * level) for room in rooms], end, floor)
        if tried[-1].start > floor:
            low = level
        else:
            best, high = tried, level
    return best


def _take(load: _Load, rooms: Sequence[int], end: int, floor: int) -> list[range]:
    taken = []
    for room in rooms:
        start = end
        while start > floor:
            room -= load.weights[start - 1] + load.kv[start - 1]
            if room < 0:
                break
            start -= 1
        taken.append(range(start, end))
        end = start
    return taken


# ---- adding up


def _finish(load: _Load, machine: Machine, taken: dict[str, range]) -> Placement | Shortfall:
    ids = list(reversed(taken))  # llama.cpp's order: the lowest layers first
    first = min((taken[i].start for i in ids), default=load.n_all)
    host_layers = load.spec.layers[:first]
    shares = [
        _device_share(load, machine, machine.hardware.device(i), taken[i], ids, host_layers)
        for i in ids
    ]
    shares.append(_host_share(load, machine, first, len(ids)))
    if shortfall := _overfull(machine, tuple(shares)):
        return shortfall
    counts = [len(taken[i]) for i in ids]
    return Placement(tuple(shares), sum(counts), tensor_split(counts))


def _overfull(machine: Machine, shares: tuple[Share, ...]) -> Shortfall | None:
    for share in shares[:-1]:
        limit = machine.room_bytes(machine.hardware.device(share.device_id))
        if share.total_bytes > limit:
            return Shortfall(share.pool_id, share.total_bytes, limit, shares)
    for pool_id, budget in machine.budgets.items():
        needed = sum(share.total_bytes for share in shares if share.pool_id == pool_id)
        if needed > budget:
            return Shortfall(pool_id, needed, budget, shares)
    return None


def _device_share(
    load: _Load,
    machine: Machine,
    device: Device,
    layers: range,
    ids: Sequence[str],
    host_layers: tuple[LayerSpec, ...],
) -> Share:
    compute = device_compute_bytes(
        load.spec,
        load.shape,
        holds_head=load.spec.n_layers in layers,
        n_accelerators=len(ids),
        is_first=device.id == ids[0],
        host_layers=host_layers,
    )
    return Share(
        device.id,
        device.pool_id,
        tuple(layers),
        sum(load.weights[layers.start : layers.stop]),
        sum(load.kv[layers.start : layers.stop]),
        compute,
        machine.overhead_bytes(device),
    )


def _host_share(load: _Load, machine: Machine, n_layers: int, n_accelerators: int) -> Share:
    holds_head = n_layers == load.n_all
    blocks = min(n_layers, load.spec.n_layers)
    return Share(
        "cpu",
        machine.hardware.host.id,
        tuple(range(n_layers)),
        sum(load.weights[:blocks]) + host_weight_bytes(load.spec, holds_head=holds_head),
        sum(load.kv[:blocks]),
        host_compute_bytes(load.spec, load.shape, n_layers=n_layers, n_accelerators=n_accelerators),
    )


def _host_fixed(load: _Load, n_layers: int, n_accelerators: int) -> int:
    compute = host_compute_bytes(
        load.spec, load.shape, n_layers=n_layers, n_accelerators=n_accelerators
    )
    return host_weight_bytes(load.spec, holds_head=False) + compute
