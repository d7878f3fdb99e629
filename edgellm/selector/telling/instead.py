"""What would fit instead: the goal that found no plan, with one wish less at a time.

Each wish that was pinned is let go alone, in the order in which people give them up most easily;
only when none is enough all of them go together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgellm.errors import BadRequest, DoesNotFit
from edgellm.probe.hardware import Hardware
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, Plan
from edgellm.selector.profiles import Profiles
from edgellm.values import frozen

# Fields that go together, and how the flag of each is called.
_WISHES: tuple[dict[str, str], ...] = (
    {"n_gpu_layers": "-ngl", "tensor_split": "-ts", "split_mode": "-sm", "n_cpu_moe": "-ncmoe"},
    {"n_ubatch": "-ub", "flash_attention": "-fa", "op_offload": "--op-offload"},
    {"reserve_bytes": "--reserve"},
    {"max_watts": "--max-watts"},
    {"kv_type_k": "-ctk", "kv_type_v": "-ctv"},
    {"n_parallel": "--parallel"},
    {"min_tok_s": "--min-tok-s"},
    {"n_ctx_seq": "--ctx", "n_ctx": "-c", "min_ctx_seq": "--min-ctx"},
)


@frozen
class Instead:
    """`without`: the flags that were let go."""

    without: str
    plan: Plan


def instead(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal, profiles: Profiles
) -> tuple[Instead, ...]:
    """Empty when not even this machine's best plan for the model fits."""
    pinned = [given for wish in _WISHES if (given := _given(goal, wish))]
    found = [_without(given, hardware, candidates, goal, profiles) for given in pinned]
    if not any(found) and len(pinned) > 1:
        every = {name: flag for given in pinned for name, flag in given.items()}
        found = [_without(every, hardware, candidates, goal, profiles)]
    return tuple(one for one in found if one)


def _given(goal: Goal, wish: Mapping[str, str]) -> dict[str, str]:
    """Those of its fields that were asked for."""
    nothing = Goal()
    return {
        name: flag for name, flag in wish.items() if getattr(goal, name) != getattr(nothing, name)
    }


def _without(
    given: Mapping[str, str],
    hardware: Hardware,
    candidates: Sequence[Candidate],
    goal: Goal,
    profiles: Profiles,
) -> Instead | None:
    plan = _fitting(hardware, candidates, _freed(goal, tuple(given)), profiles)
    return Instead(", ".join(given.values()), plan) if plan else None


def _fitting(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal, profiles: Profiles
) -> Plan | None:
    try:
        return choose(hardware, candidates, goal, profiles, explained=False)
    except (DoesNotFit, BadRequest):
        return None


def _freed(goal: Goal, names: Sequence[str]) -> Goal:
    nothing = Goal()
    return replace(goal, **{name: getattr(nothing, name) for name in names})


def sentence(change: str, plan: Plan) -> str:
    pace = f", {plan.decode_tok_s.p50:.1f} tok/s" if plan.decode_tok_s else ""
    return (
        f"{change}: {plan.quant}, {plan.n_parallel} × {plan.n_ctx_seq} tokens, "
        f"KV {plan.kv_type_k}{pace}"
    )
