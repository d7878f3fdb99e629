"""A model's own head for the tokens after the next one (MTP), whose guesses the model checks.

Some files hold one block more than the model needs. It was trained to guess the token after the
next one from the next one and the model's state before that (the vector that goes into the output
matrix). llama.cpp runs this block in a context of its own, which shares the model's weights but has
its own cells. It is driven here as common/speculative.cpp does it
(common_speculative_impl_draft_mtp); trail.py keeps what it has to read. Guesses further ahead are
made from the head's own states, which are worse than the model's: their cells are freed again, and
made anew from what came true.

llama.cpp exports the functions that give these states, but not in its C interface (src/llama-ext.h,
"staging"). They are looked up by name, and without them a model is served without its head.
"""

import ctypes
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as bindings

from edgellm.errors import EdgellmError
from edgellm.runner.backend import NoKVSlot
from edgellm.runner.batch import Copy, Forget, Fork, Op, Row, Sampled, Start, Stop, Trim
from edgellm.runner.drafting.drafted import filled
from edgellm.runner.drafting.trail import HiddenState, Trail
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.llama.compute import Compute
from edgellm.runner.llama.draft import DraftingBackend, likeliest
from edgellm.runner.llama.load import Loaded, LoadError, load_head
from edgellm.runner.llama.logits import LogitRows
from edgellm.runner.pacing.rehearsal import Rehearsed
from edgellm.selector.placing.draft import draft_plan
from edgellm.selector.plan import Plan

_Read: TypeAlias = tuple[Row, HiddenState]  # of a token, and the state after the one before

_MOST_WAITING = 64  # pairs of a sequence; then the head reads them, even if no guess is wanted
# `llama_set_embeddings_nextn(llama_context *, bool, bool)` and the others, as C++ compilers mangle
# them on Linux and macOS. Those on Windows do it differently, which was never tried.
_SET = "_Z26llama_set_embeddings_nextnP13llama_contextbb"
_GET = "_Z26llama_get_embeddings_nextnP13llama_context"
_GET_ONE = "_Z30llama_get_embeddings_nextn_ithP13llama_contexti"


@dataclass(frozen=True, slots=True)
class StateCalls:
    """The functions of llama-ext.h, which only this file knows of."""

    tell: Callable[[Any, bool, bool], None]  # context, whether, only of rows with logits
    of_batch: Callable[[Any], Any]  # of all rows of the last call, one after the other
    of_row: Callable[[Any, int], Any]  # a row's, if only those with logits are told


def state_calls(library: Any) -> StateCalls | None:
    """None: the library doesn't export them."""
    try:
        tell, of_batch, of_row = (getattr(library, name) for name in (_SET, _GET, _GET_ONE))
    except AttributeError:
        return None
    floats = ctypes.POINTER(ctypes.c_float)
    tell.argtypes, tell.restype = [ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool], None
    of_batch.argtypes, of_batch.restype = [ctypes.c_void_p], floats
    of_row.argtypes, of_row.restype = [ctypes.c_void_p, ctypes.c_int32], floats
    return StateCalls(tell, of_batch, of_row)


_STATE_CALLS = state_calls(getattr(bindings, "_lib", None))


class HeadBackend(DraftingBackend):
    _head: "Head | None" = None

    def __init__(
        self,
        path: bytes,
        plan: Plan,
        on_progress: Callable[[float], None],
        calls: StateCalls,
        rehearsed: Rehearsed | None = None,
    ) -> None:
        """Raises LoadError."""
        self._state_calls = calls
        super().__init__(path, plan, on_progress, rehearsed)

    def _drafter(self, plan: Plan) -> "Head":
        n_rows = min(self.limits.n_batch, self.limits.n_ctx_seq)
        try:
            self._head = Head(plan, self._loaded, self._state_calls, self._compute)
            # The states take memory from now on: a lack of it should show here, not at a prompt.
            self._decode_alone(tuple(Row(0, pos, 0, pos == n_rows - 1) for pos in range(n_rows)))
        except LoadError:
            raise
        except (EdgellmError, NoKVSlot) as error:
            raise LoadError("memory", f"the first decode for the head failed: {error}") from error
        llama_cpp.llama_memory_clear(self._memory, True)
        return self._head

    def _decode_rows(self, rows: tuple[Row, ...]) -> None:
        super()._decode_rows(rows)
        if self._head:
            self._head.watch(rows)


