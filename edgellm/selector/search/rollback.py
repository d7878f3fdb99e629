"""How many guessed tokens a recurrent state can be taken back by. Pure.

llama.cpp keeps what a state was after each of a conversation's last `n_rs_seq` tokens, where the
graph of the architecture writes that down (llm_arch_supports_rs_rollback, src/llama-arch.cpp): a
copy of the whole state each, for every conversation. The state of a short convolution is nothing
beside the weights; that of a gated delta net or of Mamba 2 is megabytes in each layer, and room for
a longer context is worth more than guesses that nobody asked for.

A model's own head (MTP) is asked for by name, and its first guesses are the good ones: it gets as
many states as llama-server keeps for one (common/common.h, draft.n_max). They are each
conversation's, though only one that writes alone is guessed for: where conversations are many, the
states may not drive layers off an accelerator, which costs more than guesses ever win.
"""

from edgellm.models.spec import ModelSpec

# Of those that llama.cpp names: edgellm has taken guesses back from these.
_DRIVEN = frozenset({"lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe"})
_MOST_RATIO = 1 / 64  # of the weights
_HEAD_MOST, _HEAD_MOST_RATIO = 3, 1 / 4


def n_rollback(spec: ModelSpec, n_seq_max: int, most: int, *, by_head: bool = False) -> int:
    """At most `most`. 0: none, or the model has no state. `by_head`: its own head guesses."""
    state_bytes = n_seq_max * sum(layer.state_bytes for layer in spec.layers)
    if not state_bytes or spec.architecture not in _DRIVEN:
        return 0
    if by_head:
        most, ratio = min(most, _HEAD_MOST), _HEAD_MOST_RATIO
    else:
        ratio = _MOST_RATIO
    return min(most, int(ratio * spec.weight_bytes) // state_bytes)
