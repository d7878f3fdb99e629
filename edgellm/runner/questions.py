"""What is asked of the model beside its text: words to tokens and back, adapters to load."""

from collections.abc import Collection
from typing import assert_never

from edgellm.chat.messages import AdapterSet
from edgellm.errors import BadRequest
from edgellm.runner.backend import Backend
from edgellm.runner.infill import fill_prompt
from edgellm.runner.messages import (
    Detokenize,
    Infill,
    LoadAdapter,
    Obeyed,
    Tokenize,
    Tokenized,
    UnloadAdapter,
)
from edgellm.runner.scheduler import Scheduler


def words_of(backend: Backend, asked: Tokenize | Infill) -> Tokenized:
    """On any thread. Raises BadRequest."""
    if isinstance(asked, Infill):
        marks, n_ctx = backend.fill_marks(), backend.limits.n_ctx_seq
        found = fill_prompt(asked, marks, lambda text: backend.tokenize(text, False, False), n_ctx)
        return Tokenized(asked.request_id, tuple(found))
    tokens = backend.tokenize(asked.text, asked.add_special, asked.parse_special)
    if not asked.with_pieces:
        return Tokenized(asked.request_id, tuple(tokens))
    return _with_pieces(backend, asked.request_id, tokens)


class Questions:
    def __init__(self, backend: Backend, adapters: Collection[int] = ()) -> None:
        """`adapters`: those that are loaded."""
        self._backend, self._adapters = backend, set(adapters)
        self._leaving: set[int] = set()  # adapters that nobody may ask for any more

    def answer(self, asked: Detokenize | LoadAdapter | UnloadAdapter) -> Tokenized | Obeyed:
        """Raises BadRequest, BadGGUF."""
        backend = self._backend
        match asked:
            case Detokenize(request_id, tokens):
                self._check(tokens)
                return _with_pieces(backend, request_id, tokens)
            case LoadAdapter(request_id, adapter_id, path):
                backend.load_adapter(adapter_id, path)
                self._adapters.add(adapter_id)
                return Obeyed(request_id)
            case UnloadAdapter(request_id, adapter_id):
                if adapter_id in self._adapters:  # else a worker before this one had it
                    self._adapters.remove(adapter_id)
                    self._leaving.add(adapter_id)
                return Obeyed(request_id)
            case _:
                assert_never(asked)

    def check_adapters(self, wanted: AdapterSet) -> None:
        """Raises BadRequest: an adapter has been unloaded while the request was on its way."""
        if any(adapter_id not in self._adapters for adapter_id, _ in wanted):
            raise BadRequest("an adapter that this request wants has been unloaded", param="lora")

    def free_unused(self, scheduler: Scheduler) -> None:
        """Adapters that were to be unloaded, and that nobody runs with or waits for any more."""
        if not self._leaving:
            return
        sequences = [*scheduler.running.values(), *scheduler.waiting]
        used = {one for sequence in sequences for one, _ in sequence.params.adapters}
        for adapter_id in self._leaving - used:
            self._backend.free_adapter(adapter_id)
            self._leaving.remove(adapter_id)

    def _check(self, tokens: Collection[int]) -> None:
        strange = next((token for token in tokens if not 0 <= token < self._backend.n_vocab), None)
        if strange is not None:
            raise BadRequest(
                f"token {strange} is not in the vocabulary of {self._backend.n_vocab} tokens",
                param="tokens",
            )


def _with_pieces(backend: Backend, request_id: int, tokens: Collection[int]) -> Tokenized:
    return Tokenized(request_id, tuple(tokens), tuple(map(backend.letters, tokens)))