def backend_for(
    path: bytes,
    plan: Plan,
    on_progress: Callable[[float], None],
    calls: StateCalls | None = _STATE_CALLS,
    rehearsed: Rehearsed | None = None,
) -> LlamaBackend:
    """A backend with the plan's way of guessing. Raises LoadError."""
    if plan.draft:
        return DraftingBackend(path, plan, on_progress, rehearsed)
    if plan.speculate != "mtp":
        return LlamaBackend(path, plan, on_progress, rehearsed)
    if calls:
        return HeadBackend(path, plan, on_progress, calls, rehearsed)
    sys.stderr.write(
        "the model's head (MTP) stays unused, and guesses are looked up: "
        f"this build of llama.cpp does not export {_SET}\n"
    )
    sys.stderr.flush()
    return LlamaBackend(path, replace(plan, speculate="ngram"), on_progress, rehearsed)


class Head:
    """A Drafter (llama/draft.py)."""

    def __init__(self, plan: Plan, loaded: Loaded, calls: StateCalls, beside: Compute) -> None:
        """Raises LoadError."""
        own, model, target = draft_plan(plan), loaded.model, loaded.context
        self._target, self._calls = target, calls
        self._context, self.memory = load_head(loaded, own)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._width = int(llama_cpp.llama_model_n_embd_out(model))
        vocab = llama_cpp.llama_model_get_vocab(model)
        self._logits = LogitRows(self._context, int(llama_cpp.llama_vocab_n_tokens(vocab)))
        self._n_batch = own.n_batch
        self._compute = Compute(self._context, own, beside)
        self._states = np.zeros((own.n_batch, self._width), np.float32)
        self._compute.input.raw.embd = self._states.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        self._tokens: dict[int, list[int]] = {}  # of the sequences that run: all that is known
        self._p_min: dict[int, float] = {}
        self._trails: dict[int, Trail] = {}
        self._seen: list[tuple[tuple[Row, ...], HiddenState]] = []  # of this step
        calls.tell(target, True, False)
        calls.tell(self._context, True, True)
        self._decode([(Row(0, 0, 0, True), None)], n_logits=1)  # the first costs five others
        llama_cpp.llama_memory_clear(self._memory, True)

    def follow(self, ops: Iterable[Op]) -> None:
        """Copies to host memory and back are not followed: a trail begins anew behind them."""
        for op in ops:
            match op:
                case Forget(seq_id):
                    self._cut(seq_id, 0)
                case Trim(seq_id, length):
                    self._cut(seq_id, length)
                case Fork(source, target, length) | Copy(source, target, length):
                    self._fork(source, target, length)
                case Start(seq_id) if not op.pictures:
                    self._tokens[seq_id] = list(op.prompt)
                    self._p_min[seq_id] = op.params.draft_p_min
                case Stop(seq_id):
                    self._tokens.pop(seq_id, None)

    def written(self, rows: tuple[Row, ...]) -> tuple[tuple[Row, ...], Mapping[int, int]]:
        return filled(rows, self._guess)

    def watch(self, rows: tuple[Row, ...]) -> None:
        """The model has computed these."""
        if any(row.seq_id in self._tokens for row in rows):
            states = _floats(self._calls.of_batch(self._target), len(rows), self._width)
            self._seen.append((rows, states.copy()))

    def learn(self, sampled: Mapping[int, tuple[Sampled, ...]]) -> None:
        """Takes over the states of this step, except those that follow a wrong guess."""
        seen, self._seen = self._seen, []
        left = {seq_id: len(new) for seq_id, new in sampled.items()}
        for rows, states in seen:
            for row, state in zip(rows, states, strict=True):
                if row.seq_id not in self._tokens:
                    continue
                if row.wants_logits:
                    if not left.get(row.seq_id):
                        continue
                    left[row.seq_id] -= 1
                self._see(row, state)
        for seq_id, new in sampled.items():
            if seq_id in self._tokens:
                self._tokens[seq_id] += [each.token for each in new]
        late = [s for s, trail in self._trails.items() if len(trail.waiting) >= _MOST_WAITING]
        self._decode(self._waiting(late), n_logits=0)

    def _see(self, row: Row, state: HiddenState) -> None:
        trail = self._trails.get(row.seq_id)
        if trail is None or trail.n_seen != row.pos:
            self._cut(row.seq_id, 0)
            trail = self._trails[row.seq_id] = Trail(row.pos)
        trail.see(row.token, state)

    def _guess(self, asked: Mapping[int, int]) -> dict[int, list[int]]:
        """Raises EdgellmError."""
        current = [seq_id for seq_id in sorted(asked) if self._is_told(seq_id)]
        guesses: dict[int, list[int]] = {seq_id: [] for seq_id in current}
        behind = self._waiting(current)
        heads = [self._last(seq_id) for seq_id in current]
        while heads:
            first = self._decode([*behind, *heads], n_logits=len(heads))
            if first is None:
                break
            behind, going = [], []
            for i, (row, _) in enumerate(heads, first):
                token, p = likeliest(self._logits.of(i))
                if p < self._p_min[row.seq_id]:
                    continue
                guesses[row.seq_id].append(token)
                if len(guesses[row.seq_id]) < asked[row.seq_id]:
                    state = _floats(self._calls.of_row(self._context, i), 1, self._width)[0]
                    going.append((Row(row.seq_id, row.pos + 1, token, True), state.copy()))
            heads = going
        for seq_id in current:
            if trail := self._trails.get(seq_id):
                trail.n_held = len(self._tokens[seq_id])
                llama_cpp.llama_memory_seq_rm(self._memory, seq_id, trail.n_held, -1)
        return guesses

    def _is_told(self, seq_id: int) -> bool:
        """Whether it knows the sequence up to its last token, which nobody has computed yet."""
        trail = self._trails.get(seq_id)
        if trail is None or trail.n_seen != len(self._tokens[seq_id]) - 1:
            return False
        if trail.n_held > trail.n_seen:  # the step that it guessed for found no place
            self._cut(seq_id, trail.n_seen)
        return trail.state is not None

    def _last(self, seq_id: int) -> _Read:
        tokens = self._tokens[seq_id]
        row = Row(seq_id, len(tokens) - 1, tokens[-1], wants_logits=True)
        return row, self._trails[seq_id].state

    def _waiting(self, seq_ids: Iterable[int]) -> list[_Read]:
        return [
            (Row(seq_id, pair.pos, pair.token, wants_logits=False), pair.state)
            for seq_id in seq_ids
            for pair in self._trails[seq_id].take()
        ]

    def _decode(self, read: list[_Read], n_logits: int) -> int | None:
        """Returns the index of the first row with logits, which are the last `n_logits`. None:
        there was no room, and everything was forgotten. Raises EdgellmError."""
        n_alone = len(read) - n_logits if len(read) > self._n_batch else 0
        parts = [read[i : i + self._n_batch] for i in range(0, n_alone, self._n_batch)]
        parts = [part[: n_alone - i * self._n_batch] for i, part in enumerate(parts)]
        for part in (*parts, read[n_alone:]):
            if part and not self._decode_call(part):
                return None
        return len(read) - n_alone - n_logits

    def _decode_call(self, read: list[_Read]) -> bool:
        for i, (_, state) in enumerate(read):
            self._states[i] = 0.0 if state is None else state
        try:
            self._compute.rows(tuple(row for row, _ in read))
        except NoKVSlot:  # it still holds what the model has forgotten, or no longer shares
            llama_cpp.llama_memory_clear(self._memory, False)
            self._trails.clear()
            return False
        except EdgellmError as error:
            raise EdgellmError(f"the model's head: {error}") from error
        return True

    def _cut(self, seq_id: int, length: int) -> None:
        if trail := self._trails.get(seq_id):
            trail.cut(length)
            llama_cpp.llama_memory_seq_rm(self._memory, seq_id, length, -1)

    def _fork(self, source: int, target: int, length: int) -> None:
        self._cut(target, 0)
        self._trails.pop(target, None)
        if trail := self._trails.get(source):
            forked = self._trails[target] = trail.forked(length)
            llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, forked.n_held)


def _floats(pointer: Any, n_rows: int, width: int) -> Any:
    return np.ctypeslib.as_array(pointer, shape=(n_rows, width))
