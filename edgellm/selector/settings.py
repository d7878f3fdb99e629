"""Which contexts, parallel sequences and KV types are worth trying for a goal.

A pinned number is the only one tried. The rest descends from what the use wishes for to what it
can live with: first the other conversations go, then half the context, and a quantized cache is
tried beside each, because it costs almost nothing in quality.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edgellm.errors import BadRequest
from edgellm.models.quants import BY_NAME
from edgellm.models.spec import ModelSpec
from edgellm.selector.memory import ContextShape
from edgellm.selector.plan import Goal, KVType
from edgellm.selector.profiles import Workload

_MAX_SEQUENCES = 256  # llama.cpp's LLAMA_MAX_SEQ
_N_BATCH = 2048  # llama.cpp's default, the most that goes down in one call
_EMBEDDING_CTX = 2048  # most texts that are embedded are shorter
_EMBEDDING_PARALLEL = 8  # short texts side by side in one batch


@dataclass(frozen=True, slots=True)
class Setting:
    """One context that could be asked of llama.cpp, wherever its layers go."""

    n_ctx: int
    n_ctx_seq: int
    n_parallel: int
    n_ubatch: int
    n_outputs_max: int
    kv_type_k: KVType
    kv_type_v: KVType
    kv_unified: bool
    flash_attention: bool | None
    embedding: bool

    @property
    def shape(self) -> ContextShape:
        """llama.cpp's "auto" turns flash attention on wherever the head sizes allow it."""
        return ContextShape(
            n_ctx=self.n_ctx,
            n_seq_max=self.n_parallel,
            n_ubatch=self.n_ubatch,
            n_outputs_max=self.n_outputs_max,
            kv_type_k=self.kv_type_k,
            kv_type_v=self.kv_type_v,
            kv_unified=self.kv_unified,
            flash_attention=self.flash_attention is not False,
            embedding=self.embedding,
        )

    @property
    def n_batch(self) -> int:
        """An embedding's tokens go down together: a pooled row needs all of its sequence."""
        if self.embedding:
            return self.n_ubatch
        return max(self.n_ubatch, self.n_parallel, min(_N_BATCH, self.n_ctx))


def check_goal(goal: Goal) -> None:
    """Raises BadRequest for numbers that can't be, whatever the model."""
    positive = ("n_ctx_seq", "n_ctx", "n_parallel", "n_ubatch", "n_threads")
    for name in positive:
        value = getattr(goal, name)
        if value is not None and value < 1:
            raise BadRequest(f"{name} is {value}; it must be at least 1", param=name)
    if goal.reserve_bytes is not None and goal.reserve_bytes < 0:
        raise BadRequest(f"reserve is {goal.reserve_bytes} bytes; it can't be negative")
    if goal.n_parallel is not None and goal.n_parallel > _MAX_SEQUENCES:
        raise BadRequest(
            f"{goal.n_parallel} parallel sequences; llama.cpp holds {_MAX_SEQUENCES}",
            hint=f"use --parallel {_MAX_SEQUENCES} or fewer",
            param="n_parallel",
        )
    if goal.n_ctx and goal.n_ctx_seq and goal.n_ctx < goal.n_ctx_seq:
        raise BadRequest(
            f"one conversation of {goal.n_ctx_seq} tokens exceeds all {goal.n_ctx} cells",
            hint="raise -c or lower --ctx",
            param="n_ctx",
        )
    if goal.batch_invariant and goal.kv_unified:
        raise BadRequest(
            "a batch-invariant answer needs a KV stream of its own, not one pool for all",
            hint="leave --kv-unified or --batch-invariant out",
            param="kv_unified",
        )
    if goal.flash_attention is False and goal.kv_type_v and BY_NAME[goal.kv_type_v].block > 1:
        raise BadRequest(
            f"a {goal.kv_type_v} V cache needs flash attention, which is switched off",
            hint="leave flash attention on, or use -ctv f16",
            param="kv_type_v",
        )


def settings(spec: ModelSpec, goal: Goal, workload: Workload) -> Iterator[Setting]:
    """The most wished first. Raises BadRequest for a KV type that the model's heads can't take."""
    pairs = kv_pairs(spec, goal)
    if spec.is_embedding:
        yield from (_embedding_setting(spec, goal, pair) for pair in pairs)
        return
    for n_parallel in _parallel_steps(spec, goal, workload):
        for n_ctx_seq in _context_steps(spec, goal, workload, n_parallel):
            for pair in pairs:
                yield _setting(goal, workload, n_parallel, n_ctx_seq, pair)


