"""What is asked of a model beside text: words to tokens and back, adapters to load and unload."""

from collections.abc import Callable, Collection
from typing import TypeAlias, assert_never

from edgellm.chat.messages import AdapterSet
from edgellm.errors import BadRequest, EdgellmError
from edgellm.runner.backend import Backend, check_tokens
from edgellm.runner.intake.beside import AdapterLoaded
from edgellm.runner.intake.infill import fill_prompt
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

Asked: TypeAlias = Detokenize | LoadAdapter | AdapterLoaded | UnloadAdapter


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
    def __init__(
        self,
        backend: Backend,
        adapters: Collection[int] = (),
        *,
        load_beside: Callable[[LoadAdapter], None],
    ) -> None:
        """`adapters`: ids of those that are loaded. `load_beside` loads one on another thread, and
        AdapterLoaded comes as a message later."""
        self._backend, self._adapters, self._load_beside = backend, set(adapters), load_beside
        self._loading: set[int] = set()
        self._leaving: set[int] = set()  # adapters that nobody may ask for any more

    @property
    def is_loading(self) -> bool:
        """An adapter is being loaded on another thread."""
        return bool(self._loading)

    def answers(self, asked: Asked) -> list[Tokenized | Obeyed]:
        """One answer, or none yet. Raises BadRequest, and what kept an adapter from being
        loaded."""
        match asked:
            case Detokenize(request_id, tokens):
                check_tokens(self._backend, tokens, "tokens")
                return [_with_pieces(self._backend, request_id, tokens)]
            case LoadAdapter(_, adapter_id):
                self._loading.add(adapter_id)
                self._load_beside(asked)
                return []
            case AdapterLoaded(LoadAdapter(request_id, adapter_id), error):
                self._loaded(adapter_id, error)
                return [Obeyed(request_id)]
            case UnloadAdapter(request_id, adapter_id):
                if adapter_id in self._adapters | self._loading:  # or an earlier worker had it
                    self._adapters.discard(adapter_id)
                    self._leaving.add(adapter_id)
                return [Obeyed(request_id)]
            case _:
                assert_never(asked)

    def _loaded(self, adapter_id: int, error: EdgellmError | None) -> None:
        self._loading.remove(adapter_id)
        if error:
            self._leaving.discard(adapter_id)
            raise error
        if adapter_id not in self._leaving:
            self._adapters.add(adapter_id)

    def check_adapters(self, wanted: AdapterSet) -> None:
        """Raises BadRequest: an adapter has been unloaded while the request was on its way."""
        if any(adapter_id not in self._adapters for adapter_id, _ in wanted):
            raise BadRequest("an adapter that this request wants has been unloaded", param="lora")

    def free_unused(self, scheduler: Scheduler) -> None:
        """Free adapters that were to be unloaded, once nobody runs with them or waits for them.

        Not while another one is being loaded: llama.cpp would make the loop wait for that.
        """
        if not self._leaving or self._loading:
            return
        sequences = [*scheduler.running.values(), *scheduler.waiting.unordered]
        used = {one for sequence in sequences for one, _ in sequence.params.adapters}
        for adapter_id in self._leaving - used:
            self._backend.free_adapter(adapter_id)
            self._leaving.remove(adapter_id)


def _with_pieces(backend: Backend, request_id: int, tokens: Collection[int]) -> Tokenized:
    return Tokenized(request_id, tuple(tokens), tuple(map(backend.letters, tokens)))
