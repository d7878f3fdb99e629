"""The search over one candidate: contexts, devices and placements, the promising ones first.

Each pair of a context and a choice of devices gets a bound, the rank that it would have if it were
as fast as it possibly could be. Pairs are tried in the order of their bounds; when the next bound
is below the best rank that was found, nothing that is left can win, and the search ends. So it
finds what trying everything would find. Where other plans are to be shown beside it, those are
looked at, too, that would lose by their first token alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.placing.draft import beside_draft
from edgellm.selector.placing.machine import Machine, Shortfall
from edgellm.selector.placing.split import place, sketch
from edgellm.selector.plan import Candidate, Placement, Range
from edgellm.selector.power import placement_power_w
from edgellm.selector.search.limited import Barred, Limited
from edgellm.selector.search.loads import Loads
from edgellm.selector.search.merits import Merits
from edgellm.selector.search.options import Miss, Option, Unmet
from edgellm.selector.search.paces import prompt_tok_s, reading
from edgellm.selector.search.question import Question
from edgellm.selector.search.ranking import (
    Pace,
    Rank,
    wants_tensor_split,
    wants_throughput,
)
from edgellm.selector.search.settings import Setting, is_stuck, settings
from edgellm.selector.search.tried import Tried
from edgellm.selector.speed.bounds import Bound, Bounds
from edgellm.units import MIB, format_rate
from edgellm.values import frozen

_CLOSE_BYTES, _CLOSE_RATIO = 256 * MIB, 0.02


@dataclass(slots=True)
class Search:
    """One candidate. `options` and `misses` are what was tried; `best` is the answer."""

    question: Question
    candidate: Candidate
    last_resort: bool = False
    allow_disk: bool = False
    options: list[Option] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    best: Option | None = None
    best_rank: Rank = ()
    wished: tuple[Setting, ...] = field(init=False)
    limited: Limited = field(init=False)
    merits: Merits = field(init=False)
    _loads: Loads = field(init=False)
    _bounds: Bounds = field(init=False)
    _pairs: list["_Pair"] = field(default_factory=list)

    def __post_init__(self) -> None:
        goal, workload = self.question.goal, self.question.workload
        self.wished = tuple(settings(self.spec, goal, workload, last_resort=self.last_resort))
        self.limited = Limited(self.question, self.candidate)
        self.merits = Merits(self.question, self.candidate)
        self._loads = Loads(self.spec, self.wished)
        self._bounds = Bounds(self.spec, self.question.machine)

    def run(self, floor: Rank = ()) -> "Search":
        """What would rank below `floor` isn't looked for."""
        if self._is_hopeless:
            self._miss_once()
            return self
        tried, pairs = Tried(), self._by_bound()
        for n, pair in enumerate(pairs):
            if pair.bound < floor:
                break
            if self.best and pair.bound <= self.best_rank:
                self._look_beside(pairs[n:], tried)
                break
            self._try(pair, tried)
        return self

    @property
    def promise(self) -> Rank:
        """What it would rank at best."""
        pairs = () if self._is_hopeless else self._by_bound()
        return pairs[0].bound if pairs else ()

    def _look_beside(self, pairs: Sequence["_Pair"], tried: Tried) -> None:
        """For those who see other plans: what loses by its first token alone."""
        if self.question.only_best:
            return
        for pair in pairs:
            if self.bound_if_first_by(0.0, pair.setting, pair.devices) > self.best_rank:
                self._try(pair, tried)

    def _try(self, pair: "_Pair", tried: Tried) -> None:
        setting, devices = pair.setting, pair.devices
        if tried.cover(setting, devices):
            return  # a smaller context on the same equal devices is no faster
        option = self.attempt(setting, devices, self.question.ways(devices))
        if option and _is_whole(option) and self._are_equal(devices):
            tried.add(setting, devices)

    @property
    def spec(self) -> ModelSpec:
        return self.candidate.spec

    @property
    def _is_hopeless(self) -> bool:
        """The weights alone exceed all memory, or no placement is fast enough and nobody wants to
        know by how much."""
        room = sum(self.question.machine.budgets.values())
        weights_bytes = self._loads.bulk.weights[-1]
        is_too_large = not self.allow_disk and weights_bytes > room
        return bool(self.question.sets) and (is_too_large or self._is_too_slow)

    @property
    def _is_too_slow(self) -> bool:
        goal = self.question.goal
        if goal.min_tok_s is None or self.spec.is_embedding or not self.question.only_best:
            return False
        return not self._may_split and self.most_tok_s() < goal.min_tok_s

    @property
    def _may_split(self) -> bool:
        """Devices may share each layer, while bounds take them one after the other."""
        goal = self.question.goal
        unasked = wants_tensor_split(goal) and len(self.question.accelerators) > 1
        return goal.split_mode in ("row", "tensor") or (goal.split_mode is None and unasked)

    def _miss_once(self) -> None:
        """One attempt tells by how much it misses."""
        able = [some for some in self.question.sets if not any(map(self.limited.why_not, some))]
        devices = max(able or self.question.sets, key=len)
        self.attempt(self.wished[-1], devices, self.question.ways(devices))

    def _are_equal(self, devices: DeviceSet) -> bool:
        """Then it is all the same which of them has how much."""
        return len({self.question.machine.bandwidth_bytes_s(device) for device in devices}) == 1

    def attempt(self, setting: Setting, devices: DeviceSet, ways: Ways) -> Option | None:
        """Looked at, and remembered; the option when it fits and does. What may be the best so
        far, or hardly misses, is added up exactly before it is believed."""
        found = self.look(setting, devices, ways)
        if _is_close(found) if isinstance(found, Miss) else self._wins(found):
            found = self.look(setting, devices, ways, exactly=True)
        if isinstance(found, Miss):
            self.misses.append(found)
            return None
        self.options.append(found)
        if self._wins(found):
            self.settle(found)
        return found

    def settle(self, option: Option) -> None:
        """It is the answer as far as we know."""
        self.best, self.best_rank = option, self.question.rank(option.merit)

    def attempt_if_hopeful(self, setting: Setting, devices: DeviceSet, ways: Ways) -> None:
        """An attempt, unless it can't win and only the answer counts."""
        is_hopeful = self.best is None or self.bound(setting, devices, ways) > self.best_rank
        if is_hopeful or not self.question.only_best:
            self.attempt(setting, devices, ways)

    def look(
        self, setting: Setting, devices: DeviceSet, ways: Ways, *, exactly: bool = False
    ) -> Option | Miss:
        if self.allow_disk:
            ways = replace(ways, allow_disk=True)
        fitted = self.limited.fitted(setting, devices)
        if isinstance(fitted, Barred):
            return Miss(self.candidate, setting, fitted)
        setting, add_up = fitted, place if exactly else sketch
        machine = beside_draft(self.question.machine, self.candidate, setting.shape, devices)
        placed = add_up(self._loads.of(setting), machine, devices, ways)
        if isinstance(placed, Shortfall):
            return Miss(self.candidate, setting, placed)
        option = self._option(setting, devices, placed, ways, machine)
        unmet = self._unmet(option)
        return Miss(self.candidate, setting, unmet) if unmet else option

    def _wins(self, option: Option) -> bool:
        return self.best is None or self.question.rank(option.merit) > self.best_rank

    def _by_bound(self) -> list["_Pair"]:
        """Among equals fewer devices, then the most wished setting."""
        if not self._pairs:
            sets = ((devices, self.question.ways(devices)) for devices in self.question.sets)
            self._pairs = [
                _Pair(self.bound(setting, devices, ways), setting, devices)
                for devices, ways in sets
                for setting in self.wished
            ]
            self._pairs.sort(key=lambda pair: pair.bound, reverse=True)
        return self._pairs

    def bound(self, setting: Setting, devices: DeviceSet, ways: Ways) -> Rank:
        """What no placement's rank lies above."""
        facts = self._loads.of(setting), setting, self.question.workload.n_prompt
        first_s = self._reach(devices).least_first_s(*facts, op_offload=ways.op_offload)
        return self.bound_if_first_by(first_s, setting, devices)

    def bound_if_first_by(self, first_s: float, setting: Setting, devices: DeviceSet) -> Rank:
        """The same, if the first token came after `first_s`."""
        reach = self._reach(devices)
        pace = self._best_pace(reach, setting, len(devices), first_s)
        n_devices, watts = len(devices), reach.power_w
        if self.question.may_idle:
            n_devices, watts = min(n_devices, 1), reach.least_power_w
        return self.question.rank(self.merits.of(setting, pace, n_devices, watts))

    def _reach(self, devices: DeviceSet) -> Bound:
        return self._bounds.of(devices, self.wished[0])

    def most_tok_s(self) -> float:
        """One stream's, in whatever context on whatever devices."""
        rates = (
            self._reach(devices).most_tok_s(self._loads.of(setting), setting)
            for devices, setting in product(self.question.sets, self.wished)
        )
        return max(rates, default=0.0)

    def ideal_tok_s(self) -> float:
        """The same, if each device had the room for everything."""
        accelerators = self.question.accelerators
        reach, at_once = self._reach(accelerators), len(accelerators) if self._may_split else 1
        return at_once * max(reach.ideal_tok_s(setting) for setting in self.wished)

    def _best_pace(self, reach: Bound, setting: Setting, n_devices: int, first_s: float) -> Pace:
        """Devices that share each layer are at best as many times as fast."""
        goal, load = self.question.goal, self._loads.of(setting)
        at_once = n_devices if goal.split_mode in ("row", "tensor") else 1
        decode, batch = _point(at_once * reach.most_tok_s(load, setting)), None
        first = _point(first_s / at_once)
        if setting.embedding:
            batch = reading(first, self.question.workload.n_prompt)
        elif wants_throughput(goal, self.question.workload):
            batch = _point(at_once * reach.most_tok_s(load, setting, setting.n_parallel))
        return Pace(decode, first, batch)

    def _option(
        self,
        setting: Setting,
        devices: DeviceSet,
        placement: Placement,
        ways: Ways,
        machine: Machine,
    ) -> Option:
        watts = placement_power_w(self.question.machine.hardware, placement)
        pace = self.merits.pace(setting, placement)
        n_devices = len(placement.device_ids) + placement.shares[-1].computes
        merit = self.merits.of(setting, pace, n_devices, watts)
        if is_stuck(setting, placement, self.question.goal, self.question.workload, machine):
            merit = replace(merit, is_stuck=True)
        return Option(self.candidate, setting, devices, placement, ways, merit)

    def prefill_tok_s(self, option: Option) -> Range:
        """Not part of the search, which goes by the first token."""
        return prompt_tok_s(self.question, self.spec, option.setting, option.placement)

    def _unmet(self, option: Option) -> Unmet | None:
        goal, decode, watts = self.question.goal, option.pace.decode, option.merit.power_w
        if goal.max_watts is not None and watts is not None and watts > goal.max_watts:
            sentence = f"fits, but may draw {watts:.0f} W, more than {goal.max_watts:g} W"
            return Unmet("--max-watts", sentence, goal.max_watts / watts, decode)
        if goal.min_tok_s is None or option.setting.embedding or decode.p50 >= goal.min_tok_s:
            return None
        return Unmet(
            "--min-tok-s",
            f"fits, but decodes {format_rate(decode.p50)}, and --min-tok-s asks for "
            f"{goal.min_tok_s:g}",
            decode.p50 / goal.min_tok_s,
            decode,
        )


@frozen
class _Pair:
    """`bound`: the rank that it would have at best."""

    bound: Rank
    setting: Setting
    devices: DeviceSet


def _is_close(miss: Miss) -> bool:
    """By so little that the assumed buffers may be the cause."""
    why = miss.why
    return isinstance(why, Shortfall) and why.missing_bytes < max(
        _CLOSE_BYTES, _CLOSE_RATIO * why.available_bytes
    )


def _is_whole(option: Option) -> bool:
    """On accelerators, with everything."""
    placement, spec = option.placement, option.candidate.spec
    return placement.n_gpu_layers > spec.n_layers and not placement.has_experts_aside


def _point(rate: float) -> Range:
    return Range(rate, rate, rate)
