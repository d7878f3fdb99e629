"""No plan: the sum beside what there is, what bound it, and what would fit instead."""

from dataclasses import replace
from math import floor, log10

from edgellm.errors import DoesNotFit
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.selector.memory.budget import free_bytes, pool_budgets
from edgellm.selector.memory.shape import cut256
from edgellm.selector.placing.machine import Shortfall
from edgellm.selector.plan import Goal, Rejected
from edgellm.selector.power import power_w
from edgellm.selector.profiles import QualityProfile
from edgellm.selector.search.decide import Nothing
from edgellm.selector.search.limited import Barred
from edgellm.selector.search.options import Miss, Unmet
from edgellm.selector.search.question import Question
from edgellm.selector.telling.describe import binding_text, pool_name, ranking
from edgellm.selector.telling.rejected import rejected_row, why_missed
from edgellm.units import format_bytes, format_params

_DRIFT_RATIO = 0.95  # of what is free; another program may take some before it is asked for
_LEAST_TOLD = 0.01  # a smaller part of what was asked for is no advice
_SMALLEST_BITS = 1.5  # below it no quantization is left of a model's weights


class NothingFits(DoesNotFit):
    """`rejected`: each file's nearest try, the nearest of all first."""

    def __init__(self, why: DoesNotFit, rejected: tuple[Rejected, ...]) -> None:
        super().__init__(str(why), hint=why.hint)
        self.rejected = rejected


def refusal(nothing: Nothing) -> NothingFits:
    hardware = nothing.question.machine.hardware
    nearest: dict[str, Miss] = {}
    for miss in sorted(nothing.misses, key=lambda miss: miss.distance):
        nearest.setdefault(miss.candidate.file, miss)
    rows = tuple(rejected_row(miss, why_missed(miss, hardware)) for miss in nearest.values())
    return NothingFits(_why(nothing), rows)


def _why(nothing: Nothing) -> DoesNotFit:
    if not nothing.misses:
        return _no_devices(nothing.question)
    miss = min(nothing.misses, key=lambda miss: miss.distance)
    match miss.why:
        case Unmet(flag="--max-watts"):
            return _too_hungry(miss, miss.why, nothing.question.goal)
        case Unmet():
            return _too_slow(miss, miss.why, nothing.question)
        case Shortfall():
            short = _too_large(miss, miss.why, nothing)
            whys = _barred(nothing, miss)
            return (
                DoesNotFit(str(short), hint="; ".join([short.hint or "", *whys])) if whys else short
            )
        case Barred(sentence=sentence):
            return DoesNotFit(
                f"{miss.candidate.spec.name} {miss.candidate.quant} can't run as asked: {sentence}",
                hint="leave -ngl, -ncmoe, -ts, -sm, -fa and the cache's types to edgellm",
            )


def _barred(nothing: Nothing, nearest: Miss) -> list[str]:
    """What has room, and can't run this file."""
    whys = dict.fromkeys(
        miss.why.sentence
        for miss in nothing.misses
        if isinstance(miss.why, Barred) and miss.candidate is nearest.candidate
    )
    return [f"it can't run on {why}" for why in whys]


def _too_large(miss: Miss, short: Shortfall, nothing: Nothing) -> DoesNotFit:
    """The least of all sums, beside what the machine can give."""
    machine, spec, setting = nothing.question.machine, miss.candidate.spec, miss.setting
    weights = sum(share.weight_bytes for share in short.shares)
    kv = sum(share.kv_bytes for share in short.shares)
    other = sum(share.total_bytes for share in short.shares) - weights - kv
    given = " + ".join(
        f"{format_bytes(budget)} on {pool_name(machine.hardware, pool_id)}"
        for pool_id, budget in machine.budgets.items()
    )
    message = (
        f"{spec.name} {miss.candidate.quant} at {setting.n_ctx_seq} tokens × {setting.n_parallel} "
        f"does not fit: {format_bytes(weights)} of weights + {format_bytes(kv)} of KV cache + "
        f"{format_bytes(other)} of buffers = {format_bytes(weights + kv + other)}; this machine "
        f"can give {given}"
    )
    if len(machine.budgets) > 1:
        message += f" ({binding_text(short, machine.hardware)})"
    return DoesNotFit(message, hint=_what_would_fit(miss, short, nothing.question))


