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
from edgellm.selector.memory.buffers import Buffers
from edgellm.selector.memory.load import Bulk, Load
from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.placing.draft import beside_draft
from edgellm.selector.placing.machine import Machine, Shortfall
from edgellm.selector.placing.split import place, sketch
from edgellm.selector.plan import Candidate, KVType, Placement, Range
from edgellm.selector.power import placement_power_w
from edgellm.selector.quality import kv_kld, weight_kld
from edgellm.selector.search.limited import Barred, Limited
from edgellm.selector.search.paces import pace_of, prompt_tok_s
from edgellm.selector.search.question import Question
from edgellm.selector.search.ranking import Merit, Pace, Rank, wants_throughput
from edgellm.selector.search.settings import Setting, is_stuck, settings
from edgellm.selector.search.tried import Tried
from edgellm.selector.speed.bounds import Bound, Bounds
from edgellm.units import MIB, format_rate
from edgellm.values import frozen

_CLOSE_BYTES, _CLOSE_RATIO = 256 * MIB, 0.02


@frozen
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


@frozen
class Unmet:
    """It fits, and misses what was asked for. `ratio`: how much of it is reached."""

    sentence: str
    ratio: float
    decode_tok_s: Range


@frozen
class Miss:
    """A candidate in a context that can't be, by the placement that came nearest."""

    candidate: Candidate
    setting: Setting
    why: Shortfall | Unmet | Barred

    @property
    def decode_tok_s(self) -> Range | None:
        """Of what fits."""
        return self.why.decode_tok_s if isinstance(self.why, Unmet) else None

    @property
    def distance(self) -> tuple[int, float]:
        """Smaller is nearer: what fits and is too slow comes before what doesn't fit, and that
        before what can't run."""
        match self.why:
            case Unmet(ratio=ratio):
                return (0, -ratio)
            case Shortfall():
                return (1, float(self.why.missing_bytes))
            case Barred():
                return (2, 0.0)


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
    _reaches: dict[DeviceSet, Bound] = field(default_factory=dict)
    _pairs: list["_Pair"] = field(default_factory=list)
    wished: tuple[Setting, ...] = field(init=False)
    _buffers: Buffers = field(init=False)
    _bulk: Bulk = field(init=False)
    _bounds: Bounds = field(init=False)
    limited: Limited = field(init=False)
    weight_kld: float = field(init=False)

    def __post_init__(self) -> None:
        goal, profiles = self.question.goal, self.question.profiles
        workload = self.question.workload
        self.wished = tuple(settings(self.spec, goal, workload, last_resort=self.last_resort))
        self._buffers = _buffers(self.spec, self.wished)
        self._bulk = Bulk.of(self.spec)
        self._bounds = Bounds(self.spec, self.question.machine)
        self.limited = Limited(self.question, self.candidate)
        self.weight_kld = weight_kld(profiles.quality, self.candidate.quant, self.spec)

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
        """What can't win, but could if it were not for its first token."""
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
        """Weights alone exceed all memory."""
        room = sum(self.question.machine.budgets.values())
        return bool(self.question.sets) and not self.allow_disk and self._bulk.weights[-1] > room

    def _miss_once(self) -> None:
        """It is enough to tell by how much."""
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
        placed = add_up(self.load(setting), machine, devices, ways)
        if isinstance(placed, Shortfall):
            return Miss(self.candidate, setting, placed)
        option = self._option(setting, devices, placed, ways, machine)
        unmet = self._unmet(option)
        return Miss(self.candidate, setting, unmet) if unmet else option

    def _wins(self, option: Option) -> bool:
        return self.best is None or self.question.rank(option.merit) > self.best_rank

    def load(self, setting: Setting) -> Load:
        if setting not in self._loads:
            is_alike = setting.kv_unified == self.wished[0].kv_unified
            assumed = self._buffers if is_alike else None
            self._loads[setting] = self._bulk.load(setting.shape, assumed)
        return self._loads[setting]

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
        facts = self.load(setting), setting, self.question.workload.n_prompt
        first_s = self._reach(devices).least_first_s(*facts, op_offload=ways.op_offload)
        return self.bound_if_first_by(first_s, setting, devices)

    def bound_if_first_by(self, first_s: float, setting: Setting, devices: DeviceSet) -> Rank:
        """The same, if its first token came by then."""
        reach = self._reach(devices)
        pace = self._best_pace(reach, setting, len(devices), first_s)
        n_devices, watts = len(devices), reach.power_w
        if self.question.may_idle:
            n_devices, watts = min(n_devices, 1), reach.least_power_w
        return self.question.rank(self._merit(setting, pace, n_devices, watts))

    def _reach(self, devices: DeviceSet) -> Bound:
        if devices not in self._reaches:
            self._reaches[devices] = self._bounds.of(devices, self.wished[0])
        return self._reaches[devices]

    def most_tok_s(self) -> float:
        """One stream's, in whatever context on whatever devices."""
        rates = (
            self._reach(devices).most_tok_s(self.load(setting), setting)
            for devices, setting in product(self.question.sets, self.wished)
        )
        return max(rates, default=0.0)

    def _best_pace(self, reach: Bound, setting: Setting, n_devices: int, first_s: float) -> Pace:
        """Side by side, as many times as there are devices."""
        goal, load = self.question.goal, self.load(setting)
        at_once = n_devices if goal.split_mode in ("row", "tensor") else 1
        decode, batch = _point(at_once * reach.most_tok_s(load, setting)), None
        if wants_throughput(goal, self.question.workload):
            batch = _point(at_once * reach.most_tok_s(load, setting, setting.n_parallel))
        return Pace(decode, _point(first_s / at_once), batch)

    def _option(
        self,
        setting: Setting,
        devices: DeviceSet,
        placement: Placement,
        ways: Ways,
        machine: Machine,
    ) -> Option:
        watts = placement_power_w(self.question.machine.hardware, placement)
        pace = self._pace(setting, placement)
        n_devices = len(placement.device_ids) + placement.shares[-1].computes
        merit = self._merit(setting, pace, n_devices, watts)
        if is_stuck(setting, placement, self.question.goal, self.question.workload, machine):
            merit = replace(merit, is_stuck=True)
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
            placement.expert_parts, placement.split_mode, placement.op_offload,
            placement.no_host, placement.disk_bytes,
            setting.n_ubatch, setting.n_parallel, setting.kv_type_k, setting.kv_type_v,
            setting.kv_unified,
        )  # fmt: skip
        if key not in self._paces:
            self._paces[key] = pace_of(self.question, self.spec, setting, placement)
        return self._paces[key]

    def prefill_tok_s(self, option: Option) -> Range:
        """Not part of the search, which goes by the first token."""
        return prompt_tok_s(self.question, self.spec, option.setting, option.placement)

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


@frozen
class _Pair:
    """`bound`: the rank that it would have at best."""

    bound: Rank
    setting: Setting
    devices: DeviceSet


def _buffers(spec: ModelSpec, wished: Sequence[Setting]) -> Buffers:
    cells = [setting.shape.cells_per_stream for setting in wished]
    n_seq_max = max(setting.n_seq_max for setting in wished)
    n_outputs_max = max(setting.n_outputs_max for setting in wished)
    return Buffers(spec, min(cells), max(cells), n_seq_max, max(n_seq_max, n_outputs_max))


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
