"""Why: the sentences of a plan, the plans that were not chosen, and the sum of a refusal."""

from collections.abc import Callable, Sequence

from edgellm.errors import DoesNotFit
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.selector.options import Miss, Option, usable_accelerators
from edgellm.selector.plan import Goal, Rejected
from edgellm.selector.profiles import Profiles, Workload
from edgellm.selector.quality import bits_per_weight
from edgellm.selector.ranking import Rank
from edgellm.selector.settings import wished_context, wished_parallel
from edgellm.selector.split import Machine, Shortfall
from edgellm.units import format_bytes, format_rate

_MAX_REJECTED = 6


def reasons(
    option: Option, n_candidates: int, machine: Machine, goal: Goal, profiles: Profiles
) -> tuple[str, ...]:
    spec, workload = option.candidate.spec, profiles.workload(goal.use)
    sentences = [
        _quant_sentence(option, n_candidates, goal, workload),
        _placement_sentence(option, machine.hardware),
        *_left_out_sentences(option, machine.hardware),
        *_context_sentences(option, goal, workload),
        *_pin_sentences(goal),
    ]
    if option.setting.n_ctx_seq > spec.n_ctx_train:
        sentences.append(
            f"{option.setting.n_ctx_seq} tokens are more than the {spec.n_ctx_train} "
            "the model was trained for"
        )
    unknown = [
        machine.hardware.device(share.device_id).name
        for share in option.placement.shares
        if share.layers and not machine.hardware.pool(share.pool_id).bandwidth_bytes_s
    ]
    if unknown:
        sentences.append(
            f"memory bandwidth of {', '.join(unknown)} is unknown: the speed range is wide"
        )
    return tuple(sentences)


def rejected(
    chosen: Option,
    found: Sequence[Option | Miss],
    hardware: Hardware,
    rank_of: Callable[[Option], Rank],
) -> tuple[Rejected, ...]:
    """One row for each other file: its best option, or the miss that came nearest."""
    rows: dict[str, Option | Miss] = {}
    for attempt in found:
        file = attempt.candidate.file
        if file == chosen.candidate.file:
            continue
        known = rows.get(file)
        if known is None or _is_nearer(attempt, known, rank_of):
            rows[file] = attempt
    size = chosen.candidate.file_bytes
    nearest = sorted(rows.values(), key=lambda row: abs(row.candidate.file_bytes - size))
    return tuple(_row(attempt, chosen, hardware) for attempt in nearest[:_MAX_REJECTED])


def refusal(misses: Sequence[Miss], machine: Machine) -> DoesNotFit:
    """The least of all sums, beside what the machine can give."""
    miss = min(misses, key=lambda miss: miss.shortfall.missing_bytes)
    spec, setting, shares = miss.candidate.spec, miss.setting, miss.shortfall.shares
    weights = sum(share.weight_bytes for share in shares)
    kv = sum(share.kv_bytes for share in shares)
    other = sum(share.total_bytes for share in shares) - weights - kv
    given = " + ".join(
        f"{format_bytes(budget)} on {_pool_name(machine.hardware, pool_id)}"
        for pool_id, budget in machine.budgets.items()
    )
    message = (
        f"{spec.name} {miss.candidate.quant} at {setting.n_ctx_seq} tokens × {setting.n_parallel} "
        f"does not fit: {format_bytes(weights)} of weights + {format_bytes(kv)} of KV cache + "
        f"{format_bytes(other)} of buffers = {format_bytes(weights + kv + other)}; this machine "
        f"can give {given}"
    )
    if len(machine.budgets) > 1:
        message += f" ({_binding(miss.shortfall, machine.hardware)})"
    return DoesNotFit(message, hint=_what_would_fit(spec, kv + other, machine))


def _binding(short: Shortfall, hardware: Hardware) -> str:
    return (
        f"needs {format_bytes(short.needed_bytes)} on {_pool_name(hardware, short.pool_id)}, "
        f"{format_bytes(short.available_bytes)} can be given"
    )


def _pool_name(hardware: Hardware, pool_id: str) -> str:
    """The card that owns the pool; "the host" for what the CPU lives in."""
    if pool_id == hardware.host.id:
        return "the host"
    return next((d.name for d in hardware.devices if d.pool_id == pool_id), pool_id)


def _what_would_fit(spec: ModelSpec, beside_weights: int, machine: Machine) -> str:
    room = sum(machine.budgets.values()) - beside_weights
    bits = 8 * room / max(1, spec.n_params)
    if bits < 1.5:
        return (
            f"no quantization of its {spec.n_params / 1e9:.1f} B parameters is that small: "
            "take a smaller model, or a machine with more memory (edgellm plan MODEL --on BOARD)"
        )
    return (
        f"a file of up to {format_bytes(room)} would fit, about {bits:.1f} bits a weight: try a "
        "smaller quantization, a shorter --ctx, fewer --parallel or -ctk q8_0 -ctv q8_0"
    )


