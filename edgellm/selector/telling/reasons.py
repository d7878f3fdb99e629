"""Why: the sentences of a plan."""

from collections.abc import Iterator
from dataclasses import replace

from edgellm.models.gguf.loadable import LOADABLE
from edgellm.models.hubs import is_address
from edgellm.probe.hardware import Backend, Device, Hardware
from edgellm.selector.placing.machine import Shortfall
from edgellm.selector.plan import Candidate, Goal, Placement
from edgellm.selector.power import power_w
from edgellm.selector.profiles import Workload
from edgellm.selector.quality import bits_per_weight
from edgellm.selector.replicas import Replicas, best_replicas
from edgellm.selector.search.confirm import Confirmed
from edgellm.selector.search.decide import Decision
from edgellm.selector.search.limited import Barred
from edgellm.selector.search.options import Miss, Option, Unmet
from edgellm.selector.search.question import Question
from edgellm.selector.search.ranking import wants_throughput
from edgellm.selector.search.settings import Setting
from edgellm.selector.search.variants import devices_of
from edgellm.selector.speed.speed_profile import LEAST_MEASURED_BYTES
from edgellm.selector.speed.work import main_type
from edgellm.selector.telling.contexts import context_sentences
from edgellm.selector.telling.describe import layers_text, names_of, ranking
from edgellm.selector.telling.streams import stream_sentences
from edgellm.selector.telling.weighed import why_not_with, why_on_cpu
from edgellm.units import format_bytes, format_rate

_WORTH_SAYING = 1.05  # replicas that bring less are not worth the trouble
_FIRST_PORT = 8081  # of replicas; 8080 stays free for what shares requests out among them
_VISIBLE: dict[Backend, str] = {
    "cuda": "CUDA_VISIBLE_DEVICES",
    "rocm": "HIP_VISIBLE_DEVICES",
    "vulkan": "GGML_VK_VISIBLE_DEVICES",
    "musa": "MUSA_VISIBLE_DEVICES",
    "cann": "ASCEND_RT_VISIBLE_DEVICES",
}


def reasons(confirmed: Confirmed) -> tuple[str, ...]:
    decision, placement = confirmed.decision, confirmed.placement
    question, chosen = decision.question, decision.chosen
    goal, hardware = question.goal, question.machine.hardware
    workload = question.profiles.workload(goal.use)
    return (
        _quant_sentence(decision),
        *_placement_sentences(decision, placement),
        *decision.winner.limited.notes(devices_of(decision.winner, chosen)),
        *_left_out_sentences(decision),
        *context_sentences(decision, workload),
        *([decision.resort] if decision.resort else []),
        *stream_sentences(decision),
        *_buffer_sentences(chosen, placement, goal, workload),
        *_replica_sentences(decision),
        *_power_sentences(chosen, goal),
        *_unknown_sentences(chosen, placement, hardware),
        *_unmeasured_sentences(confirmed),
        *_round_sentences(confirmed),
        *_pin_sentences(goal, hardware),
    )


def _quant_sentence(decision: Decision) -> str:
    option, question = decision.chosen, decision.question
    objective = question.goal.objective
    quant, spec = option.candidate.quant, option.candidate.spec
    source = "by the types of its tensors" if spec.types else "by its label"
    loss = f"KLD {option.merit.weight_kld:.4f} {source}, {bits_per_weight(spec):.1f} bits a weight"
    if len(decision.searches) == 1:
        return f"{quant} is the only file there is ({loss})"
    why = {
        "quality": "loses least of those that fit",
        "speed": "is the fastest with an acceptable loss",
        "energy": "takes the least energy per token with an acceptable loss",
        "context": "leaves room for the longest context with an acceptable loss",
        "balanced": "balances quality, pace and context best",
    }[objective]
    most = question.profiles.quality.acceptable_kld
    if option.kld > most and objective in ("speed", "energy"):
        why = f"loses least of those that fit, and none has an acceptable loss, at most {most:g}"
    elif option.kld > most and objective == "context":
        why = f"leaves room for the longest context; no loss is acceptable, at most {most:g}"
    return f"{quant} {why} ({loss}){_purpose(option, question)}"


def _purpose(option: Option, question: Question) -> str:
    if option.setting.embedding:
        return ""
    workload = question.workload
    if option.pace.decode.p50 < (wished_tok_s := 1 / workload.itl_target_s):
        slow = f"slower than the {wished_tok_s:g} tok/s that {workload.use} wishes for"
        ranked = ranking(question.goal, question.machine_flags)
        return f"; {slow}: a smaller model would suit better (`{ranked}`)"
    return f"; {workload.use}: {workload.why}"