def _what_would_fit(miss: Miss, short: Shortfall, question: Question) -> str:
    """Of the pools that were to hold layers; a pin may have left the others out."""
    spec, machine, smaller = miss.candidate.spec, question.machine, _smaller(miss, question)
    weights = sum(share.weight_bytes for share in short.shares)
    total = sum(share.total_bytes for share in short.shares)
    used = {share.pool_id for share in short.shares if share.computes}
    given = int(sum(machine.budgets[pool_id] for pool_id in used) * _DRIFT_RATIO)
    untrained = miss.setting.n_ctx_seq > spec.n_ctx_train and not miss.setting.embedding
    beside = sum(s.total_bytes - s.weight_bytes for s in short.shares if s.pool_id in used)
    room = given - beside
    bits = 8 * room / max(1, spec.n_params)
    if bits < _SMALLEST_BITS and weights < given:
        tokens = int(miss.setting.n_ctx_seq * (given - weights) / (total - weights))
        room_for = f"beside these weights there is room for about --ctx {_advised(tokens, spec)}"
        return f"{_trained(spec)}; {room_for}" if untrained else f"{room_for}; or {smaller}"
    crowded = _crowded(short, total, question)
    if bits < _SMALLEST_BITS and crowded:
        return f"{crowded}; or {smaller}"
    if bits < _SMALLEST_BITS:
        n_params = format_params(spec.n_params)
        return f"no quantization of its {n_params} parameters is that small: {smaller}"
    size = f"a file of up to {format_bytes(room)} would fit, about {bits:.1f} bits a weight"
    label = _label_below(question.profiles.quality, spec, bits)
    advice = [f"{size} (such as {label})" if label else size]
    if untrained:
        advice.insert(0, _trained(spec))
    if changes := _changes(question.goal):
        advice.append(f"or try {', '.join(changes)}")
    if crowded:
        advice.append(crowded)
    return "; ".join([*advice, f"or {smaller}"])


def _crowded(short: Shortfall, total_bytes: int, question: Question) -> str | None:
    """What to do where the pools that were to hold layers are large enough, and only kept, or for
    the larger part taken at this moment."""
    hardware, reserve_bytes = question.machine.hardware, question.goal.reserve_bytes
    used = [
        p for p in hardware.pools if any(s.pool_id == p.id and s.computes for s in short.shares)
    ]

    def would_hold(machine: Hardware, reserve_bytes: int | None) -> bool:
        budgets = pool_budgets(machine, reserve_bytes)
        return total_bytes <= _DRIFT_RATIO * sum(budgets[pool.id] for pool in used)

    if reserve_bytes is not None and would_hold(hardware, None):
        return f"--reserve keeps {format_bytes(reserve_bytes)} free: ask for less"
    taken_bytes = sum(p.total_bytes - free_bytes(hardware, p) for p in used)
    empty = tuple(replace(pool, free_bytes=pool.total_bytes) for pool in hardware.pools)
    there_bytes = sum(pool.total_bytes for pool in used)
    if 2 * taken_bytes < there_bytes or not would_hold(replace(hardware, pools=empty), None):
        return None
    part = f"{format_bytes(taken_bytes)} of {format_bytes(there_bytes)}"
    shown = "" if question.machine_flags else " (edgellm ps shows the servers that run here)"
    return f"{part} are taken by other programs: end one of them{shown}"


def _smaller(miss: Miss, question: Question) -> str:
    """Of those that write, this machine's are ranked."""
    if miss.candidate.spec.is_embedding:
        return "take a smaller model"
    ranked = ranking(question.goal, question.machine_flags)
    return f"take a smaller model ({ranked} ranks those that fit)"


def _advised(n_tokens: int, spec: ModelSpec) -> int:
    return min(max(cut256(n_tokens), 1), spec.n_ctx_train)


def _trained(spec: ModelSpec) -> str:
    return f"{spec.name} was trained for conversations of up to {spec.n_ctx_train} tokens"


