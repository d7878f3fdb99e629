"""Every way worth considering to run one candidate on one machine: what fits, and what doesn't.

For each context setting the placements tried are the fastest accelerator, the two fastest, and so
on, and the CPU alone; the quickest that fits is the option. A device that adds nothing to speed is
thereby left out. The search stops as soon as the wished setting fits whole on the accelerators.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Device, Hardware
from edgellm.selector.memory import ContextShape
from edgellm.selector.plan import Candidate, Goal, Range
from edgellm.selector.profiles import Profiles
from edgellm.selector.quality import kv_kld, weight_kld
from edgellm.selector.settings import Setting, settings
from edgellm.selector.speed import decode_tok_s
from edgellm.selector.split import Machine, Placement, Shortfall, fill_order, place


@dataclass(frozen=True, slots=True)
class Option:
    """A candidate in a context, placed: it fits."""

    candidate: Candidate
    setting: Setting
    placement: Placement
    decode: Range
    weight_kld: float
    kv_kld: float

    @property
    def kld(self) -> float:
        return self.weight_kld + self.kv_kld


@dataclass(frozen=True, slots=True)
class Miss:
    """A candidate in a context that fits nowhere, by the placement that came nearest."""

    candidate: Candidate
    setting: Setting
    shortfall: Shortfall


def explore(
    candidate: Candidate, machine: Machine, goal: Goal, profiles: Profiles
) -> Iterator[Option | Miss]:
    spec = candidate.spec
    accelerators = usable_accelerators(machine.hardware)
    loss = weight_kld(profiles.quality, candidate.quant, spec)
    can_be_whole = not accelerators or _might_fit_whole(spec, machine, accelerators)
    n_parallel_done = 0
    for setting in settings(spec, goal, profiles.workload(goal.use)):
        if n_parallel_done and setting.n_parallel != n_parallel_done and not can_be_whole:
            return
        found = _best_placement(spec, setting.shape, machine, accelerators, goal.n_gpu_layers)
        if isinstance(found, Shortfall):
            yield Miss(candidate, setting, found)
            continue
        placement, decode = found
        cache_loss = kv_kld(profiles.quality, setting.kv_type_k, setting.kv_type_v)
        yield Option(candidate, setting, placement, decode, loss, cache_loss)
        n_parallel_done = setting.n_parallel
        if not accelerators or placement.n_gpu_layers > spec.n_layers or not can_be_whole:
            return


def usable_accelerators(hardware: Hardware) -> tuple[Device, ...]:
    """Graphics inside the CPU are left alone beside a card of its own memory, as llama.cpp does."""
    own = tuple(
        device
        for device in hardware.accelerators
        if hardware.pool(device.pool_id).kind == "dedicated"
    )
    return own or hardware.accelerators


def _best_placement(
    spec: ModelSpec,
    shape: ContextShape,
    machine: Machine,
    accelerators: Sequence[Device],
    n_gpu_layers: int | None,
) -> tuple[Placement, Range] | Shortfall:
    best: tuple[Placement, Range] | None = None
    nearest: Shortfall | None = None
    for devices in _device_sets(machine, accelerators, n_gpu_layers):
        placed = place(spec, shape, machine, devices, n_gpu_layers)
        if isinstance(placed, Shortfall):
            if nearest is None or placed.missing_bytes < nearest.missing_bytes:
                nearest = placed
            continue
        decode = decode_tok_s(spec, shape, placed.shares, machine.hardware, machine.speed)
        if best is None or decode.p50 > best[1].p50:
            best = placed, decode
        if placed.n_gpu_layers > spec.n_layers:
            break  # whole on the fastest that can hold it: more devices only add hops
    if best:
        return best
    assert nearest is not None  # there is always the CPU
    return nearest


def _device_sets(
    machine: Machine, accelerators: Sequence[Device], n_gpu_layers: int | None
) -> Iterator[list[Device]]:
    order = fill_order(machine, accelerators)
    in_hardware_order = list(accelerators).index
    for n in range(1, len(order) + 1):
        yield sorted(order[:n], key=in_hardware_order)
    if not order or n_gpu_layers in (None, 0):
        yield []


def _might_fit_whole(spec: ModelSpec, machine: Machine, accelerators: Sequence[Device]) -> bool:
    room = sum(machine.room_bytes(device) for device in accelerators)
    return sum(layer.weight_bytes for layer in spec.layers) + spec.output_bytes < room
