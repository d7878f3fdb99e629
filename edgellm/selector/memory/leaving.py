"""What of conversations lies in host memory: whose can, and how much of it they get.

On unified KV an idle conversation makes everybody's steps look further, unless it leaves. Cells
that look at everything can: each stretch of them stands for itself. A sliding window or a recurrent
state is of use at its end only; what is copied of these are checkpoints, where a prefix that others
share may be resumed. To copy a stretch, llama.cpp needs a sequence id of its own.
"""

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Goal, Placement, Plan
from edgellm.selector.search.checks import MAX_SEQUENCES
from edgellm.units import GIB, format_bytes

_PART_OF_FREE = 0.5  # of what the plan leaves of the host's budget: other programs grow, too
MOST_BYTES = 8 * GIB  # more is to be asked for: it is the machine's whole page cache otherwise


def can_leave(spec: ModelSpec) -> bool:
    """What llama.cpp keeps for it is one cell a token, wherever it looks at them from."""
    kinds = {layer.kv_kind for layer in spec.layers}
    return not carries_state(spec) and kinds <= {"full", "latent", "none"}


def carries_state(spec: ModelSpec) -> bool:
    """Windows slide, or layers are recurrent: prefixes are shared by checkpoints."""
    return bool(spec.n_swa) or any(layer.state_bytes for layer in spec.layers)


def n_scratch(spec: ModelSpec, goal: Goal, n_parallel: int, *, unified: bool) -> int:
    """Sequence ids beside those that run."""
    wanted = unified and goal.prefix_ram_bytes != 0 and can_leave(spec)
    return 1 if wanted and n_parallel < MAX_SEQUENCES else 0


def is_kept_in_ram(
    spec: ModelSpec, shape: ContextShape, placement: Placement, n_scratch: int
) -> bool:
    """Whether past conversations leave for host memory. Streams of a split KV are copied whole:
    from the host's own cells, and over no bus."""
    if n_scratch or carries_state(spec):
        return True
    return not shape.kv_unified and can_leave(spec) and not placement.device_ids


def prefix_ram_bytes(
    goal: Goal, placement: Placement, machine: Machine, layout_bytes: int = 0
) -> int:
    """Never more than the plan and its other layouts (Plan.layout_bytes) leave of the host's
    budget, whatever is asked for. What is taken unasked is divided among the models that share the
    machine; if all of these fit into it at once, what they leave together, so that they still do
    with it."""
    planned = sum(s.total_bytes for s in placement.shares if s.pool_id == machine.host_id)
    left = max(0, machine.budgets[machine.host_id] - planned - layout_bytes)
    if goal.prefix_ram_bytes is not None:
        return min(goal.prefix_ram_bytes, left)
    if goal.others_bytes <= left:
        left -= goal.others_bytes
    return min(MOST_BYTES, int(_PART_OF_FREE * left)) // goal.n_turns


def kept_beside(plan: Plan, goal: Goal) -> tuple[str, ...]:
    """The reason to show: it is no part of the plan's bytes, since it is taken as it is free."""
    taken, asked = plan.prefix_ram_bytes, goal.prefix_ram_bytes
    if not taken and not asked:
        return ()
    flag = "--prefix-ram"
    if asked is not None and asked > taken:
        flag = f"not {format_bytes(asked)} as {flag} asks: the host has no more"
    return (
        f"what is kept of past conversations may take {format_bytes(taken)} beside it ({flag})",
    )
