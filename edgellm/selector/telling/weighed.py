"""What weighed: why a plan that fits is not the chosen one, and why devices have nothing to do."""

from edgellm.selector.search.decide import Decision
from edgellm.selector.search.options import Option
from edgellm.selector.telling.describe import names_of
from edgellm.units import format_bytes, format_rate, format_seconds

_LATER = 1.1  # a first token that is later by less is no loss
_FASTER = 1.05  # and so much more is worth a word


def losses(option: Option, chosen: Option) -> list[str]:
    """What it loses against the chosen one, the gravest first."""
    here, there = option.setting, chosen.setting
    found = []
    if here.n_ctx_seq < there.n_ctx_seq or here.n_parallel < there.n_parallel:
        found.append(f"holds only {here.n_ctx_seq} tokens × {here.n_parallel}")
    if option.kld > chosen.kld:
        found.append(f"loses more (KLD {option.kld:.4f} against {chosen.kld:.4f})")
    own, best = _tok_s(option), _tok_s(chosen)
    if own < best and (slow := format_rate(own)) != (fast := format_rate(best)):
        found.append(f"{_does(option)}s {slow} against {fast}")
    if here.embedding:  # whose first token is when all is read
        return found or _larger(option, chosen)
    own, best = option.pace.ttft_s.p50, chosen.pace.ttft_s.p50
    if own > _LATER * best:
        found.append(f"answers after {format_seconds(own)}, not {format_seconds(best)}")
    return found


def _larger(option: Option, chosen: Option) -> list[str]:
    own, best = (format_bytes(one.placement.total_bytes) for one in (option, chosen))
    if option.candidate is chosen.candidate or own == best:
        return []
    is_larger = option.placement.total_bytes > chosen.placement.total_bytes
    return [f"takes {own} against {best}"] if is_larger else []


def _tok_s(option: Option) -> float:
    """Its pace: what one stream gets; of an embedding model, which writes none, what it reads."""
    pace = option.pace
    return pace.throughput if option.setting.embedding else pace.decode.p50


def _does(option: Option) -> str:
    """What that pace is of."""
    return "read" if option.setting.embedding else "decode"


def _rates(option: Option, chosen: Option) -> str:
    return f"{format_rate(_tok_s(option))} instead of {format_rate(_tok_s(chosen))}"


def price(option: Option, chosen: Option) -> str | None:
    """Of devices: each that computes could run something else."""
    more = option.merit.n_devices - chosen.merit.n_devices
    if more < 1:
        return None
    return f"takes {more} more device{'' if more == 1 else 's'}"


def is_clearly_faster(option: Option, chosen: Option) -> bool:
    return _tok_s(option) > _FASTER * _tok_s(chosen)


def why_not_with(more: Option, chosen: Option) -> str:
    """The chosen plan with one more device."""
    paces = _rates(more, chosen)
    own, best = (format_rate(_tok_s(one)) for one in (more, chosen))
    if own == best:
        return f"it would {_does(more)} as fast, {own}"
    if _tok_s(more) < _tok_s(chosen):
        return f"it would be slower, {paces}"
    if is_clearly_faster(more, chosen) and (lost := losses(more, chosen)):
        return f"it would {_does(more)} {paces}, but it {' and '.join(lost)}"
    return f"too little would be gained, {paces}"


def why_on_cpu(decision: Decision) -> str:
    """All is on the CPU, and some accelerator could take part."""
    question, chosen, search = decision.question, decision.chosen, decision.winner
    goal = question.goal
    if goal.n_gpu_layers == 0:
        return "-ngl 0 asks for it"
    if not any(question.sets):
        watts = goal.max_watts or 0.0
        return f"every accelerator may draw more than the {watts:g} W that --max-watts leaves"
    tried = [search.look(chosen.setting, some, question.ways(some)) for some in question.sets]
    able = [one for one in (*search.options, *tried) if isinstance(one, Option)]
    on_devices = [one for one in able if one.placement.device_ids]
    if not on_devices:
        return "with an accelerator it does not fit"
    best = max(on_devices, key=lambda one: question.rank(one.merit))
    if _tok_s(chosen) >= max(map(_tok_s, on_devices)):
        return "it is the quickest"
    hardware = question.machine.hardware
    names = names_of([hardware.device(i) for i in best.placement.device_ids])
    why = losses(best, chosen) or [price(best, chosen) or "is no better otherwise"]
    return f"with {names} it would {_does(best)} {_rates(best, chosen)}, but it {' and '.join(why)}"
