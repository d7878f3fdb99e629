"""The llama_context_params that decide how much memory a context takes."""

from typing import Final

from edgellm.models.quants import BY_NAME
from edgellm.selector.plan import KVType, Plan
from edgellm.values import frozen

MOST_ROWS: Final = 2048  # of one call; llama.cpp's default of n_batch


@frozen
class ContextShape:
    """Words are llama.cpp's: `n_ctx` is its total over all sequences."""

    n_ctx: int
    n_seq_max: int
    n_ubatch: int
    n_outputs_max: int
    kv_type_k: KVType = "f16"
    kv_type_v: KVType = "f16"
    kv_unified: bool = True
    flash_attention: bool = True
    swa_full: bool = False
    n_rs_seq: int = 0
    embedding: bool = False

    @property
    def n_batch(self) -> int:
        """n_ubatch may exceed llama.cpp's own. An embedding's tokens go down together: a pooled row
        needs all of its sequence."""
        if self.embedding:
            return self.n_ubatch
        return max(self.n_ubatch, self.n_seq_max, min(MOST_ROWS, self.n_ctx))

    @property
    def n_streams(self) -> int:
        return 1 if self.kv_unified else self.n_seq_max

    @property
    def cells_per_stream(self) -> int:
        """Source: llama.cpp src/llama-context.cpp, the constructor's GGML_PAD calls."""
        return pad256(pad256(self.n_ctx) // self.n_streams)

    @property
    def n_tokens(self) -> int:
        """The largest batch that a graph is reserved for: as many for each sequence.

        Source: src/llama-context.cpp sched_reserve, graph_reserve.
        """
        largest = min(pad256(self.n_ctx), self.n_ubatch)
        return -(-largest // self.n_seq_max) * self.n_seq_max

    @property
    def n_outputs(self) -> int:
        """Rows of logits that the graph of a prompt is reserved for."""
        if self.embedding:
            return self.n_tokens
        return min(pad256(self.n_ctx), self.n_ubatch, self.n_outputs_max)

    @property
    def n_output_rows(self) -> int:
        """Rows that the buffer of what is handed back to us grows to. It begins with n_seq_max.

        Source: src/llama-context.cpp output_reserve and its callers.
        """
        return max(self.n_outputs_max, self.n_seq_max)

    @property
    def v_quantized(self) -> bool:
        return BY_NAME[self.kv_type_v].block > 1

    @property
    def kv_quantized(self) -> bool:
        return self.v_quantized or BY_NAME[self.kv_type_k].block > 1


def pad256(n: int) -> int:
    """As many cells as llama.cpp gives a stream that is asked for so many."""
    return (n + 255) // 256 * 256


def cut256(n: int) -> int:
    """The most cells, up to so many, of which none is padding."""
    return n // 256 * 256


def context_shape(plan: Plan) -> ContextShape:
    """The context that a plan asks llama.cpp for."""
    return ContextShape(
        n_ctx=plan.n_ctx,
        n_seq_max=plan.n_seq_max,
        n_ubatch=plan.n_ubatch,
        n_outputs_max=plan.n_outputs_max,
        kv_type_k=plan.kv_type_k,
        kv_type_v=plan.kv_type_v,
        kv_unified=plan.kv_unified,
        flash_attention=plan.flash_attention is not False,
        swa_full=plan.swa_full,
        n_rs_seq=plan.n_rs_seq,
        embedding=plan.embedding,
    )