def _label_below(quality: QualityProfile, spec: ModelSpec, bits: float) -> str | None:
    """The mix that loses least of those that are small enough. A type that other models were
    trained in is hardly ever made of this one."""
    others = {row.type for row in quality.native if row.architecture != spec.architecture}
    small = [
        row
        for row in quality.quants
        if row.bits_per_weight <= bits and row.label.lower().removesuffix("_moe") not in others
    ]
    return min(small, key=lambda row: row.kld).label if small else None


def _changes(goal: Goal) -> list[str]:
    """What of the goal's pins takes memory, as the flag that would take less."""
    changes = []
    contexts = {"--ctx": goal.n_ctx_seq, "-c": goal.n_ctx, "--min-ctx": goal.min_ctx_seq}
    changes += [f"a shorter {flag}" for flag, tokens in contexts.items() if tokens]
    if (goal.n_parallel or 1) > 1:
        changes.append("fewer --parallel")
    if goal.kv_type_k in ("f16", "f32", "bf16"):
        changes.append("-ctk q8_0 -ctv q8_0")
    if goal.n_gpu_layers or goal.n_cpu_moe is not None or goal.tensor_split:
        changes.append("leaving -ngl, -ncmoe and -ts to edgellm")
    if goal.reserve_bytes:
        changes.append("a smaller --reserve")
    if goal.max_watts is not None:
        changes.append("more --max-watts")
    return changes


def _too_hungry(miss: Miss, unmet: Unmet, goal: Goal) -> DoesNotFit:
    split = "leave -ts to edgellm, which leaves cards out, or " if goal.tensor_split else ""
    return DoesNotFit(
        f"{miss.candidate.spec.name} {miss.candidate.quant} {unmet.sentence}",
        hint=f"{split}allow more by --max-watts",
    )


def _too_slow(miss: Miss, unmet: Unmet, question: Question) -> DoesNotFit:
    ranked = ranking(question.goal, question.machine_flags)
    bounds = _bounds_of_pace(question, miss.candidate.spec)
    within = f"with {' and '.join(bounds)} " if bounds else ""
    loosened = f", let {' or '.join(bounds)} go" if bounds else ""
    return DoesNotFit(
        f"{miss.candidate.spec.name} {miss.candidate.quant} {unmet.sentence}; {within}nothing here "
        "is faster",
        hint=f"ask for {_less(unmet.ratio)}{loosened}, or take a smaller model ({ranked})",
    )


def _bounds_of_pace(question: Question, spec: ModelSpec) -> list[str]:
    """The flags that keep accelerators from work, as they were given."""
    goal, hardware = question.goal, question.machine.hardware
    if not question.accelerators:
        return []
    is_all = goal.n_gpu_layers is not None and goal.n_gpu_layers > spec.n_layers
    given = {
        "-ngl": None if is_all else goal.n_gpu_layers,
        "-ncmoe": goal.n_cpu_moe or None,
        "-ts": goal.tensor_split and ",".join(f"{part:g}" for part in goal.tensor_split),
    }
    bounds = [f"{flag} {value}" for flag, value in given.items() if value is not None]
    watts = power_w(hardware, [device.id for device in question.accelerators])
    if goal.max_watts is not None and watts is not None and watts > goal.max_watts:
        bounds.append(f"--max-watts {goal.max_watts:g}")
    return bounds


def _less(ratio: float) -> str:
    """Two digits, rounded down: what is advised has to be reached."""
    if ratio < _LEAST_TOLD:
        return "far less"
    step = 10 ** (floor(log10(ratio)) - 1)
    return f"{100 * step * floor(ratio / step):.2g}% of that"


def _no_devices(question: Question) -> DoesNotFit:
    """The limits left no device to try."""
    goal = question.goal
    drawn = [
        f"{device.name} {device.board_power_w:.0f} W"
        for device in question.accelerators
        if device.board_power_w is not None
    ]
    if goal.max_watts is not None:
        return DoesNotFit(
            f"--max-watts {goal.max_watts:g} leaves no device: {', '.join(drawn)}",
            hint="raise it, or use -ngl 0 for the CPU alone",
        )
    return DoesNotFit("no device is left by the pins", hint="leave -ngl and -ts to edgellm")