def _placement_sentences(decision: Decision, placement: Placement) -> Iterator[str]:
    n_all, question = decision.chosen.candidate.spec.n_layers + 1, decision.question
    hardware, limited = question.machine.hardware, decision.winner.limited
    names = names_of([hardware.device(i) for i in placement.device_ids])
    if not names:
        setting = decision.chosen.setting
        able = [one for one in question.accelerators if not limited.whys_not(setting, one)]
        why = why_on_cpu(decision) if able else "no accelerator is usable"
        yield f"all on the CPU: {why}"
    elif placement.split_mode != "layer":
        yield (
            f"{names} work side by side on every layer (-sm {placement.split_mode}, experimental "
            "in llama.cpp); the bytes of each are an even division, not measured"
        )
    elif placement.has_experts_aside:
        yield _expert_sentence(placement, names, n_all)
    elif placement.n_gpu_layers == n_all:
        yield f"all {n_all} layers fit on {names}"
    else:
        pinned = question.goal.n_gpu_layers
        why = "which hold no more" if pinned is None else f"as -ngl {pinned} asks"
        yield f"{placement.n_gpu_layers} of {n_all} layers on {names}, {why}; the CPU has the rest"
    if placement.disk_bytes:
        yield (
            f"{format_bytes(placement.disk_bytes)} of the weights have no memory and are read "
            "from disk for each token, as --allow-disk allows"
        )


def _expert_sentence(placement: Placement, names: str, n_all: int) -> str:
    where = f"all {n_all} layers on {names}"
    if placement.n_gpu_layers < n_all:
        where = f"{placement.n_gpu_layers} of {n_all} layers on {names}"
    return (
        f"{where}, {_experts_aside(placement)} with the CPU: of their bytes "
        "only a few are read for a token, so they lose least there"
    )


def _experts_aside(placement: Placement) -> str:
    n, n_parts = placement.n_cpu_moe, len(placement.expert_parts)
    if not n:
        return f"the experts of {layers_text(n_parts)} in part"
    return f"the experts of the first {n}" + (
        f", and of {n_parts} more in part," if n_parts else ""
    )


def _left_out_sentences(decision: Decision) -> Iterator[str]:
    hardware, question = decision.question.machine.hardware, decision.question
    used = decision.chosen.placement.device_ids
    idle: dict[str, list[Device]] = {}
    for device in hardware.accelerators:
        if device.id in used:
            continue
        if device in question.accelerators:
            idle.setdefault(_why_left_out(device, decision), []).append(device)
        elif used:
            idle.setdefault("a card with memory of its own is beside it", []).append(device)
    for why, devices in idle.items():
        verb = "is" if len(devices) == 1 else "are"
        yield f"{names_of(devices)} {verb} left out: {why}"
    useless: dict[str, list[Device]] = {}
    for device in hardware.devices:
        if device.backend == "none":
            why = device.note or "this build of llama.cpp lacks its backend"
            useless.setdefault(why, []).append(device)
    for why, devices in useless.items():
        yield f"{names_of(devices)} can't be used: {why}"


def _why_left_out(device: Device, decision: Decision) -> str:
    goal, chosen = decision.question.goal, decision.chosen
    if whys := decision.winner.limited.whys_not(chosen.setting, device):
        return "; ".join(whys)
    if goal.n_gpu_layers == 0:
        return "-ngl 0 leaves it no layer"
    if goal.tensor_split:
        return "-ts gives it nothing"
    if goal.max_watts is not None:
        ids = [*chosen.placement.device_ids, device.id]
        together = power_w(decision.question.machine.hardware, ids)
        if together is not None and together > goal.max_watts:
            drawn = f"{together:.0f} W, more than {goal.max_watts:g} W"
            return f"{_with_it(chosen)} the boards may draw {drawn}"
    with_it, used = _with_one_more(device, decision), chosen.placement.device_ids
    if isinstance(with_it, Miss):
        return _why_missed(with_it, device, _with_it(chosen))
    if set(with_it.placement.device_ids) <= set(used):
        return _why_no_layer(chosen, goal)
    return f"{_with_it(chosen)} {why_not_with(with_it, chosen)}"


