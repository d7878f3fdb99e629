"""What a context can do that only shows in decoding. It needs the memory to itself."""

from dataclasses import replace

import llama_cpp

from edgellm.runner.batch import Row
from edgellm.runner.kv.memory import Limits
from edgellm.runner.llama.load import Loaded, LoadError
from edgellm.runner.llama.partial import (
    blank_window,
    carries_state,
    partial_state,
    stream_state,
    turn_ends,
)
from edgellm.runner.llama.state import Decode, StateBlobs
from edgellm.runner.llama.vocab import Vocab
from edgellm.selector.plan import Plan
from edgellm.selector.search.checks import MAX_SEQUENCES


class FirstDecodes:
    """All methods raise EdgellmError or NoKVSlot if a decode fails."""

    def __init__(self, loaded: Loaded, vocab: Vocab, state: StateBlobs, decode: Decode) -> None:
        self._model, self._context, self._vocab = loaded.model, loaded.context, vocab
        self._state, self._decode = state, decode
        self._memory = llama_cpp.llama_get_memory(loaded.context)

    def limits(self, known: Limits, plan: Plan) -> Limits:
        """What is known already, completed by what is found out."""
        self._warm_up()
        if (plan.other_layouts or plan.prefix_disk) and not carries_state(self._model):
            self._state.learn_form(0)
        if known.shares_prefixes and known.n_ids > known.n_seq_max:
            self._check_retaining(known.n_ids - 1)
        if known.n_scratch:
            self._decode((Row(0, 1, self._vocab.any_token, True),))
            known = replace(known, blob=self._state.measure(0))
        if carries_state(self._model):
            return self._carrying(known, plan)
        return known if plan.kv_unified else self._streams(known, plan)

    def _warm_up(self) -> None:
        """The first decode takes five times as long as others."""
        llama_cpp.llama_set_warmup(self._context, True)
        self._decode((Row(0, 0, self._vocab.any_token, True),))
        llama_cpp.llama_set_warmup(self._context, False)

    def _check_retaining(self, highest_id: int) -> None:
        """Ids above n_seq_max must be able to hold cells. Raises LoadError."""
        llama_cpp.llama_memory_seq_cp(self._memory, 0, highest_id, 0, 1)
        if llama_cpp.llama_memory_seq_pos_max(self._memory, highest_id) != 0:
            raise LoadError("other", "this llama.cpp retains no sequence above n_seq_max")

    def _streams(self, known: Limits, plan: Plan) -> Limits:
        """Whole streams can be copied out; but not from a device, as that takes too long."""
        if not known.shares_prefixes or known.on_device or not plan.prefix_ram_bytes:
            return known
        ram_bytes = plan.prefix_ram_bytes
        state = stream_state(self._model, self._context, self._decode, ram_bytes)
        return replace(known, state=state, turn_ends=turn_ends(self._vocab.raw, self._vocab.ends))

    def _carrying(self, known: Limits, plan: Plan) -> Limits:
        """For a model whose sequences carry a state: prefixes are shared by checkpoints."""
        ram_bytes = plan.prefix_ram_bytes
        state = partial_state(self._model, self._context, self._decode, ram_bytes)
        if state is None or llama_cpp.llama_model_has_encoder(self._model):
            return known
        if ram_bytes < state.checkpoint_bytes(state.n_window):
            return known  # there isn't room for a single one
        n_running, n_aside = known.n_seq_max, 0
        if not state.has_cells:
            n_aside = 4 * n_running  # they take no memory but their checkpoints
        elif plan.kv_unified and not state.has_rows:
            n_aside = n_running
            self._state.blank = blank_window(self._model, self._context, self._decode)
        return replace(
            known,
            shares_prefixes=True,
            n_ids=min(n_running + n_aside, MAX_SEQUENCES),
            n_scratch=0,
            shelf_bytes=0,
            blob=None,
            state=state,
            turn_ends=turn_ends(self._vocab.raw, self._vocab.ends),
        )
