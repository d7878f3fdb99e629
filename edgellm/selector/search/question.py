"""What the search is asked: one machine and one goal, the same for all candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import field

from edgellm.probe.hardware import Hardware
from edgellm.probe.known.limits import Limits, backend_limits
from edgellm.selector.memory.beside import beside
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.devices import (
    DeviceSet,
    are_thinned,
    device_sets,
    usable_accelerators,
    within_watts,
)
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Candidate, Goal
from edgellm.selector.profiles import Profiles, Workload
from edgellm.selector.search.ranking import Merit, Rank, rank
from edgellm.values import frozen


@frozen
class Question:
    machine: Machine
    goal: Goal
    profiles: Profiles
    accelerators: DeviceSet
    sets: tuple[DeviceSet, ...]  # of accelerators; the empty one is the CPU alone
    only_best: bool = False  # nothing is shown beside the answer
    limits: Mapping[str, Limits] = field(default_factory=dict)  # of each accelerator's backend
    may_idle: bool = False  # a set may come down to fewer devices that are none themselves
    machine_flags: str = ""  # " --on rpi5": what a command that is hinted at needs to mean it

    @classmethod
    def of(
        cls,
        machine: Machine,
        goal: Goal,
        profiles: Profiles,
        *,
        only_best: bool = False,
        machine_flags: str = "",
    ) -> "Question":
        accelerators = usable_accelerators(machine.hardware)
        sets = _sets(machine, goal, accelerators)
        limits = {one.id: backend_limits(one, profiles.backends) for one in accelerators}
        may_idle = bool(goal.tensor_split) or are_thinned(machine, accelerators)
        return cls(
            machine, goal, profiles, accelerators, sets, only_best, limits, may_idle, machine_flags
        )

    def with_margins(self, margins: Mapping[str, int]) -> "Question":
        return Question.of(
            self.machine.with_margins(margins),
            self.goal,
            self.profiles,
            only_best=self.only_best,
            machine_flags=self.machine_flags,
        )

    def ways(self, devices: DeviceSet) -> Ways:
        goal = self.goal
        split = tuple(part for part in goal.tensor_split or () if part)
        is_split = len(devices) > 1
        return Ways(
            n_gpu_layers=goal.n_gpu_layers if devices else None,
            n_cpu_moe=goal.n_cpu_moe if devices else None,
            tensor_split=split if is_split else (),
            split_mode=(goal.split_mode or "layer") if is_split else "layer",
            op_offload=goal.op_offload is not False,
        )

    @property
    def workload(self) -> Workload:
        return self.profiles.workload(self.goal.use)

    def rank(self, merit: Merit) -> Rank:
        return rank(merit, self.goal, self.profiles)


def machine_for(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal, profiles: Profiles
) -> Machine:
    """With the room that is left by what is loaded beside the candidates, and by the reserve."""
    budgets = pool_budgets(hardware, goal.reserve_bytes, beside(hardware, candidates))
    return Machine(hardware, budgets, profiles.speed)


def _sets(machine: Machine, goal: Goal, accelerators: DeviceSet) -> tuple[DeviceSet, ...]:
    """Those that the pins leave. A pinned split names its devices itself."""
    if goal.tensor_split:
        named = zip(accelerators, goal.tensor_split, strict=False)
        return (tuple(device for device, part in named if part),)
    sets = within_watts(machine.hardware, device_sets(machine, accelerators), goal.max_watts)
    if goal.split_mode in ("row", "tensor"):
        return tuple(some for some in sets if len(some) > 1)
    must_offload = bool(accelerators) and (goal.n_gpu_layers or goal.n_cpu_moe is not None)
    if goal.n_gpu_layers == 0:
        return ((),)
    return sets if must_offload else (*sets, ())
