"""What was not chosen, and what bound it: other files, and the chosen one placed otherwise."""

from collections.abc import Iterator
from dataclasses import replace

from edgellm.probe.hardware import Hardware
from edgellm.selector.placing.machine import Shortfall
from edgellm.selector.plan import Placement, Rejected
from edgellm.selector.search.alike import alike
from edgellm.selector.search.decide import Decision
from edgellm.selector.search.limited import Barred
from edgellm.selector.search.options import Miss, Option, Unmet
from edgellm.selector.search.search import Search
from edgellm.selector.search.variants import TENSOR_SPLIT, devices_of, side_by_side
from edgellm.selector.telling.describe import binding_text, names_of, placement_text
from edgellm.selector.telling.weighed import is_clearly_faster, losses, price

_MAX_FILES = 6
_MAX_PLACEMENTS = 4


def rejected(decision: Decision) -> tuple[Rejected, ...]:
    return (*_other_files(decision), *_other_placements(decision))


def _other_files(decision: Decision) -> Iterator[Rejected]:
    """One row for each: its best option, or the miss that came nearest. The nearest in size."""
    chosen, hardware = decision.chosen, decision.question.machine.hardware
    others = [search for search in decision.searches if search is not decision.winner]
    size = chosen.candidate.file_bytes
    others.sort(key=lambda search: abs(search.candidate.file_bytes - size))
    for search in others[:_MAX_FILES]:
        if search.best:
            other = alike(search, search.best, chosen)
            yield rejected_row(other, _why_not(other, chosen) + _bar(search, chosen))
        elif search.misses:
            miss = min(search.misses, key=lambda miss: miss.distance)
            yield rejected_row(miss, why_missed(miss, hardware))


def _bar(search: Search, chosen: Option) -> str:
    """What keeps this file off the devices that the chosen one is on."""
    whys = dict.fromkeys(map(search.limited.why_not, devices_of(search, chosen)))
    return "".join(f"; {why}" for why in whys if why)


def _other_placements(decision: Decision) -> Iterator[Rejected]:
    """Of the chosen file in the chosen context; the quickest first, the misses last."""
    chosen, hardware = decision.chosen, decision.question.machine.hardware
    n_layers = chosen.candidate.spec.n_layers
    seen = {_look_of(chosen.placement)}
    rows, misses = list[tuple[float, Rejected]](), list[Rejected]()
    bars = set[Barred]()
    for text, found in _looks(decision):
        if isinstance(found, Miss):
            if found.why in bars:
                continue  # what one of them can't do, two of them can't
            if isinstance(found.why, Barred):
                bars.add(found.why)
            why = why_missed(found, hardware).removeprefix(f"{text}: ")
            misses.append(rejected_row(found, f"{text}: {why}"))
        elif (look := _look_of(found.placement)) not in seen:
            seen.add(look)
            words = f"{text}, {placement_text(found.placement, n_layers)}"
            row = rejected_row(found, f"{words}: {_why_not(found, chosen)}")
            rows.append((-found.pace.decode.p50, row))
    rows.sort(key=lambda pair: pair[0])
    yield from [*(row for _, row in rows), *misses][:_MAX_PLACEMENTS]


def _looks(decision: Decision) -> Iterator[tuple[str, Option | Miss]]:
    search, chosen = decision.winner, decision.chosen
    if chosen.setting.embedding:
        return
    used = devices_of(search, chosen)
    if (split := _side_by_side(search, chosen)) is not None:
        yield "-sm tensor, experimental in llama.cpp", split
    if chosen.placement.split_mode != "layer" and search.question.goal.split_mode is None:
        layers = search.question.ways(used)
        yield "-sm layer", search.look(chosen.setting, used, layers)
    if chosen.placement.has_experts_aside and search.question.goal.n_cpu_moe is None:
        layers = replace(chosen.ways, experts_first=False)
        yield "whole layers, not experts", search.look(chosen.setting, chosen.devices, layers)
    for devices in search.question.sets:
        if devices != used:
            ways = replace(search.question.ways(devices), op_offload=chosen.ways.op_offload)
            yield names_of(devices) or "CPU", search.look(chosen.setting, devices, ways)


def _side_by_side(search: Search, chosen: Option) -> Option | Miss | None:
    """What -sm tensor would take, or the miss over the most devices."""
    looks = [
        search.look(setting, devices, TENSOR_SPLIT)
        for devices, setting in side_by_side(search, chosen.setting)
    ]
    fitting = [found for found in looks if isinstance(found, Option)]
    if not fitting:
        return looks[-1] if looks else None
    return max(fitting, key=lambda found: search.question.rank(found.merit))


def _look_of(placement: Placement) -> tuple[object, ...]:
    return (
        placement.device_ids, placement.split_mode, placement.n_gpu_layers, placement.n_cpu_moe,
        placement.expert_parts,
    )  # fmt: skip


def why_missed(miss: Miss, hardware: Hardware) -> str:
    match miss.why:
        case Unmet(sentence=sentence) | Barred(sentence=sentence):
            return sentence
        case Shortfall():
            return binding_text(miss.why, hardware)


def rejected_row(attempt: Option | Miss, binding: str) -> Rejected:
    setting = attempt.setting
    decode = attempt.pace.decode if isinstance(attempt, Option) else attempt.decode_tok_s
    if setting.embedding:
        decode = None  # it writes nothing; how fast it reads is in the words
    quant = attempt.candidate.quant
    return Rejected(quant, setting.n_ctx_seq, setting.kv_type_k, binding, decode)


def _why_not(option: Option, chosen: Option) -> str:
    """What it loses against the chosen one; what it gains is in its row."""
    if lost := losses(option, chosen):
        return f"fits, but {' and '.join(lost)}"
    mode = option.placement.split_mode
    if option.pace.decode.p50 > chosen.pace.decode.p50 and mode != chosen.placement.split_mode:
        return f"fits and is faster: -sm {mode} takes it"
    cost = price(option, chosen)
    if cost and is_clearly_faster(option, chosen):
        return f"fits and decodes faster, but {cost}"
    return "fits, and is no better"
