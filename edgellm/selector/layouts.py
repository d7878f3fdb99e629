"""The other layouts that a loaded model may change to while it is idle: how its KV cells lie, and
how they are looked at.

They are one pool or a stream for each conversation, looked at with flash attention or without.
Which is the fastest depends on what the conversations have in common and on how long they are
(runner/pacing/layouts.py), so it is seen only while serving. That matters where a CPU computes
attention, and can be done where cells are all that a conversation has. It keeps to what was asked
for: the same conversations, as long, in the same memory.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.leaving import can_leave, n_scratch
from edgellm.selector.plan import Candidate, Goal, Layout, layout_of
from edgellm.selector.search.options import Option
from edgellm.selector.search.search import Search
from edgellm.selector.search.settings import Setting

_CHOSEN_BY_LENGTH = "rope_factors_long"  # by n_ctx_seq, which a pool doesn't have
# Without flash attention a step has a number for each of its rows and heads and each cell of the
# context. So many rows read a prompt as fast as 512 (qwen3-0.6b on two cores, 1,024 tokens deep:
# 135 and 129 tok/s), in a quarter of the memory.
_PLAIN_UBATCH = 128
_LEAST_CTX_SEQ = 1024  # shorter conversations are looked through in no time


class Others(NamedTuple):
    layouts: tuple[Layout, ...] = ()  # none: it has to stay as it is
    most_bytes: int = 0  # that one of them takes beyond the present one


def other_layouts(search: Search, chosen: Option) -> Others:
    setting, goal, spec = chosen.setting, search.question.goal, search.spec
    is_pinned = goal.batch_invariant or goal.prefix_ram_bytes == 0
    if is_pinned or setting.embedding or chosen.merit.is_stuck or chosen.placement.device_ids:
        return Others()
    if not _is_plain(search.candidate, spec, goal.speculate):
        return Others()
    looked = (_look(search, chosen, other) for other in _others(setting, goal, spec))
    found = [option for option in looked if option]
    here_bytes = chosen.placement.total_bytes
    most_bytes = max((one.placement.total_bytes for one in found), default=here_bytes)
    layouts = tuple(layout_of(option.setting) for option in found)
    return Others(layouts, max(0, most_bytes - here_bytes))


def _others(setting: Setting, goal: Goal, spec: ModelSpec) -> Iterator[Setting]:
    ways = product(_pools(setting, goal), _attentions(setting, goal, spec))
    for unified, flash in list(ways)[1:]:  # the first is the present one
        n_aside = n_scratch(spec, goal, setting.n_parallel, unified=unified)
        if unified and not n_aside:
            continue
        n_ubatch = setting.n_ubatch
        if flash != setting.flash_attention and not goal.n_ubatch:
            n_ubatch = min(n_ubatch, max(_PLAIN_UBATCH, setting.n_outputs_max))
        yield replace(
            setting,
            kv_unified=unified,
            n_scratch=n_aside,
            flash_attention=flash,
            n_ubatch=n_ubatch,
        )


def _pools(setting: Setting, goal: Goal) -> tuple[bool, ...]:
    here = setting.kv_unified
    is_pinned = goal.kv_unified is not None or setting.n_parallel < 2
    return (here,) if is_pinned else (here, not here)


def _attentions(setting: Setting, goal: Goal, spec: ModelSpec) -> tuple[bool | None, ...]:
    """Without flash attention V can't be quantized; and what MLA keeps has no V of its own."""
    here, kinds = setting.flash_attention, {layer.kv_kind for layer in spec.layers}
    is_pinned = goal.flash_attention is not None or here is not None
    can_do_without = not setting.shape.kv_quantized and kinds <= {"full", "none"}
    if is_pinned or not can_do_without or setting.n_ctx_seq < _LEAST_CTX_SEQ:
        return (here,)
    return (here, False)


def _look(search: Search, chosen: Option, other: Setting) -> Option | None:
    """None: it doesn't fit."""
    found = search.look(other, chosen.devices, chosen.ways, exactly=True)
    if not isinstance(found, Option) or found.setting != other or found.merit.is_stuck:
        return None
    return found


def _is_plain(candidate: Candidate, spec: ModelSpec, speculate: str) -> bool:
    """One context, whose cells are the same in all layouts."""
    tensors = (tensor for header in candidate.headers for tensor in header.tensors)
    is_chosen_by_length = any(_CHOSEN_BY_LENGTH in tensor.name for tensor in tensors)
    guesses = speculate in ("draft", "mtp")
    return can_leave(spec) and not (guesses or candidate.projector or is_chosen_by_length)
