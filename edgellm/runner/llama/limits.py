"""What a loaded model offers the scheduler, by its context and the plan."""

from typing import Any

import llama_cpp

from edgellm.runner.kv.memory import Limits
from edgellm.runner.llama.partial import carries_state
from edgellm.selector.plan import Plan
from edgellm.selector.search.checks import MAX_SEQUENCES

_N_RETAINED = 64  # ended sequences that keep their cells while these are in nobody's way
# Tokens in a chunk of batch-invariant prompts: few enough for sharing, enough for the kernels.
_CHUNK = 128


def limits_of(model: Any, context: Any, plan: Plan) -> Limits:
    """As far as it is known before a first decode; first_decodes.py completes it."""
    shares = not plan.embedding and _can_share(model, context)
    # As many finished conversations are kept as may run: what llama-server's slots do.
    n_retained = plan.n_parallel if shares and plan.kv_unified else 0
    n_running = min(plan.n_parallel, plan.n_seq_max)
    n_scratch = plan.n_seq_max - n_running
    if n_scratch and plan.prefix_ram_bytes:
        n_retained = max(n_retained, _N_RETAINED)  # they leave when they are in the way
    n_ubatch = int(llama_cpp.llama_n_ubatch(context))
    return Limits(
        n_cells=int(llama_cpp.llama_n_ctx(context)),
        n_ctx_seq=min(plan.n_ctx_seq, int(llama_cpp.llama_n_ctx_seq(context))),
        n_batch=_step_rows(context, plan, n_ubatch),
        n_seq_max=n_running,
        n_ids=min(plan.n_seq_max + n_retained, MAX_SEQUENCES),
        n_scratch=n_scratch,
        shelf_bytes=plan.prefix_ram_bytes,
        shares_prefixes=shares,
        unified=plan.kv_unified,
        masks_cells=plan.flash_attention is not False,
        on_device=bool(plan.devices),
        n_chunk=min(_CHUNK, n_ubatch) if plan.batch_invariant else None,
        n_draft_rows=_draft_rows(plan),
        n_rollback=_rollback(model, context),
    )


def _draft_rows(plan: Plan) -> int:
    if plan.speculate == "off" or plan.embedding:
        return 0
    return max(0, plan.n_outputs_max - plan.n_seq_max)


def _rollback(model: Any, context: Any) -> int | None:
    """How far a sequence can go back, to before a guess that failed. A recurrent state can only as
    far as the context keeps earlier states (n_rs_seq, which llama.cpp sets to 0 for architectures
    that can't). A window always can: what a row overwrites in it, no later row could see
    (llama-kv-cache.cpp, find_slot)."""
    carries_rows = llama_cpp.llama_model_is_recurrent(model)
    carries_rows = carries_rows or llama_cpp.llama_model_is_hybrid(model)
    return int(llama_cpp.llama_n_rs_seq(context)) if carries_rows else None


def _step_rows(context: Any, plan: Plan, n_ubatch: int) -> int:
    """Most rows of a step: one micro-batch, so that nobody waits longer than that to get in.
    Several devices compute several micro-batches of one call at the same time."""
    n_batch = int(llama_cpp.llama_n_batch(context))
    if plan.embedding:
        return min(n_batch, n_ubatch)
    if len(plan.devices) > 1:
        return n_batch
    if plan.batch_invariant:
        return n_ubatch + plan.n_seq_max  # no call has more rows than a chunk
    return max(n_ubatch, plan.n_seq_max)


def _can_share(model: Any, context: Any) -> bool:
    """Whether bare forks are enough: with full attention only. For others see first_decodes.py."""
    has_encoder = llama_cpp.llama_model_has_encoder(model)
    is_plain = not has_encoder and not carries_state(model)
    return is_plain and llama_cpp.llama_get_memory(context) is not None
