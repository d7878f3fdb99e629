"""The search over one candidate: contexts, devices and placements, the promising ones first.

Each pair of a context and a choice of devices gets a bound, the rank that it would have if its
tokens were as fast as memory can be read. Pairs are tried in the order of their bounds; when the
next bound is below the best rank that was found, nothing that is left can win, and the search
ends. So it finds what trying everything would find.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edgellm.models.loadable import LOADABLE
from edgellm.models.spec import ModelSpec
from edgellm.selector.bounds import Bound, Bounds
from edgellm.selector.buffers import Buffers
from edgellm.selector.devices import DeviceSet, device_sets, usable_accelerators, within_watts
from edgellm.selector.draft import beside_draft
from edgellm.selector.load import Bulk, Load
from edgellm.selector.machine import Machine, Shortfall
from edgellm.selector.plan import Candidate, Goal, KVType, Placement, Range
from edgellm.selector.power import placement_power_w, power_w
from edgellm.selector.profiles import Profiles, Workload
from edgellm.selector.quality import kv_kld, weight_kld
from edgellm.selector.ranking import Merit, Pace, Rank, rank, wants_throughput
from edgellm.selector.settings import Setting, settings
from edgellm.selector.shares import Ways
from edgellm.selector.speed import decode_tok_s, prefill_tok_s, ttft_s
from edgellm.selector.speed_profile import SpeedProfile
from edgellm.selector.split import place, sketch
from edgellm.units import MIB, format_rate

_NARROW_BYTES, _NARROW_RATIO = 256 * MIB, 0.02


@dataclass(frozen=True, slots=True)
class Option:
    """A candidate in a context, placed: it fits."""

    candidate: Candidate
    setting: Setting
    devices: DeviceSet  # that were offered; the placement may have left some out
    placement: Placement
    ways: Ways
    merit: Merit

    @property
    def pace(self) -> Pace:
        return self.merit.pace

    @property
    def kld(self) -> float:
        return self.merit.kld


@dataclass(frozen=True, slots=True)
class Unmet:
    """It fits, and misses what was asked for. `ratio`: how much of it is reached."""

    sentence: str
    ratio: float
    decode_tok_s: Range


@dataclass(frozen=True, slots=True)
class Miss:
    """A candidate in a context that can't be, by the placement that came nearest."""

    candidate: Candidate
    setting: Setting
    why: Shortfall | Unmet

    @property
    def decode_tok_s(self) -> Range | None:
        """Of what fits."""
        return self.why.decode_tok_s if isinstance(self.why, Unmet) else None

    @property
    def distance(self) -> tuple[int, float]:
        """Smaller is nearer: what fits and is too slow comes before what doesn't fit."""
        match self.why:
            case Unmet(ratio=ratio):
                return (0, -ratio)
            case Shortfall():
                return (1, float(self.why.missing_bytes))


