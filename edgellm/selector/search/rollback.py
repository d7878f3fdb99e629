"""How many guessed tokens a recurrent state can be taken back by. Pure.

llama.cpp keeps what a state was after each of a conversation's last `n_rs_seq` tokens, where the
graph of the architecture writes that down (llm_arch_supports_rs_rollback, src/llama-arch.cpp): a
copy of the whole state each, for every conversation. The state of a short convolution is nothing
beside the weights; that of a gated delta net or of Mamba 2 is megabytes in each layer, and room for
a longer context is worth more than guesses.
"""

from edgellm.models.spec import ModelSpec

# Of those that llama.cpp names: edgellm has taken guesses back from these.
_DRIVEN = frozenset({"lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe"})
_MOST_RATIO = 1 / 64  # of the weights


def n_rollback(spec: ModelSpec, n_seq_max: int, most: int) -> int:
    """At most `most`. 0: none, or the model has no state."""
    state_bytes = n_seq_max * sum(layer.state_bytes for layer in spec.layers)
    if not state_bytes or spec.architecture not in _DRIVEN:
        return 0
    return min(most, int(_MOST_RATIO * spec.weight_bytes) // state_bytes)
