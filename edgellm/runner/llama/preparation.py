"""What a request needs before its first step: its structure as a mask, DRY's sequence breakers."""

import threading
import time

from edgellm.chat.messages import GenerateParams
from edgellm.runner.backend import Known
from edgellm.runner.batch import Mask
from edgellm.runner.llama.sampling import Samplers
from edgellm.runner.llama.vocab import Vocab
from edgellm.runner.sampling.masks import Masks


class Preparation:
    """Its methods are those of Backend."""

    def __init__(self, vocab: Vocab, samplers: Samplers) -> None:
        self._vocab, self._samplers = vocab, samplers
        self._made: Masks | None = None

    def prepare(self, params: GenerateParams) -> Mask | None:
        self._samplers.warm(params.sampling)
        return self._masks().compile(params.structure) if params.structure else None

    def prepared(self, params: GenerateParams) -> Known | None:
        if not self._samplers.is_warm(params.sampling):
            return None
        if params.structure is None:
            return Known(None)
        mask = self._made.kept(params.structure) if self._made else None
        return Known(mask) if mask else None

    def is_prepared(self, params: GenerateParams) -> bool:
        if not self._samplers.is_warm(params.sampling):
            return False
        structure, masks = params.structure, self._made
        return structure is None or (masks is not None and masks.is_kept(structure))

    def prepare_ahead(self) -> None:
        """Make what the first structure will need. Called on the thread that prepares."""
        self._masks()

    def _masks(self) -> Masks:
        """The first time takes seconds with a large vocabulary. For half of them llguidance holds
        the GIL, and nothing else runs."""
        if self._made is None:
            from llguidance.llamacpp import lltokenizer_from_vocab

            tokenizer = lltokenizer_from_vocab(self._vocab.raw, eos_token=self._vocab.ends)
            lock, clock = threading.Lock(), time.perf_counter
            self._made = Masks(tokenizer, self._vocab.n_tokens, lock, clock)
        return self._made
