"""Which variation to measure next, and which one won: the deciding half of `edgellm tune`.

Only settings that change how soon an answer comes, not which: threads, batch, micro-batch, flash
attention, how layers are split over devices. Coordinate descent: one setting after the other is
moved to its neighbour as long as that is faster. What is faster by less than the measurements
scatter, or by less than 3 %, is not faster. Whoever is ahead at the end has to win a second time
against the plan as it was chosen: the best of many noisy figures is otherwise the luckiest.

The whole history goes in and the next step comes out, so that nothing is remembered between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from edgellm.models.quants import BY_NAME
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Goal, Plan
from edgellm.selector.profiles import Workload

_LEAST_GAIN_RATIO = 0.03
_THREADS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256)
_MICRO_BATCHES = (64, 128, 256, 512, 1024, 2048, 4096)
_BATCHES = (512, 1024, 2048, 4096)
_SPLIT_STEPS = (-0.15, -0.05, 0.0, 0.05, 0.15)  # of all layers, from the first device to the others


@dataclass(frozen=True, slots=True)
class Knobs:
    n_threads: int
    n_batch: int
    n_ubatch: int
    flash_attention: bool | None
    tensor_split: tuple[float, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> "Knobs":
        return cls(
            plan.n_threads,
            plan.n_batch,
            plan.n_ubatch,
            plan.flash_attention,
            plan.placement.tensor_split if len(plan.devices) > 1 else (),
        )

    def on(self, plan: Plan) -> Plan:
        """The same plan otherwise; its predicted bytes and speeds stay those of before."""
        split = self.tensor_split or plan.placement.tensor_split
        return replace(
            plan,
            n_threads=self.n_threads,
            n_batch=self.n_batch,
            n_ubatch=self.n_ubatch,
            flash_attention=self.flash_attention,
            placement=replace(plan.placement, tensor_split=split),
        )

    def changes(self, since: "Knobs") -> tuple[str, ...]:
        """ "threads 4 (8)": what is other than in `since`, with what it was."""
        words = {
            "n_threads": "threads",
            "n_ubatch": "micro-batch",
            "n_batch": "batch",
            "flash_attention": "flash attention",
            "tensor_split": "split",
        }
        return tuple(
            f"{word} {_said(getattr(self, name))} ({_said(getattr(since, name))})"
            for name, word in words.items()
            if getattr(self, name) != getattr(since, name)
        )


@dataclass(frozen=True, slots=True)
class Axis:
    """One setting, and the values that it may take, in their order."""

    name: str  # a field of Knobs
    values: tuple[object, ...]

    def neighbour(self, knobs: Knobs, step: int) -> Knobs | None:
        at = self.values.index(getattr(knobs, self.name)) + step
        if not 0 <= at < len(self.values):
            return None
        moved = replace(knobs, **{self.name: self.values[at]})  # type: ignore[arg-type]
        return moved if moved.n_ubatch <= moved.n_batch else None


@dataclass(frozen=True, slots=True)
class Sample:
    prefill_tok_s: float
    decode_tok_s: float

    def request_s(self, workload: Workload) -> float:
        """What a typical request would take."""
        return workload.n_prompt / self.prefill_tok_s + workload.n_answer / self.decode_tok_s


@dataclass(frozen=True, slots=True)
class Trial:
    """`samples` is empty when it could not be loaded; `fault` says why."""

    knobs: Knobs
    samples: tuple[Sample, ...]
    fault: str | None = None
    depth: int = 0  # tokens in the cache before the prompt of each sample


@dataclass(frozen=True, slots=True)
class Step:
    """`next`: what to measure; None when `best` is final."""

    best: Knobs
    next: Knobs | None


def axes(plan: Plan, goal: Goal, hardware: Hardware, workload: Workload) -> tuple[Axis, ...]:
    """The settings that matter to this plan and that nobody pinned, the weightiest first."""
    knobs = Knobs.of(plan)
    found = []
    computes_on_cpu = any(share.computes for share in plan.shares[-1:])
    if goal.n_threads is None and computes_on_cpu:
        counts = {n for n in _THREADS if n <= hardware.cpu.n_logical_cores}
        counts |= {hardware.cpu.n_logical_cores, knobs.n_threads}
        found.append(Axis("n_threads", tuple(sorted(counts))))
    if goal.flash_attention is None and not BY_NAME[plan.kv_type_v].block > 1:
        found.append(Axis("flash_attention", (False, knobs.flash_attention)))
    if goal.n_ubatch is None and not plan.embedding:
        n_most = min(plan.n_ctx, workload.n_prompt)
        found.append(Axis("n_ubatch", _sizes(_MICRO_BATCHES, knobs.n_ubatch, n_most)))
        found.append(Axis("n_batch", _sizes(_BATCHES, knobs.n_batch, n_most)))
    if goal.tensor_split is None and knobs.tensor_split:
        found.append(Axis("tensor_split", _splits(knobs.tensor_split)))
    return tuple(axis for axis in found if len(axis.values) > 1)


def _sizes(known: Sequence[int], chosen: int, n_most: int) -> tuple[int, ...]:
    """What holds all of a prompt is as good as any that holds more."""
    parts = {n for n in known if n < n_most}
    whole = () if chosen >= n_most else [n for n in known if n >= n_most][:1]
    return tuple(sorted({*parts, chosen, *whole}))


def _said(value: object) -> str:
    match value:
        case None:
            return "auto"
        case bool():
            return "on" if value else "off"
        case tuple():
            return ",".join(f"{part:g}" for part in value)
        case _:
            return str(value)


def _splits(split: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """The same one with layers moved from the first device to the others, or from them to it."""
    total, rest = sum(split), sum(split[1:])
    found: list[tuple[float, ...]] = []
    for step in _SPLIT_STEPS:
        first = split[0] - step * total
        scale = (total - first) / rest if rest else 0.0
        moved = (round(first, 3), *(round(part * scale, 3) for part in split[1:]))
        if step == 0.0:
            moved = split
        if min(moved) > 0 and moved not in found:
            found.append(moved)
    return tuple(found)


def next_step(
    axes: Sequence[Axis], start: Knobs, trials: Sequence[Trial], workload: Workload
) -> Step:
    seen: dict[Knobs, list[float]] = {}  # each one's first trial
    duel: dict[Knobs, list[float]] = {}  # its second
    for trial in trials:
        seconds = [sample.request_s(workload) for sample in trial.samples]
        (duel if trial.knobs in seen else seen)[trial.knobs] = seconds
    if start not in seen:
        return Step(start, start)
    best, unmeasured = _descend(axes, start, seen)
    if unmeasured or best == start:
        return Step(best, unmeasured)
    for knobs in (start, best):
        if knobs not in duel:
            return Step(best, knobs)
    return Step(best if _is_faster(duel[best], duel[start]) else start, None)


def _descend(
    axes: Sequence[Axis], start: Knobs, seen: dict[Knobs, list[float]]
) -> tuple[Knobs, Knobs | None]:
    """How far the measurements lead, and where one is missing. Both neighbours are looked at
    before it goes either way: a lucky figure on one side would else hide the other."""
    best = start
    for axis in axes:
        origin = best
        for step in (1, -1):
            other = axis.neighbour(origin, step)
            if other and other not in seen:
                return best, other
        for step in (1, -1):
            at = origin
            while (other := axis.neighbour(at, step)) and _is_faster(seen[other], seen[at]):
                at = other
                further = axis.neighbour(at, step)
                if further and further not in seen:
                    return at, further
            if at != origin and (best == origin or _is_faster(seen[at], seen[best])):
                best = at
    return best, None


def fewest_trials(axes: Sequence[Axis], start: Knobs) -> int:
    """How many are measured where nothing is faster: the start, and what is next to it."""
    moves = (axis.neighbour(start, step) for axis in axes for step in (1, -1))
    return 1 + sum(move is not None for move in moves)


def scatter_ratio(trials: Sequence[Trial], workload: Workload) -> float:
    """How far the usual trial's samples lie from their middle; much means a busy machine."""
    each = [[sample.request_s(workload) for sample in trial.samples] for trial in trials]
    return median(_scatter(seconds) for seconds in each if seconds)


def _is_faster(seconds: Sequence[float], than: Sequence[float]) -> bool:
    """By more than both scatter. What could not be loaded is never faster."""
    if not seconds:
        return False
    if not than:
        return True
    gain_ratio = 1 - median(seconds) / median(than)
    return gain_ratio > max(_LEAST_GAIN_RATIO, _scatter(seconds) + _scatter(than))


def _scatter(seconds: Sequence[float]) -> float:
    """Half of the range, relative: of five samples that is about twice a median's own error."""
    return (max(seconds) - min(seconds)) / 2 / median(seconds)


def median_sample(trials: Sequence[Trial], knobs: Knobs) -> Sample:
    """Of all that was measured with `knobs`, which were loaded at least once."""
    samples = [sample for trial in trials if trial.knobs == knobs for sample in trial.samples]
    return Sample(
        median(sample.prefill_tok_s for sample in samples),
        median(sample.decode_tok_s for sample in samples),
    )
