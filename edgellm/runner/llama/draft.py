"""A small model beside the served one, whose guesses the served one checks.

It follows the same sequences under the same ids, in one pool of cells. It may lag behind: when it
is asked for guesses, it first catches up with what it lacks of a sequence, a piece in each step.
Nothing here can make an answer wrong: the served model samples every token itself (verify.py).
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import llama_cpp
import numpy as np

from edgellm.errors import EdgellmError
from edgellm.models.spec import MAX_VOCAB_DIFFERENCE
from edgellm.runner.backend import NoKVSlot, Step
from edgellm.runner.batch import Batch, Copy, Forget, Fork, Op, Row, Sampled, Start, Stop, Trim
from edgellm.runner.drafting.drafted import filled
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.llama.compute import Compute
from edgellm.runner.llama.load import LoadError, load
from edgellm.runner.llama.logits import LogitRows
from edgellm.runner.loadlog import DeviceMemory
from edgellm.runner.pacing.rehearsal import Rehearsed
from edgellm.runner.sampling.preselect import Logits
from edgellm.selector.placing.draft import draft_plan
from edgellm.selector.plan import Plan

_CATCH_UP = 256  # tokens of a conversation that it reads in one step
_FIRST_COMPARED = 5  # as common/speculative.cpp has it


class Drafter(Protocol):
    """Writes guesses into rows whose token is DRAFTED."""

    @property
    def memory(self) -> tuple[DeviceMemory, ...]: ...

    def follow(self, ops: Iterable[Op]) -> None:
        """These operations are done to the model's memory, before a step."""
        ...

    def written(self, rows: tuple[Row, ...]) -> tuple[tuple[Row, ...], Mapping[int, int]]:
        """As drafted.filled."""
        ...

    def learn(self, sampled: Mapping[int, tuple[Sampled, ...]]) -> None:
        """These are the tokens that the model has sampled."""
        ...


class DraftingBackend(LlamaBackend):
    def __init__(
        self,
        path: bytes,
        plan: Plan,
        on_progress: Callable[[float], None],
        rehearsed: Rehearsed | None = None,
    ) -> None:
        """Raises LoadError."""
        super().__init__(path, plan, on_progress, rehearsed)
        self._draft = self._drafter(plan)
        self.draft_memory = self._draft.memory
        self.limits = replace(self.limits, has_draft_model=True)

    def _drafter(self, plan: Plan) -> Drafter:
        return DraftModel(plan, self._model, self._compute)

    def decode(self, batch: Batch) -> Step:
        begun_s = time.perf_counter()
        self._draft.follow(batch.ops)
        rows, n_drafted = self._draft.written(batch.rows)
        draft_s = time.perf_counter() - begun_s
        step = super().decode(replace(batch, rows=rows))
        begun_s = time.perf_counter()
        self._draft.learn(step.sampled)
        draft_s += time.perf_counter() - begun_s
        return replace(step, n_drafted=n_drafted, draft_s=draft_s if n_drafted else 0.0)


