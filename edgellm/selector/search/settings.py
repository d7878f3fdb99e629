"""Which contexts, parallel sequences and KV types are worth trying for a goal.

A pinned number is the only one tried. The rest descends from what the use wishes for to what it
can live with: first the other conversations go, then half the context, and a quantized cache is
tried beside each, because it costs almost nothing in quality. Coarser caches and small
micro-batches are the last resort: tried only when nothing fits without them.
"""

from collections.abc import Iterator

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.leaving import MOST_BYTES, can_leave, n_scratch, prefix_ram_bytes
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.placing.head import why_without
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Goal, KVType, Placement
from edgellm.selector.profiles import Workload
from edgellm.selector.search.checks import MAX_SEQUENCES, check_heads, misfit_of
from edgellm.selector.search.rollback import n_rollback
from edgellm.values import frozen

_LAST_UBATCH = 128
_EMBEDDING_CTX = 2048  # most texts that are embedded are shorter
_EMBEDDING_PARALLEL = 8  # short texts side by side in one batch
# Rows of logits for guessed tokens in a step, of all conversations together. From there on a row
# costs a step as much as it would alone, and each is a vocabulary of floats in the output buffer.
_DRAFT_ROWS = 15


@frozen
class Setting:
    """One context that could be asked of llama.cpp, wherever its layers go."""

    n_ctx: int
    n_ctx_seq: int
    n_parallel: int
    n_ubatch: int
    kv_type_k: KVType
    kv_type_v: KVType
    kv_unified: bool
    flash_attention: bool | None
    embedding: bool
    n_draft: int = 0  # rows of logits beside one for each conversation
    n_scratch: int = 0  # sequence ids beside those that run; see leaving.py
    n_rollback: int = 0  # tokens that a recurrent state can be taken back by

    @property
    def n_outputs_max(self) -> int:
        return self.n_ubatch if self.embedding else self.n_seq_max + self.n_draft

    @property
    def shape(self) -> ContextShape:
        """llama.cpp's "auto" turns flash attention on wherever the head sizes allow it."""
        return ContextShape(
            n_ctx=self.n_ctx,
            n_seq_max=self.n_seq_max,
            n_ubatch=self.n_ubatch,
            n_outputs_max=self.n_outputs_max,
            kv_type_k=self.kv_type_k,
            kv_type_v=self.kv_type_v,
            kv_unified=self.kv_unified,
            flash_attention=self.flash_attention is not False,
            embedding=self.embedding,
            n_rs_seq=self.n_rollback,
        )

    @property
    def n_seq_max(self) -> int:
        return self.n_parallel + self.n_scratch

    @property
    def n_batch(self) -> int:
        return self.shape.n_batch


def settings(
    spec: ModelSpec, goal: Goal, workload: Workload, *, last_resort: bool = False
) -> Iterator[Setting]:
    """The most wished first. Raises BadRequest for a KV type that the model's heads can't take."""
    pairs = kv_pairs(spec, goal, last_resort=last_resort)
    if spec.is_embedding:
        yield from (_embedding_setting(spec, goal, pair) for pair in pairs)
        return
    n_ubatch = _LAST_UBATCH if last_resort else workload.n_ubatch
    for n_parallel in _parallel_steps(spec, goal, workload):
        for n_ctx_seq in _context_steps(spec, goal, workload, n_parallel):
            for pair in pairs:
                yield setting_of(spec, goal, workload, n_parallel, n_ctx_seq, pair, n_ubatch)


def setting_of(
    spec: ModelSpec,
    goal: Goal,
    workload: Workload,
    n_parallel: int,
    n_ctx_seq: int,
    kv_types: tuple[KVType, KVType],
    n_ubatch: int,
) -> Setting:
    n_ctx = goal.n_ctx or n_ctx_seq * n_parallel
    unified = _unified(spec, goal, workload)
    n_aside = n_scratch(spec, goal, n_parallel, unified=unified)
    n_draft, n_back = draft_rows(spec, goal, n_parallel + n_aside)
    return Setting(
        n_ctx=n_ctx,
        n_ctx_seq=n_ctx_seq,
        n_parallel=n_parallel,
        n_ubatch=min(goal.n_ubatch or n_ubatch, n_ctx),  # llama.cpp cuts it, too
        kv_type_k=kv_types[0],
        kv_type_v=kv_types[1],
        kv_unified=unified,
        flash_attention=True if goal.split_mode == "tensor" else goal.flash_attention,
        embedding=False,
        n_draft=n_draft,
        n_scratch=n_aside,
        n_rollback=n_back,
    )


def kv_pairs(
    spec: ModelSpec, goal: Goal, *, last_resort: bool = False
) -> tuple[tuple[KVType, KVType], ...]:
    """K and V of one type unless pinned apart: unequal pairs have no fast CUDA kernel."""
    k, v = goal.kv_type_k, goal.kv_type_v
    if k or v:
        other: KVType = "f16" if goal.flash_attention is False else (k or v or "f16")
        pair = (k or other, v or other)
        check_heads(spec, pair)
        return (pair,)
    plain: tuple[KVType, KVType] = ("f16", "f16")
    quantized: tuple[KVType, KVType] = ("q8_0", "q8_0")
    coarse: tuple[KVType, KVType] = ("q4_0", "q4_0")
    if goal.flash_attention is False or spec.is_embedding or misfit_of(spec, quantized):
        return (plain,)
    return (plain, quantized, coarse) if last_resort else (plain, quantized)