def kv_pairs(spec: ModelSpec, goal: Goal) -> tuple[tuple[KVType, KVType], ...]:
    """K and V of one type unless pinned apart: unequal pairs have no fast CUDA kernel."""
    k, v = goal.kv_type_k, goal.kv_type_v
    if k or v:
        other: KVType = "f16" if goal.flash_attention is False else (k or v or "f16")
        pair = (k or other, v or other)
        _check_heads(spec, pair)
        return (pair,)
    quantized: tuple[KVType, KVType] = ("q8_0", "q8_0")
    if goal.flash_attention is False or spec.is_embedding or _misfit(spec, quantized):
        return (("f16", "f16"),)
    return (("f16", "f16"), quantized)


def wished_context(spec: ModelSpec, goal: Goal, workload: Workload) -> int:
    """Tokens of one conversation, if memory were no matter."""
    if goal.n_ctx_seq:
        return goal.n_ctx_seq
    if goal.objective == "context":
        return spec.n_ctx_train
    return min(workload.n_ctx_seq, spec.n_ctx_train)


def wished_parallel(spec: ModelSpec, goal: Goal, workload: Workload) -> int:
    """Sequences side by side. `-c` alone is cut into as many as can still be used."""
    if goal.n_parallel:
        return goal.n_parallel
    if goal.n_ctx and goal.n_ctx_seq:
        return min(max(1, goal.n_ctx // goal.n_ctx_seq), _MAX_SEQUENCES)
    if goal.n_ctx:
        usable = goal.n_ctx // min(workload.n_ctx_seq_min, spec.n_ctx_train)
        return max(1, min(workload.n_parallel, usable))
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
    n_ctx_seq = wished_context(spec, goal, workload)
    yield n_ctx_seq
    while not goal.n_ctx_seq and n_ctx_seq // 2 >= workload.n_ctx_seq_min:
        n_ctx_seq //= 2
        yield n_ctx_seq


def _setting(
    goal: Goal,
    workload: Workload,
    n_parallel: int,
    n_ctx_seq: int,
    kv_types: tuple[KVType, KVType],
) -> Setting:
    n_ctx = goal.n_ctx or n_ctx_seq * n_parallel
    return Setting(
        n_ctx=n_ctx,
        n_ctx_seq=n_ctx_seq,
        n_parallel=n_parallel,
        n_ubatch=goal.n_ubatch or min(workload.n_ubatch, n_ctx),
        n_outputs_max=n_parallel,
        kv_type_k=kv_types[0],
        kv_type_v=kv_types[1],
        kv_unified=_unified(goal, workload),
        flash_attention=goal.flash_attention,
        embedding=False,
    )


def _unified(goal: Goal, workload: Workload) -> bool:
    """In one pool a sequence's sums depend on where its cells lie: not batch-invariant."""
    if goal.batch_invariant:
        return False
    return workload.kv_unified if goal.kv_unified is None else goal.kv_unified


def _embedding_setting(spec: ModelSpec, goal: Goal, kv_types: tuple[KVType, KVType]) -> Setting:
    """One batch holds a text of full length, or several short ones; every token is an output."""
    n_ctx_seq = goal.n_ctx_seq or min(spec.n_ctx_train, goal.n_ctx or _EMBEDDING_CTX)
    n_ctx = goal.n_ctx or max(n_ctx_seq, _EMBEDDING_CTX)
    n_batch = max(n_ctx, goal.n_ubatch or 0)
    return Setting(
        n_ctx=n_ctx,
        n_ctx_seq=n_ctx_seq,
        n_parallel=goal.n_parallel or _EMBEDDING_PARALLEL,
        n_ubatch=n_batch,
        n_outputs_max=n_batch,
        kv_type_k=kv_types[0],
        kv_type_v=kv_types[1],
        kv_unified=True,
        flash_attention=goal.flash_attention,
        embedding=True,
    )


def _misfit(spec: ModelSpec, kv_types: tuple[KVType, KVType]) -> tuple[KVType, int] | None:
    """A cache type whose blocks don't divide a head, with that head's size."""
    for layer in spec.layers:
        if layer.kv_kind in ("none", "recurrent"):
            continue
        heads = (layer.head_dim_k, 0 if layer.kv_kind == "latent" else layer.head_dim_v)
        for kind, size in zip(kv_types, heads, strict=True):
            if size % BY_NAME[kind].block:
                return kind, size
    return None


def _check_heads(spec: ModelSpec, kv_types: tuple[KVType, KVType]) -> None:
    misfit = _misfit(spec, kv_types)
    if misfit:
        kind, size = misfit
        raise BadRequest(
            f"a {kind} cache comes in blocks of {BY_NAME[kind].block}, "
            f"which don't divide {spec.name}'s heads of {size}",
            hint="use -ctk f16 -ctv f16",
            param="kv_type_k",
        )
