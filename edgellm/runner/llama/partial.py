"""What of a model's memory a fork can't share, as llama.cpp tells it: facts for checkpointed.py.

With PARTIAL_ONLY, `llama_state_seq_*` leave out the cells of full attention, in memories that have
other parts too: sliding windows (llama-kv-cache-iswa.cpp), recurrent rows beside attention
(llama-memory-hybrid.cpp, -hybrid-iswa.cpp), or recurrent rows only (llama-memory-recurrent.cpp).
The sizes are measured on two decoded tokens.
"""

import ctypes
from collections.abc import Iterable
from typing import Any

import llama_cpp

from edgellm.runner.batch import Row
from edgellm.runner.kv.memory import PartialState
from edgellm.runner.llama.state import (
    EVERYTHING,
    PARTIAL,
    Decode,
    read_state,
    state_bytes,
)
from edgellm.runner.llama.streams import Blob

# Memories of their own kind (llama-kv-cache-dsv4.cpp, -dsa-iswa.cpp, -msa.cpp,
# llama-memory-hybrid-idx.cpp), for which there is no file small enough to try a fork on.
_UNTRIED = {"deepseek4", "dots3note", "minimax-m3", "glm5-next", "qwen4exp"}


def carries_state(model: Any) -> bool:
    """It has more than cells of full attention: a bare fork would be silently wrong."""
    return bool(
        llama_cpp.llama_model_n_swa(model)
        or llama_cpp.llama_model_is_recurrent(model)
        or llama_cpp.llama_model_is_hybrid(model)
    )


def partial_state(
    model: Any, context: Any, decode: Decode, budget_bytes: int
) -> PartialState | None:
    """None: llama.cpp can't copy the part that isn't shared by itself. Needs the memory to itself,
    and empties it. Raises EdgellmError."""
    is_recurrent = bool(llama_cpp.llama_model_is_recurrent(model))
    sizes, wholes = _sizes(model, context, decode)
    if _architecture(model) in _UNTRIED or (sizes[1] >= wholes[1] and not is_recurrent):
        return None
    cell_bytes, whole_cell_bytes = sizes[1] - sizes[0], wholes[1] - wholes[0]
    return PartialState(
        n_window=int(llama_cpp.llama_model_n_swa(model)) if cell_bytes else 0,
        cell_bytes=cell_bytes,
        row_bytes=sizes[0] - cell_bytes,
        budget_bytes=budget_bytes,
        fixed_bytes=wholes[0] - whole_cell_bytes,
        full_cell_bytes=whole_cell_bytes - cell_bytes,
        has_cells=not is_recurrent,
        has_rows=is_recurrent or bool(llama_cpp.llama_model_is_hybrid(model)),
    )


def stream_state(model: Any, context: Any, decode: Decode, budget_bytes: int) -> PartialState:
    """For split KV whose streams hold cells only. Needs the memory to itself, and empties it.

    Raises EdgellmError.
    """
    _, wholes = _sizes(model, context, decode)
    cell_bytes = wholes[1] - wholes[0]
    return PartialState(
        n_window=0,
        cell_bytes=0,
        row_bytes=0,
        budget_bytes=budget_bytes,
        fixed_bytes=wholes[0] - cell_bytes,
        full_cell_bytes=cell_bytes,
    )


def _sizes(model: Any, context: Any, decode: Decode) -> tuple[list[int], list[int]]:
    """Bytes of the state, and of all that a sequence has, after one token and after two."""
    memory = llama_cpp.llama_get_memory(context)
    llama_cpp.llama_memory_clear(memory, False)
    sizes, wholes = [], []
    for pos in range(2):
        decode((Row(0, pos, _any_token(model), True),))
        sizes.append(state_bytes(context, 0, PARTIAL))
        wholes.append(state_bytes(context, 0, EVERYTHING))
    llama_cpp.llama_memory_clear(memory, False)
    return sizes, wholes


def blank_window(model: Any, context: Any, decode: Decode) -> Blob:
    """The state of a window that holds nothing but one token beyond all conversations.

    llama.cpp has no call that empties a window alone, and a state without cells changes nothing
    (llama-kv-cache.cpp, `state_read_sinfo`). Raises EdgellmError.
    """
    memory = llama_cpp.llama_get_memory(context)
    llama_cpp.llama_memory_clear(memory, False)
    decode((Row(0, int(llama_cpp.llama_n_ctx(context)), _any_token(model), True),))
    blob = read_state(context, 0, PARTIAL)
    llama_cpp.llama_memory_clear(memory, False)
    return blob


def turn_ends(vocab: Any, ends: Iterable[int]) -> frozenset[int]:
    """Tokens that end a message: `ends`, that end an answer, and what the template ends turns with.

    For gpt-oss the latter is <|end|>, which ends no answer (llama-vocab.cpp, special_eot_id).
    """
    return frozenset({*ends, int(llama_cpp.llama_vocab_eot(vocab))} - {-1})


def _any_token(model: Any) -> int:
    return max(0, int(llama_cpp.llama_vocab_bos(llama_cpp.llama_model_get_vocab(model))))


def _architecture(model: Any) -> str:
    buffer = ctypes.create_string_buffer(64)
    key = b"general.architecture"
    llama_cpp.llama_model_meta_val_str(model, key, buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")
