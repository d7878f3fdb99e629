"""Which layers go where.

llama.cpp numbers the output head as layer n_layers. The last n_gpu_layers of those n_layers + 1
go to the accelerators, in the order of their list, so the head is the first thing to leave the
CPU; the input embedding never does. We fill from the head downwards, the fastest device first, or
upwards where devices of unlike speed do not hold all (filling.py); devices of the same speed share
evenly by the room they have. What the devices can't hold is left to the host: a mixture's experts
first, those of the lowest layers, because of an expert's bytes only a few are read for a token;
whole layers only when all the experts are there already. Of the last layer whose experts leave,
those matrices stay that find room. A device that gets nothing is left out of the plan: llama.cpp
would still take buffers on it.
"""

from collections.abc import Sequence

from edgellm.probe.hardware import Device
from edgellm.selector.memory.layout import HOST_ONLY, Aside, Layout
from edgellm.selector.memory.load import Load
from edgellm.selector.memory.memory import needs
from edgellm.selector.memory.shares import Ways, placement_of
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.placing.experts import fewest_experts, first
from edgellm.selector.placing.filling import Arranged, Filling
from edgellm.selector.placing.machine import Machine, Shortfall
from edgellm.selector.plan import Placement

_ROUNDS = 4  # fills with the buffers that the last layout was found to need


def place(
    load: Load, machine: Machine, accelerators: Sequence[Device], ways: Ways | None = None
) -> Placement | Shortfall:
    """The placement with the most on `accelerators`, added up with the buffers of its own layout.

    Their order is chosen here, unless a tensor_split is given: then it is theirs.
    """
    ways = ways or Ways()
    corrections: dict[str, int] = {}
    tried: dict[Layout, Placement | Shortfall] = {}
    for _ in range(_ROUNDS):
        arranged = _arrange(load, machine, accelerators, ways, corrections)
        if arranged.layout in tried:
            break
        parts = needs(load.spec, load.shape, arranged.layout)
        placed = placement_of(load, machine, arranged.devices, arranged.layout, parts, ways)
        tried[arranged.layout] = placed
        corrections = _corrected(arranged, parts)
        if isinstance(placed, Shortfall):
            _make_room(corrections, placed, machine)
    return _fullest(list(tried.values()))


def sketch(
    load: Load, machine: Machine, accelerators: Sequence[Device], ways: Ways
) -> Placement | Shortfall:
    """As `place`, with compute buffers taken from a layout that is alike: a tenth of the time."""
    arranged = _arrange(load, machine, accelerators, ways, {})
    parts = load.parts(arranged.layout, arranged.buffers)
    return placement_of(load, machine, arranged.devices, arranged.layout, parts, ways)


def fill_order(machine: Machine, accelerators: Sequence[Device]) -> list[Device]:
    """The fastest first, then the roomiest; equal ones in llama.cpp's order."""
    backwards = list(reversed(accelerators))
    return sorted(backwards, key=lambda d: (-machine.bandwidth_bytes_s(d), -machine.room_bytes(d)))


def _arrange(
    load: Load,
    machine: Machine,
    accelerators: Sequence[Device],
    ways: Ways,
    corrections: dict[str, int],
) -> Arranged:
    if not accelerators or ways.n_wished(load.n_all) == 0:
        return Arranged((), HOST_ONLY, load.buffers(HOST_ONLY))
    in_order = bool(ways.tensor_split) or ways.split_mode != "layer"
    order = list(reversed(accelerators)) if in_order else fill_order(machine, accelerators)
    filling = Filling(load, machine, tuple(order), ways, corrections)
    return filling.arranged(*_most(filling))


def _corrected(arranged: Arranged, parts: Sequence[BufferBytes]) -> dict[str, int]:
    """By device, what its buffer takes beyond the assumed; less than nothing where it's smaller."""
    rows = zip(arranged.devices, parts, arranged.buffers, strict=False)
    return {device.id: part.compute_bytes - assumed for device, part, assumed in rows}


def _make_room(corrections: dict[str, int], short: Shortfall, machine: Machine) -> None:
    """Where devices share a pool with the host, its buffers are theirs to make room for."""
    for share in short.shares[:-1]:
        if share.pool_id == short.pool_id == machine.host_id:
            corrections[share.device_id] += short.missing_bytes


def _fullest(placed: Sequence[Placement | Shortfall]) -> Placement | Shortfall:
    """Of those that fit, the one with the most on devices; else the least that is missing."""
    fitting = [one for one in placed if isinstance(one, Placement)]
    if fitting:
        return max(fitting, key=lambda one: (one.n_gpu_layers, -one.shares[-1].weight_bytes))
    short = [one for one in placed if isinstance(one, Shortfall)]
    return min(short, key=lambda one: one.missing_bytes)


def _most(filling: Filling) -> tuple[int, Aside]:
    """(n_gpu_layers, aside): all layers, else all but some experts, else fewer layers."""
    load, ways = filling.load, filling.ways
    wished, aside = ways.n_wished(load.n_all), Aside(min(ways.n_cpu_moe or 0, load.n_blocks))
    if filling.fits(wished, aside):
        return wished, aside
    if ways.n_cpu_moe is None and load.bulk.has_experts and ways.experts_first:
        aside = Aside(load.n_blocks)
        if filling.fits(wished, aside):
            return wished, fewest_experts(filling, wished)
    if ways.n_gpu_layers is not None:
        return wished, aside
    n_left_out = first(lambda n: filling.fits(wished - n, aside), 1, wished)
    return wished - n_left_out, aside