def wished_context(spec: ModelSpec, goal: Goal, workload: Workload) -> int:
    """Tokens of one conversation, if memory were no matter."""
    if goal.n_ctx_seq:
        return goal.n_ctx_seq
    wished = spec.n_ctx_train
    if goal.objective != "context":
        wished = min(workload.n_ctx_seq, spec.n_ctx_train)
    return max(wished, goal.min_ctx_seq or 1)


def wished_parallel(spec: ModelSpec, goal: Goal, workload: Workload) -> int:
    """Sequences side by side. `-c` alone is cut into as many as can still be used."""
    if goal.n_parallel:
        return goal.n_parallel
    if goal.n_ctx and goal.n_ctx_seq:
        return min(max(1, goal.n_ctx // goal.n_ctx_seq), MAX_SEQUENCES)
    if goal.n_ctx:
        least = goal.min_ctx_seq or min(workload.n_ctx_seq_min, spec.n_ctx_train)
        return max(1, min(workload.n_parallel, goal.n_ctx // least))
    return 1 if goal.objective == "context" else workload.n_parallel


def _parallel_steps(spec: ModelSpec, goal: Goal, workload: Workload) -> Iterator[int]:
    n_parallel = wished_parallel(spec, goal, workload)
    yield n_parallel
    while not (goal.n_parallel or goal.n_ctx) and n_parallel > 1:
        n_parallel //= 2
        yield n_parallel


def _context_steps(
    spec: ModelSpec, goal: Goal, workload: Workload, n_parallel: int
) -> Iterator[int]:
    if goal.n_ctx and not goal.n_ctx_seq:
        yield max(1, goal.n_ctx // n_parallel)
        return
    least = goal.min_ctx_seq or workload.n_ctx_seq_min
    n_ctx_seq = wished_context(spec, goal, workload)
    yield n_ctx_seq
    while not goal.n_ctx_seq and n_ctx_seq // 2 >= least:
        n_ctx_seq //= 2
        yield n_ctx_seq
    if goal.min_ctx_seq and not goal.n_ctx_seq and n_ctx_seq > least:
        yield least  # asked for by name, so that much is enough


def _unified(spec: ModelSpec, goal: Goal, workload: Workload) -> bool:
    """In one pool a sequence's sums depend on where its cells lie: not batch-invariant."""
    if goal.batch_invariant:
        return False
    if goal.kv_unified is not None:
        return goal.kv_unified
    leaves = can_leave(spec) and goal.prefix_ram_bytes != 0
    return workload.kv_unified and (leaves or workload.kv_unified_if_idle_stays)


def is_stuck(
    setting: Setting, placement: Placement, goal: Goal, workload: Workload, machine: Machine
) -> bool:
    """In one pool, which idle conversations should leave, and the host has no room for even one, or
    not for as much as was asked for by name, or as is ever taken unasked."""
    if setting.n_parallel == 1 or not setting.n_scratch or workload.kv_unified_if_idle_stays:
        return False
    one_bytes = sum(share.kv_bytes for share in placement.shares) // setting.n_parallel
    wanted_bytes = min(one_bytes, goal.prefix_ram_bytes or MOST_BYTES)
    return prefix_ram_bytes(goal, placement, machine) < wanted_bytes


def draft_rows(spec: ModelSpec, goal: Goal, n_seq_max: int) -> tuple[int, int]:
    """Rows for guesses, and how many of these a recurrent state keeps its steps of: none is guessed
    that can't be taken back. Batch-invariant numbers may not depend on how many rows were computed
    together."""
    if goal.speculate == "off" or goal.batch_invariant:
        return 0, 0
    if not any(layer.state_bytes for layer in spec.layers):
        return _DRAFT_ROWS, 0
    if goal.speculate == "draft":
        return 0, 0
    by_head = goal.speculate == "mtp" and not why_without(spec)
    n_back = n_rollback(spec, n_seq_max, _DRAFT_ROWS, by_head=by_head)
    return n_back, n_back


def _embedding_setting(spec: ModelSpec, goal: Goal, kv_types: tuple[KVType, KVType]) -> Setting:
    """One batch holds a text of full length, or several short ones; every token is an output."""
    usual = max(min(spec.n_ctx_train, goal.n_ctx or _EMBEDDING_CTX), goal.min_ctx_seq or 1)
    n_ctx_seq = goal.n_ctx_seq or usual
    n_ctx = goal.n_ctx or max(n_ctx_seq, _EMBEDDING_CTX)
    n_batch = max(n_ctx, goal.n_ubatch or 0)
    return Setting(
        n_ctx=n_ctx,
        n_ctx_seq=n_ctx_seq,
        n_parallel=goal.n_parallel or _EMBEDDING_PARALLEL,
        n_ubatch=n_batch,
        kv_type_k=kv_types[0],
        kv_type_v=kv_types[1],
        kv_unified=True,
        flash_attention=goal.flash_attention,
        embedding=True,
    )
