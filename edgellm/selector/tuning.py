"""Which variation to measure next, and which one won: the deciding half of `edgellm tune`.

Only settings that change how soon an answer comes, not which: threads, batch, micro-batch, flash
attention, how layers are split over devices. Coordinate descent: one setting after the other is
moved to its neighbour as long as that is faster, each held against the best so far in a match of
its own (bouts.py). Whoever is ahead at the end has to win once more, and longer, against the plan
as it was chosen: of many matches luck alone wins one now and then.

The whole history goes in and the next step comes out, so that nothing is remembered between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgellm.models.quants import BY_NAME
from edgellm.probe.hardware import Hardware
from edgellm.selector.bouts import Bout, Match
from edgellm.selector.knobs import Knobs
from edgellm.selector.plan import Goal, Plan
from edgellm.selector.profiles import Workload
from edgellm.values import frozen

_THREADS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256)
_MICRO_BATCHES = (64, 128, 256, 512, 1024, 2048, 4096)
_BATCHES = (512, 1024, 2048, 4096)
_SPLIT_STEPS = (-0.15, -0.05, 0.0, 0.05, 0.15)  # of all layers, from the first device to the others


@frozen
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


@frozen
class Step:
    """`next`: what to measure; None when `best` is final."""

    best: Knobs
    next: Match | None


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
    axes: Sequence[Axis], start: Knobs, bouts: Sequence[Bout], workload: Workload
) -> Step:
    won = {bout.match: bool(bout.is_won(workload)) for bout in bouts}
    best, unmeasured = _descend(axes, start, won)
    if unmeasured or best == start:
        return Step(best, unmeasured)
    final = Match(start, best, is_final=True)
    if final not in won:
        return Step(best, final)
    return Step(best if won[final] else start, None)


def _descend(
    axes: Sequence[Axis], start: Knobs, won: Mapping[Match, bool]
) -> tuple[Knobs, Match | None]:
    """How far the matches lead, and which one is missing. Where it went up, it was not down."""
    best = start
    for axis in axes:
        origin = best
        for step in (1, -1):
            while other := axis.neighbour(best, step):
                match = Match(best, other)
                if match not in won:
                    return best, match
                if not won[match]:
                    break
                best = other
            if best != origin:
                break
    return best, None


def fewest_matches(axes: Sequence[Axis], start: Knobs) -> int:
    """How many there are where nothing is faster: with each neighbour of the start."""
    moves = (axis.neighbour(start, step) for axis in axes for step in (1, -1))
    return sum(move is not None for move in moves)


def holds_two(plan: Plan, budgets: Mapping[str, int]) -> bool:
    """Whether a variation finds room beside another one. `budgets`: by pool."""
    taken = dict.fromkeys(budgets, 0)
    for share in plan.shares:
        taken[share.pool_id] += share.total_bytes
    return all(2 * n_bytes <= budgets[pool_id] for pool_id, n_bytes in taken.items())