def _quant_sentence(option: Option, n_candidates: int, goal: Goal, workload: Workload) -> str:
    quant = option.candidate.quant
    loss = (
        f"KLD {option.weight_kld:.4f}, {bits_per_weight(option.candidate.spec):.1f} bits a weight"
    )
    if n_candidates == 1:
        return f"{quant} is the only file there is ({loss})"
    why = {
        "quality": "loses least of those that fit",
        "speed": "is the fastest with an acceptable loss",
        "energy": "reads least per token with an acceptable loss",
        "context": "leaves room for the longest context with an acceptable loss",
        "balanced": "balances quality, pace and context best",
    }[goal.objective]
    return f"{quant} {why} ({loss}); {workload.use}: {workload.why}"


def _placement_sentence(option: Option, hardware: Hardware) -> str:
    placement, n_all = option.placement, option.candidate.spec.n_layers + 1
    names = " + ".join(hardware.device(i).name for i in placement.device_ids)
    if not names:
        why = "no accelerator is usable" if not hardware.accelerators else "it is the quickest"
        return f"all on the CPU: {why}"
    if placement.n_gpu_layers == n_all:
        return f"all {n_all} layers fit on {names}"
    return (
        f"{placement.n_gpu_layers} of {n_all} layers on {names}, which hold no more; "
        "the CPU computes the rest"
    )


def _left_out_sentences(option: Option, hardware: Hardware) -> list[str]:
    used = option.placement.device_ids
    idle = [device for device in hardware.accelerators if device.id not in used]
    unusable = [device for device in hardware.devices if device.backend == "none"]
    if not used:
        idle = [device for device in idle if device in usable_accelerators(hardware)]
    sentences = [f"{device.name} is left out: it would not make it faster" for device in idle]
    sentences += [
        f"{device.name} can't be used: {device.note or 'this build of llama.cpp lacks its backend'}"
        for device in unusable
    ]
    return sentences


def _context_sentences(option: Option, goal: Goal, workload: Workload) -> list[str]:
    spec, setting = option.candidate.spec, option.setting
    if setting.embedding:
        return [f"embeddings: texts of up to {setting.n_ctx_seq} tokens, one batch at a time"]
    sentences = []
    wished = wished_context(spec, goal, workload)
    if setting.n_ctx_seq < wished and not goal.n_ctx:
        sentences.append(
            f"context is cut from the {wished} tokens wished for to {setting.n_ctx_seq}: "
            "memory allows no more at this quality and speed (--ctx pins it)"
        )
    n_wished = wished_parallel(spec, goal, workload)
    if setting.n_parallel < n_wished:
        sentences.append(
            f"{setting.n_parallel} instead of {n_wished} parallel conversations: "
            "memory has no room for more beside these weights (--parallel pins it)"
        )
    if setting.shape.kv_quantized and not goal.kv_type_k:
        sentences.append(
            f"the KV cache is {setting.kv_type_k}: about half of f16's bytes "
            f"for a KLD of {option.kv_kld:.4f}"
        )
    return sentences


def _pin_sentences(goal: Goal) -> list[str]:
    flags = {
        "--ctx": goal.n_ctx_seq, "-c": goal.n_ctx, "--parallel": goal.n_parallel,
        "-ctk": goal.kv_type_k, "-ctv": goal.kv_type_v, "-ngl": goal.n_gpu_layers,
        "-ub": goal.n_ubatch, "-t": goal.n_threads,
    }  # fmt: skip
    pinned = [f"{flag} {value}" for flag, value in flags.items() if value is not None]
    return [f"as you asked: {' '.join(pinned)}"] if pinned else []


def _is_nearer(
    attempt: Option | Miss, known: Option | Miss, rank_of: Callable[[Option], Rank]
) -> bool:
    match attempt, known:
        case Miss(), Option():
            return False
        case Option(), Miss():
            return True
        case Option(), Option():
            return rank_of(attempt) > rank_of(known)
        case Miss(), Miss():
            return attempt.shortfall.missing_bytes < known.shortfall.missing_bytes
    return False


def _row(attempt: Option | Miss, chosen: Option, hardware: Hardware) -> Rejected:
    setting = attempt.setting
    if isinstance(attempt, Miss):
        binding = _binding(attempt.shortfall, hardware)
        decode = None
    else:
        binding, decode = _why_not(attempt, chosen), attempt.pace.decode
    return Rejected(attempt.candidate.quant, setting.n_ctx_seq, setting.kv_type_k, binding, decode)


def _why_not(option: Option, chosen: Option) -> str:
    """What it loses against the chosen one; what it gains is in its row."""
    here, there = option.setting, chosen.setting
    losses = []
    if here.n_ctx_seq < there.n_ctx_seq or here.n_parallel < there.n_parallel:
        losses.append(f"holds only {here.n_ctx_seq} tokens × {here.n_parallel}")
    if option.kld > chosen.kld:
        losses.append(f"loses more (KLD {option.kld:.4f} against {chosen.kld:.4f})")
    if option.pace.decode.p50 < chosen.pace.decode.p50:
        slow, fast = format_rate(option.pace.decode.p50), format_rate(chosen.pace.decode.p50)
        losses.append(f"decodes {slow} against {fast}")
    return f"fits, but {' and '.join(losses)}" if losses else "fits, and is no better"