class DraftModel:
    def __init__(self, plan: Plan, target: Any, beside: Compute) -> None:
        """Raises LoadError, also if its vocabulary isn't that of `target`."""
        own = draft_plan(plan)
        try:
            loaded = load(os.fsencode(own.file), own, lambda ratio: None)
        except LoadError as error:
            raise LoadError(error.kind, f"the draft model: {error}") from error
        self._loaded = loaded  # keeps alive what C points to
        self._context, self.memory = loaded.context, loaded.memory
        self._memory = llama_cpp.llama_get_memory(loaded.context)
        check_vocabulary(loaded.model, target)
        _check_memory(loaded.model)
        # A window's cells can't be shared by a bare fork: there it reads a shared prefix itself.
        self._forks = not llama_cpp.llama_model_n_swa(loaded.model)
        self._logits = LogitRows(loaded.context, _n_vocab(loaded.model))
        self._n_vocab = min(_n_vocab(loaded.model), _n_vocab(target))
        self._compute = Compute(loaded.context, own, beside)
        self._tokens: dict[int, list[int]] = {}  # of the sequences that run: all that is known
        self._p_min: dict[int, float] = {}
        self._n_held: dict[int, int] = {}  # by seq_id: how many of its tokens have cells here
        self._decode((Row(0, 0, 0, True),))  # the first decode costs five others
        self._trim(0, 0)

    def follow(self, ops: Iterable[Op]) -> None:
        """Copies to host memory and back are not followed: such tokens are read again."""
        for op in ops:
            match op:
                case Forget(seq_id):
                    self._trim(seq_id, 0)
                case Trim(seq_id, length):
                    self._trim(seq_id, length)
                case Fork(source, target, length) | Copy(source, target, length):
                    self._fork(source, target, length)
                case Start(seq_id):
                    self._tokens[seq_id] = list(op.prompt)
                    self._p_min[seq_id] = op.params.draft_p_min
                case Stop(seq_id):
                    del self._tokens[seq_id], self._p_min[seq_id]

    def written(self, rows: tuple[Row, ...]) -> tuple[tuple[Row, ...], Mapping[int, int]]:
        return filled(rows, self._guess)

    def learn(self, sampled: Mapping[int, tuple[Sampled, ...]]) -> None:
        """Frees the cells of guesses that failed."""
        for seq_id, new in sampled.items():
            known = self._tokens[seq_id]
            self._trim(seq_id, len(known) + len(new) - 1)
            known += [each.token for each in new]

    def _guess(self, asked: Mapping[int, int]) -> dict[int, list[int]]:
        current = self._catch_up(asked)
        guesses: dict[int, list[int]] = {seq_id: [] for seq_id in current.values()}
        while current:
            going = []
            for i, seq_id in current.items():
                token, p = likeliest(self._logits.of(i))
                if token >= self._n_vocab or p < self._p_min[seq_id]:
                    continue
                guesses[seq_id].append(token)
                if len(guesses[seq_id]) < asked[seq_id]:
                    going.append(seq_id)
            rows = tuple(Row(s, self._n_held[s], guesses[s][-1], True) for s in going)
            current = dict(enumerate(going)) if self._decode(rows) else {}
        return guesses

    def _catch_up(self, seq_ids: Iterable[int]) -> dict[int, int]:
        """Read what it lacks of these sequences. Returns those that it knows to their end now, by
        the row of their logits."""
        rows: list[Row] = []
        whole: dict[int, int] = {}
        for seq_id in sorted(seq_ids):
            begin, tokens = self._n_held.get(seq_id, 0), self._tokens[seq_id]
            end = min(len(tokens), begin + max(1, _CATCH_UP - len(rows)))
            is_whole = end == len(tokens)
            rows += [
                Row(seq_id, pos, tokens[pos], is_whole and pos == end - 1)
                for pos in range(begin, end)
            ]
            if is_whole:
                whole[len(rows) - 1] = seq_id
        return whole if self._decode(tuple(rows)) else {}

    def _decode(self, rows: tuple[Row, ...]) -> bool:
        """False: nothing to do, or no room. Raises EdgellmError."""
        if not rows:
            return False
        try:
            self._compute.rows(rows)
        except NoKVSlot:  # lagging sequences hold copies of what was shared: begin again
            llama_cpp.llama_memory_clear(self._memory, False)
            self._n_held.clear()
            return False
        except EdgellmError as error:
            raise EdgellmError(f"the draft model: {error}") from error
        for row in rows:
            self._n_held[row.seq_id] = row.pos + 1
        return True

    def _trim(self, seq_id: int, length: int) -> None:
        if self._n_held.get(seq_id, 0) > length:
            llama_cpp.llama_memory_seq_rm(self._memory, seq_id, length, -1)
            self._n_held[seq_id] = length

    def _fork(self, source: int, target: int, length: int) -> None:
        self._trim(target, 0)
        length = min(length, self._n_held.get(source, 0))
        if length and self._forks:
            llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, length)
            self._n_held[target] = length


def likeliest(logits: Logits) -> tuple[int, float]:
    """The likeliest token, and its probability."""
    token = int(logits.argmax())
    return token, float(1 / np.exp(logits - logits[token]).sum())


def check_vocabulary(draft: Any, target: Any) -> None:
    """Raises LoadError. Source: common/speculative.cpp, common_speculative_are_compatible."""
    ours, theirs = (llama_cpp.llama_model_get_vocab(model) for model in (draft, target))
    for what, read in (
        ("type", llama_cpp.llama_vocab_type),
        ("added BOS", llama_cpp.llama_vocab_get_add_bos),
        ("BOS", llama_cpp.llama_vocab_bos),
        ("added EOS", llama_cpp.llama_vocab_get_add_eos),
        ("EOS", llama_cpp.llama_vocab_eos),
    ):
        if read(ours) != read(theirs):
            raise _other_tokens(f"its {what} is {read(ours)}, the model's {read(theirs)}")
    n_ours, n_theirs = _n_vocab(draft), _n_vocab(target)
    if abs(n_ours - n_theirs) > MAX_VOCAB_DIFFERENCE:
        raise _other_tokens(f"it has {n_ours} tokens, the model {n_theirs}")
    text = llama_cpp.llama_vocab_get_text
    for token in range(_FIRST_COMPARED, min(n_ours, n_theirs)):
        if text(ours, token) != text(theirs, token):
            words = (text(vocab, token).decode("utf-8", "replace") for vocab in (ours, theirs))
            raise _other_tokens("token {} is {!r}, the model's {!r}".format(token, *words))


def _check_memory(draft: Any) -> None:
    """Raises LoadError."""
    is_recurrent = llama_cpp.llama_model_is_recurrent
    if is_recurrent(draft) or llama_cpp.llama_model_is_hybrid(draft):
        raise LoadError(
            "draft", "the draft model keeps a state that can't go back to before a failed guess"
        )


def _other_tokens(difference: str) -> LoadError:
    return LoadError("draft", f"the draft model speaks of other tokens: {difference}")


def _n_vocab(model: Any) -> int:
    return int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model)))
