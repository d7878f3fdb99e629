"""Every way worth considering to run one candidate on one machine: what fits, and what doesn't.

For each context setting the placements tried are the fastest accelerator, the two fastest, and so
on, and the CPU alone; the quickest that fits is the option. A device that adds nothing to speed is
thereby left out. Where a setting fits whole on the accelerators no smaller one is looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Device, Hardware
from edgellm.selector.memory import ContextShape
from edgellm.selector.plan import Candidate, Goal, Placement, Range
from edgellm.selector.profiles import Profiles, Workload
from edgellm.selector.quality import kv_kld, weight_kld
from edgellm.selector.settings import Setting, settings
from edgellm.selector.speed import decode_tok_s, prefill_tok_s
from edgellm.selector.split import Machine, Shortfall, fill_order, place


@dataclass(frozen=True, slots=True)
class Pace:
    decode: Range  # tok/s, one stream
    prefill: Range

    def request_s(self, workload: Workload) -> float:
        """How long a typical request takes, alone."""
        return workload.n_prompt / self.prefill.p50 + workload.n_answer / self.decode.p50


@dataclass(frozen=True, slots=True)
class Option:
    """A candidate in a context, placed: it fits."""

    candidate: Candidate
    setting: Setting
    placement: Placement
    pace: Pace
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


@dataclass(frozen=True, slots=True)
class _Question:
    """One model, on one machine, for one use."""

    spec: ModelSpec
    machine: Machine
    accelerators: tuple[Device, ...]
    workload: Workload
    n_gpu_layers: int | None

    def might_fit_whole(self) -> bool:
        """Weights alone leave room on the accelerators."""
        room = sum(self.machine.room_bytes(device) for device in self.accelerators)
        layers = sum(layer.weight_bytes for layer in self.spec.layers)
        return layers + self.spec.output_bytes < room


def explore(
    candidate: Candidate, machine: Machine, goal: Goal, profiles: Profiles
) -> Iterator[Option | Miss]:
    spec, workload = candidate.spec, profiles.workload(goal.use)
    accelerators = usable_accelerators(machine.hardware)
    question = _Question(spec, machine, accelerators, workload, goal.n_gpu_layers)
    loss = weight_kld(profiles.quality, candidate.quant, spec)
    must_be_whole = bool(accelerators) and question.might_fit_whole()
    good: list[Setting] = []
    for setting in settings(spec, goal, workload):
        if any(_covers(better, setting) for better in good):
            continue  # a smaller context would gain nothing worth its loss
        found = _best_placement(question, setting.shape)
        if isinstance(found, Shortfall):
            yield Miss(candidate, setting, found)
            continue
        placement, pace = found
        cache_loss = kv_kld(profiles.quality, setting.kv_type_k, setting.kv_type_v)
        yield Option(candidate, setting, placement, pace, loss, cache_loss)
        if placement.n_gpu_layers > spec.n_layers or not must_be_whole:
            good.append(setting)


def _covers(better: Setting, setting: Setting) -> bool:
    return better.n_parallel >= setting.n_parallel and better.n_ctx_seq >= setting.n_ctx_seq


def usable_accelerators(hardware: Hardware) -> tuple[Device, ...]:
    """Graphics inside the CPU are left alone beside a card of its own memory, as llama.cpp does."""
    own = tuple(
        device
        for device in hardware.accelerators
        if hardware.pool(device.pool_id).kind == "dedicated"
    )
    return own or hardware.accelerators


def _best_placement(question: _Question, shape: ContextShape) -> tuple[Placement, Pace] | Shortfall:
    spec, machine = question.spec, question.machine
    best: tuple[Placement, Pace] | None = None
    nearest: Shortfall | None = None
    for devices in _device_sets(question):
        placed = place(spec, shape, machine, devices, question.n_gpu_layers)
        if isinstance(placed, Shortfall):
            if nearest is None or placed.missing_bytes < nearest.missing_bytes:
                nearest = placed
            continue
        pace = _pace(spec, shape, placed, machine)
        workload = question.workload
        if best is None or pace.request_s(workload) < best[1].request_s(workload):
            best = placed, pace
        if placed.n_gpu_layers > spec.n_layers:
            break  # whole on the fastest that can hold it: more devices only add hops
    if best:
        return best
    assert nearest is not None  # there is always the CPU
    return nearest


def _pace(spec: ModelSpec, shape: ContextShape, placed: Placement, machine: Machine) -> Pace:
    return Pace(
        decode_tok_s(spec, shape, placed, machine.hardware, machine.speed),
        prefill_tok_s(spec, shape, placed, machine.hardware, machine.speed),
    )


def _device_sets(question: _Question) -> Iterator[list[Device]]:
    """The fastest, the two fastest, …, and none: the CPU alone, unless layers are pinned."""
    order = fill_order(question.machine, question.accelerators)
    in_hardware_order = question.accelerators.index
    for n in range(1, len(order) + 1):
        yield sorted(order[:n], key=in_hardware_order)
    if not order or question.n_gpu_layers in (None, 0):
        yield []