def _with_one_more(device: Device, decision: Decision) -> Option | Miss:
    """The chosen plan with a device like this one besides: the roomiest of its name, so that equal
    ones have one reason. The search itself may have left this choice out."""
    search, chosen = decision.winner, decision.chosen
    used, accelerators = devices_of(search, chosen), search.question.accelerators
    alike = [one for one in accelerators if one.name == device.name and one not in used]
    more = max(alike, key=search.question.machine.room_bytes)
    devices = tuple(one for one in accelerators if one in used or one == more)
    return search.look(chosen.setting, devices, chosen.ways)


def _with_it(chosen: Option) -> str:
    return "with one more" if chosen.placement.device_ids else "with it"


def _why_missed(miss: Miss, device: Device, with_it: str) -> str:
    match miss.why:
        case Shortfall():
            return f"{with_it} the plan does not fit"
        case Unmet(sentence=sentence):
            return f"{with_it} the plan {sentence}"
        case Barred(sentence=sentence):
            return sentence.removeprefix(f"{device.name}: ")


def _why_no_layer(chosen: Option, goal: Goal) -> str:
    placement = chosen.placement
    if not placement.shares[-1].computes:
        return "what is faster holds everything"
    if goal.n_cpu_moe is not None and placement.n_gpu_layers > chosen.candidate.spec.n_layers:
        return f"-ncmoe {goal.n_cpu_moe} leaves it no layer"
    if goal.n_gpu_layers is not None:
        return f"-ngl {goal.n_gpu_layers} leaves it no layer"
    return "no room for a layer"


def _buffer_sentences(
    option: Option, placement: Placement, goal: Goal, workload: Workload
) -> Iterator[str]:
    setting: Setting = option.setting
    usual = min(workload.n_ubatch, setting.n_ctx)
    if not setting.embedding and goal.n_ubatch is None and setting.n_ubatch != usual:
        effect = (
            "prompts are read faster" if setting.n_ubatch > usual else "its buffers are smaller"
        )
        yield f"micro-batch {setting.n_ubatch} instead of {usual}: {effect}"
    if not placement.op_offload and placement.device_ids and goal.op_offload is None:
        yield (
            "prompts are computed where the weights lie (no op_offload): the copy's room holds "
            "weights, and the CPU repacks its own"
        )


def _replica_sentences(decision: Decision) -> Iterator[str]:
    chosen, question = decision.chosen, decision.question
    if not wants_throughput(question.goal, question.workload):
        return
    if chosen.setting.n_parallel < 2 or chosen.setting.embedding:
        return
    found = best_replicas(decision.winner, chosen.setting)
    if found and found.tok_s.p50 > _WORTH_SAYING * chosen.pace.throughput:
        each = "one card" if found.n_devices_each == 1 else f"{found.n_devices_each} cards"
        yield (
            f"{found.n_replicas} replicas on {each} each would give "
            f"{format_rate(found.tok_s.p50)} together, this plan gives "
            f"{format_rate(chosen.pace.throughput)}; one server runs one copy of a model, so that "
            "takes as many servers"
        )
        if (command := _replica_command(found, chosen.candidate, question.goal)) is not None:
            yield command


def _replica_command(found: Replicas, candidate: Candidate, goal: Goal) -> str | None:
    """The first two copies' servers; None where no variable picks their cards."""
    variable = _VISIBLE.get(found.option.devices[0].backend)
    if variable is None:
        return None
    flags = _replica_flags(found.option.setting, goal)

    def server(number: int) -> str:
        n = found.n_devices_each
        cards = ",".join(map(str, range(number * n, (number + 1) * n)))
        return (
            f"`{variable}={cards} edgellm serve {_reference(candidate)} {flags} "
            f"--port {_FIRST_PORT + number}`"
        )

    more = ", and so on" if found.n_replicas > 2 else ""
    return f"replicas are started by {server(0)} and {server(1)}{more}"


def _replica_flags(setting: Setting, goal: Goal) -> str:
    """What makes a copy the one that was compared, whatever its server would choose."""
    flags = {
        "--use": goal.use,
        "--goal": None if goal.objective == "balanced" else goal.objective,
        "--parallel": setting.n_parallel,
        "--ctx": setting.n_ctx_seq,
        "-ctk": setting.kv_type_k,
        "-ctv": setting.kv_type_v,
        "-ub": setting.n_ubatch,
    }
    return " ".join(f"{flag} {value}" for flag, value in flags.items() if value is not None)