@dataclass(frozen=True, slots=True)
class Question:
    """One machine and one goal, for all candidates."""

    machine: Machine
    goal: Goal
    profiles: Profiles
    accelerators: DeviceSet
    sets: tuple[DeviceSet, ...]  # of accelerators; the empty one is the CPU alone

    @classmethod
    def of(cls, machine: Machine, goal: Goal, profiles: Profiles) -> "Question":
        accelerators = usable_accelerators(machine.hardware)
        return cls(machine, goal, profiles, accelerators, _sets(machine, goal, accelerators))

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
    _paces: dict[tuple[object, ...], Pace] = field(default_factory=dict)
    _loads: dict[Setting, Load] = field(default_factory=dict)
    _kv_klds: dict[tuple[KVType, KVType], float] = field(default_factory=dict)
    _wished: tuple[Setting, ...] = field(init=False)
    _buffers: Buffers = field(init=False)
    _bulk: Bulk = field(init=False)
    _bounds: Bounds = field(init=False)
    weight_kld: float = field(init=False)

    def __post_init__(self) -> None:
        goal, profiles = self.question.goal, self.question.profiles
        workload = self.question.workload
        self._wished = tuple(settings(self.spec, goal, workload, last_resort=self.last_resort))
        self._buffers = _buffers(self.spec, self._wished)
        self._bulk = Bulk.of(self.spec)
        self._bounds = Bounds(self.spec, self.question.machine)
        self.weight_kld = weight_kld(profiles.quality, self.candidate.quant, self.spec)

    def run(self) -> "Search":
        if self._is_hopeless():
            return self
        whole: dict[tuple[object, ...], list[Setting]] = {}
        for bound, setting, devices in self._pairs():
            if self.best and bound <= self.best_rank:
                break
            key = (*devices, setting.kv_type_k, setting.kv_type_v)
            if any(_covers(better, setting) for better in whole.get(key, ())):
                continue  # a smaller context on the same equal devices is no faster
            option = self.attempt(setting, devices, self.question.ways(devices))
            if option and _is_whole(option) and self._are_equal(devices):
                whole.setdefault(key, []).append(setting)
        return self

    @property
    def spec(self) -> ModelSpec:
        return self.candidate.spec

    def _is_hopeless(self) -> bool:
        """Weights alone exceed all memory: one miss is enough to tell by how much."""
        room = sum(self.question.machine.budgets.values())
        if self.allow_disk or self._bulk.weights[-1] <= room or not self.question.sets:
            return False
        devices = max(self.question.sets, key=len)
        self.attempt(self._wished[-1], devices, self.question.ways(devices))
        return True

    def _are_equal(self, devices: DeviceSet) -> bool:
        """Then it is all the same which of them has how much."""
        return len({self.question.machine.bandwidth_bytes_s(device) for device in devices}) == 1

    def attempt(self, setting: Setting, devices: DeviceSet, ways: Ways) -> Option | None:
        """Looked at, and remembered; the option when it fits and does. What may be the best so
        far, or hardly misses, is added up exactly before it is believed."""
        found = self.look(setting, devices, ways)
        if _is_narrow(found) if isinstance(found, Miss) else self._wins(found):
            found = self.look(setting, devices, ways, exactly=True)
        if isinstance(found, Miss):
            self.misses.append(found)
            return None
        self.options.append(found)
        if self._wins(found):
            self.best, self.best_rank = found, self.question.rank(found.merit)
        return found

    def look(
        self, setting: Setting, devices: DeviceSet, ways: Ways, *, exactly: bool = False
    ) -> Option | Miss:
        if self.allow_disk:
            ways = replace(ways, allow_disk=True)
        add_up = place if exactly else sketch
        machine = beside_draft(self.question.machine, self.candidate, setting.shape, devices)
        placed = add_up(self.load(setting), machine, devices, ways)
        if isinstance(placed, Shortfall):
            return Miss(self.candidate, setting, placed)
        option = self._option(setting, devices, placed, ways)
        unmet = self._unmet(option)
        return Miss(self.candidate, setting, unmet) if unmet else option

    def _wins(self, option: Option) -> bool:
        return self.best is None or self.question.rank(option.merit) > self.best_rank

    def load(self, setting: Setting) -> Load:
        if setting not in self._loads:
            is_alike = setting.kv_unified == self._wished[0].kv_unified
            assumed = self._buffers if is_alike else None
            self._loads[setting] = self._bulk.load(setting.shape, assumed)
        return self._loads[setting]

    def _pairs(self) -> list[tuple[Rank, Setting, DeviceSet]]:
        """The most promising first; among equals fewer devices, then the most wished setting."""
        question, pairs = self.question, []
        for devices in question.sets:
            bound = self._bounds.of(devices, self._wished[0])
            ids = [device.id for device in devices] or ["cpu"]
            watts = power_w(question.machine.hardware, ids)
            for setting in self._wished:
                pace = self._best_pace(bound, setting, len(devices))
                merit = self._merit(setting, pace, len(devices), watts)
                pairs.append((question.rank(merit), setting, devices))
        return sorted(pairs, key=lambda pair: pair[0], reverse=True)

    def _best_pace(self, bound: Bound, setting: Setting, n_devices: int) -> Pace:
        """What a placement may reach at most; side by side, as many times as there are devices."""
        goal, load = self.question.goal, self.load(setting)
        at_once = n_devices if goal.split_mode in ("row", "tensor") else 1
        decode, batch = _point(at_once * bound.most_tok_s(load, setting)), None
        if wants_throughput(goal, self.question.workload):
            batch = _point(at_once * bound.most_tok_s(load, setting, setting.n_parallel))
        return Pace(decode, _point(0.0), batch)

    def _option(
        self, setting: Setting, devices: DeviceSet, placement: Placement, ways: Ways
    ) -> Option:
        watts = placement_power_w(self.question.machine.hardware, placement)
        pace = self._pace(setting, placement)
        merit = self._merit(setting, pace, len(placement.device_ids), watts)
        return Option(self.candidate, setting, devices, placement, ways, merit)

    def _merit(self, setting: Setting, pace: Pace, n_devices: int, watts: float | None) -> Merit:
        return Merit(
            spec=self.spec,
            setting=setting,
            pace=pace,
            weight_kld=self.weight_kld,
            kv_kld=self._cache_kld(setting),
            n_devices=n_devices,
            power_w=watts,
        )

    def _cache_kld(self, setting: Setting) -> float:
        pair = setting.kv_type_k, setting.kv_type_v
        if pair not in self._kv_klds:
            self._kv_klds[pair] = kv_kld(self.question.profiles.quality, *pair)
        return self._kv_klds[pair]

    def _pace(self, setting: Setting, placement: Placement) -> Pace:
        """The context's size changes where layers go, and with the same placement no speed."""
        key = (
            *((share.device_id, share.layers, share.expert_layers) for share in placement.shares),
            placement.split_mode, placement.op_offload, placement.no_host, placement.disk_bytes,
            setting.n_ubatch, setting.n_parallel, setting.kv_type_k, setting.kv_type_v,
        )  # fmt: skip
        if key not in self._paces:
            self._paces[key] = pace_of(self.question, self.spec, setting, placement)
        return self._paces[key]

    def prefill_tok_s(self, option: Option) -> Range:
        """Not part of the search, which goes by the first token."""
        machine = self.question.machine
        rate = prefill_tok_s(
            self.spec, option.setting.shape, option.placement, machine.hardware, machine.speed
        )
        return rate if self.spec.architecture in LOADABLE else _widened(rate, machine.speed)

    def _unmet(self, option: Option) -> Unmet | None:
        goal, decode, watts = self.question.goal, option.pace.decode, option.merit.power_w
        if goal.max_watts is not None and watts is not None and watts > goal.max_watts:
            sentence = f"fits, but may draw {watts:.0f} W, more than {goal.max_watts:g} W"
            return Unmet(sentence, goal.max_watts / watts, decode)
        if goal.min_tok_s is None or option.setting.embedding or decode.p50 >= goal.min_tok_s:
            return None
        return Unmet(
            f"fits, but decodes {format_rate(decode.p50)}, and --min-tok-s asks for "
            f"{goal.min_tok_s:g}",
            decode.p50 / goal.min_tok_s,
            decode,
        )


