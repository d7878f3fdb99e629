"""The other layout that a loaded model may change to while it is idle: pool or streams.

Which of the two is faster depends on what the conversations have in common (runner/pacing/
layouts.py), so it is seen only while serving. That matters where a CPU computes attention, and can
be done where cells are all that a conversation has. It keeps to what was asked for: the same
conversations, as long, in the same memory.
"""

from dataclasses import replace

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.leaving import can_leave, n_scratch
from edgellm.selector.plan import Candidate, Layout
from edgellm.selector.search.options import Option
from edgellm.selector.search.search import Search

_CHOSEN_BY_LENGTH = "rope_factors_long"  # by n_ctx_seq, which a pool doesn't have


def other_layout(search: Search, chosen: Option) -> Layout | None:
    """None: it has to stay as it is."""
    setting, goal, spec = chosen.setting, search.question.goal, search.spec
    is_pinned = goal.kv_unified is not None or goal.batch_invariant or goal.prefix_ram_bytes == 0
    if is_pinned or setting.embedding or setting.n_parallel < 2 or chosen.merit.is_stuck:
        return None
    if chosen.placement.device_ids or not _is_plain(search.candidate, spec, goal.speculate):
        return None
    unified = not setting.kv_unified
    n_aside = n_scratch(spec, goal, setting.n_parallel, unified=unified)
    if unified and not n_aside:
        return None
    other = replace(setting, kv_unified=unified, n_scratch=n_aside)
    found = search.look(other, chosen.devices, chosen.ways, exactly=True)
    if not isinstance(found, Option) or found.setting != other or found.merit.is_stuck:
        return None
    return Layout(unified, other.n_ctx, other.n_seq_max, other.n_outputs_max)


def _is_plain(candidate: Candidate, spec: ModelSpec, speculate: str) -> bool:
    """One context, whose cells are the same in both layouts."""
    tensors = (tensor for header in candidate.headers for tensor in header.tensors)
    is_chosen_by_length = any(_CHOSEN_BY_LENGTH in tensor.name for tensor in tensors)
    guesses = speculate in ("draft", "mtp")
    return can_leave(spec) and not (guesses or candidate.projector or is_chosen_by_length)