def _reference(candidate: Candidate) -> str:
    """By which a command finds this very file."""
    if is_address(candidate.name):
        return candidate.name
    is_catalogs = is_address(candidate.source) or candidate.source == "the catalog"
    if is_catalogs and ":" in candidate.name:
        return f"{candidate.name}-{candidate.quant.lower()}"
    return candidate.file


def _power_sentences(option: Option, goal: Goal) -> Iterator[str]:
    watts = option.merit.power_w
    if goal.max_watts is not None and watts is None:
        yield f"nobody tells what these devices draw: {goal.max_watts:g} W can't be promised"
    elif goal.objective == "energy" and watts is None:
        yield "nobody tells what these devices draw: the fastest is taken for the thriftiest"
    elif goal.objective == "energy" and watts is not None:
        n, tokens = (1000, "thousand tokens") if option.setting.embedding else (1, "token")
        joules = n * watts / option.pace.throughput
        yield f"{joules:.1f} J a {tokens} at the boards' limit of {watts:.0f} W"


def _unknown_sentences(option: Option, placement: Placement, hardware: Hardware) -> Iterator[str]:
    unknown = [
        hardware.device(share.device_id).name
        for share in placement.shares
        if share.computes and not hardware.pool(share.pool_id).bandwidth_bytes_s
    ]
    if unknown:
        yield f"memory bandwidth of {', '.join(unknown)} is unknown: the speed range is wide"
    devices = [hardware.device(share.device_id) for share in placement.shares]
    yield from dict.fromkeys(f"{device.name}: {device.note}" for device in devices if device.note)
    spec = option.candidate.spec
    if spec.architecture not in LOADABLE:
        yield (
            f"this llama.cpp doesn't know the architecture {spec.architecture!r}: the plan is made "
            "from the tensors' bytes, its ranges are wide, and a newer llama.cpp has to serve it"
        )


def _unmeasured_sentences(confirmed: Confirmed) -> Iterator[str]:
    """Whose speed nobody has seen on this machine. Of a described one nobody ever will."""
    chosen, machine = confirmed.decision.chosen, confirmed.decision.question.machine
    spec, speed, hardware = chosen.candidate.spec, machine.speed, machine.hardware
    if chosen.setting.embedding:
        return
    if spec.weight_bytes < LEAST_MEASURED_BYTES:
        yield (
            "most of so small a model's time is fixed costs, which are guessed: the speed "
            "range is wide (edgellm bench MODEL measures it)"
        )
        return
    at_work = [hardware.device(s.device_id) for s in confirmed.placement.shares if s.computes]
    model = spec.architecture, main_type(spec)
    unseen = [one for one in at_work if speed.calibration(one, *model, prompt=False) is None]
    if speed.build is not None and unseen:
        yield (
            f"no model's speed was measured on {names_of(unseen)} yet: the range is that of others "
            "(edgellm bench MODEL measures it while nothing else runs, and the next plan knows)"
        )


def _round_sentences(confirmed: Confirmed) -> Iterator[str]:
    if confirmed.n_rounds:
        times = "once" if confirmed.n_rounds == 1 else f"{confirmed.n_rounds} times"
        yield (
            f"llama.cpp asked for {format_bytes(confirmed.more_bytes)} more than was added up: "
            f"chosen again {times}, with that much kept free"
        )


def _pin_sentences(goal: Goal, hardware: Hardware) -> Iterator[str]:
    goal = replace(goal, **dict.fromkeys(goal.tuned))  # type: ignore[arg-type]
    split = goal.tensor_split and ",".join(f"{part:g}" for part in goal.tensor_split)
    flags = {
        "--ctx": goal.n_ctx_seq, "-c": goal.n_ctx, "--min-ctx": goal.min_ctx_seq,
        "--parallel": goal.n_parallel, "-ctk": goal.kv_type_k, "-ctv": goal.kv_type_v,
        "-ngl": goal.n_gpu_layers, "-ncmoe": goal.n_cpu_moe, "-ts": split or None,
        "-sm": goal.split_mode, "-ub": goal.n_ubatch, "-t": goal.n_threads,
        "--min-tok-s": goal.min_tok_s, "--max-watts": goal.max_watts,
    }  # fmt: skip
    pinned = [
        f"{flag} {value}"
        for flag, value in flags.items()
        if value is not None and flag not in goal.tabled
    ]
    if pinned:
        yield f"as you asked: {' '.join(pinned)}"
    if goal.n_gpu_layers and not hardware.accelerators:
        yield "-ngl has no effect: llama.cpp has no accelerator here"