def pace_of(question: Question, spec: ModelSpec, setting: Setting, placed: Placement) -> Pace:
    shape, machine = setting.shape, question.machine
    facts = spec, shape, placed, machine.hardware, machine.speed
    decode, batch = decode_tok_s(*facts), None
    if wants_throughput(question.goal, question.workload) and setting.n_parallel > 1:
        batch = decode_tok_s(*facts, n_streams=setting.n_parallel)
    first = ttft_s(*facts, question.workload.n_prompt)
    if spec.architecture in LOADABLE:
        return Pace(decode, first, batch)
    profile = machine.speed
    return Pace(
        _widened(decode, profile), _widened(first, profile), batch and _widened(batch, profile)
    )


def _widened(figure: Range, profile: SpeedProfile) -> Range:
    """Of an architecture that nobody has run here."""
    spread = profile.unknown_spread
    return Range(figure.p10 * spread.low, figure.p50, figure.p90 * spread.high)


def _buffers(spec: ModelSpec, wished: Sequence[Setting]) -> Buffers:
    cells = [setting.shape.cells_per_stream for setting in wished]
    n_seq_max = max(setting.n_seq_max for setting in wished)
    n_outputs_max = max(setting.n_outputs_max for setting in wished)
    return Buffers(spec, min(cells), max(cells), n_seq_max, max(n_seq_max, n_outputs_max))


def _covers(better: Setting, setting: Setting) -> bool:
    return better.n_parallel >= setting.n_parallel and better.n_ctx_seq >= setting.n_ctx_seq


def _is_narrow(miss: Miss) -> bool:
    """By so little that the assumed buffers may be the cause."""
    why = miss.why
    return isinstance(why, Shortfall) and why.missing_bytes < max(
        _NARROW_BYTES, _NARROW_RATIO * why.available_bytes
    )


def _is_whole(option: Option) -> bool:
    """On accelerators, with everything."""
    placement, spec = option.placement, option.candidate.spec
    return placement.n_gpu_layers > spec.n_layers and not placement.n_cpu_moe


def _point(rate: float) -> Range:
    return Range(rate, rate, rate)
