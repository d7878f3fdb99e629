"""What would fit instead: the goal that found no plan, with one wish less at a time.

Each wish that was pinned is let go alone, in the order in which people give them up most easily;
only when none is enough all of them go together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from edgellm.errors import BadRequest, DoesNotFit
from edgellm.probe.hardware import Hardware
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, Plan
from edgellm.selector.profiles import Profiles

# Fields that go together, and how the flags are called.
_WISHES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("n_gpu_layers", "tensor_split", "split_mode", "n_cpu_moe"), "-ngl, -ts, -sm, -ncmoe"),
    (("n_ubatch", "flash_attention", "op_offload"), "-ub, -fa, --op-offload"),
    (("reserve_bytes",), "--reserve"),
    (("max_watts",), "--max-watts"),
    (("kv_type_k", "kv_type_v"), "-ctk, -ctv"),
    (("n_parallel",), "--parallel"),
    (("min_tok_s",), "--min-tok-s"),
    (("n_ctx_seq", "n_ctx", "min_ctx_seq"), "--ctx, -c, --min-ctx"),
)


@dataclass(frozen=True, slots=True)
class Instead:
    """`without`: the flags that were let go."""

    without: str
    plan: Plan


def instead(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal, profiles: Profiles
) -> tuple[Instead, ...]:
    """Empty when not even this machine's best plan for the model fits."""
    nothing = Goal()
    pinned = [wish for wish in _WISHES if any(_differs(goal, nothing, name) for name in wish[0])]
    found = []
    for names, flags in pinned:
        plan = _fitting(hardware, candidates, _freed(goal, names), profiles)
        if plan:
            found.append(Instead(flags, plan))
    if not found and len(pinned) > 1:
        free = _freed(goal, [name for names, _ in pinned for name in names])
        plan = _fitting(hardware, candidates, free, profiles)
        if plan:
            found.append(Instead(", ".join(flags for _, flags in pinned), plan))
    return tuple(found)


def _fitting(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal, profiles: Profiles
) -> Plan | None:
    try:
        return choose(hardware, candidates, goal, profiles)
    except (DoesNotFit, BadRequest):
        return None


def _freed(goal: Goal, names: Sequence[str]) -> Goal:
    nothing = Goal()
    return replace(goal, **{name: getattr(nothing, name) for name in names})


def _differs(goal: Goal, other: Goal, name: str) -> bool:
    return bool(getattr(goal, name) != getattr(other, name))


def sentences(found: Sequence[Instead]) -> Iterator[str]:
    for one in found:
        plan = one.plan
        pace = f", {plan.decode_tok_s.p50:.1f} tok/s" if plan.decode_tok_s else ""
        yield (
            f"without {one.without}: {plan.quant}, {plan.n_parallel} × {plan.n_ctx_seq} tokens, "
            f"KV {plan.kv_type_k}{pace}"
        )
