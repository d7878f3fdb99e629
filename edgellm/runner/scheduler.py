"""Which tokens go into the next llama_decode. Pure: no llama_cpp, no clock, no pipe, no thread.

The loop that owns a scheduler does exactly this, and nothing else knows the order:

    batch = scheduler.schedule()            # decide
    sampled = backend.decode(batch)         # do: one token for each row that wants logits
    for output in scheduler.commit(batch, sampled):
        send(output)                        # tell

Policy. Every running sequence decodes one token each step, so nobody's stream stalls; prompts
get what is left of n_batch, as far as the pace allows, oldest first, cut into chunks. A sequence
is admitted when a seq_id is free and all the cells it may ever need are too: there is no
preemption, because llama.cpp would have to compute the evicted prompt again.

Prefixes. A prompt is forked from whatever computed sequence goes furthest along it. If a running
one is computing more of it right now, the newcomer waits for that instead of computing it again
(and others may pass it). Sequences that end are retained, and forgotten, oldest first, as soon as
anybody needs their cells or their place.

Ids. Running sequences use ids below n_seq_max, retained ones the ids from there to n_ids: llama.cpp
sizes its output buffers by n_seq_max, and a retained sequence has no output.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edgellm.chat.events import FinishReason
from edgellm.chat.messages import GenerateParams
from edgellm.errors import ContextTooLong
from edgellm.runner.cells import Cells, Lease
from edgellm.runner.pace import Pace
from edgellm.runner.prefix import Match, Retained, RetainedStore, Source, best_match, common_prefix
from edgellm.runner.sequence import Leader, Sequence, State

# A shared prefix shorter than this is computed again rather than waited for.
_WORTH_WAITING = 16  # tokens


@dataclass(frozen=True, slots=True)
class Limits:
    """What the loaded model offers. Facts from the backend; see llama.py."""

    n_cells: int
    n_ctx_seq: int  # tokens of one conversation
    n_batch: int
    n_seq_max: int  # ids that may run
    n_ids: int = 0  # ids in all, running and retained; at most llama.cpp's 256
    shares_prefixes: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One token of a llama_batch."""

    seq_id: int
    pos: int
    token: int
    wants_logits: bool


@dataclass(frozen=True, slots=True)
class Forget:
    seq_id: int


@dataclass(frozen=True, slots=True)
class Fork:
    """The first `length` cells of `source` are the first cells of `target` too."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Start:
    """A new sequence begins on this id: set up its sampler."""

    seq_id: int
    request_id: int
    params: GenerateParams
    prompt: tuple[int, ...]


Op: TypeAlias = Forget | Fork | Start


@dataclass(frozen=True, slots=True)
class Batch:
    """One step: the memory operations in their order, then the rows."""

    ops: tuple[Op, ...]
    rows: tuple[Row, ...]
    n_prompt_rows: int


@dataclass(frozen=True, slots=True)
class Sampled:
    token: int
    ends: bool  # an end-of-generation token, or the last one of a structure
    silent: bool  # not part of the text


@dataclass(frozen=True, slots=True)
class Output:
    sequence: Sequence
    token: int
    silent: bool


class Scheduler:
    def __init__(self, limits: Limits, pace: Pace | None = None) -> None:
        self.limits = limits
        self.pace = pace or Pace(None)
        self.cells = Cells(limits.n_cells)
        self.waiting: deque[Sequence] = deque()
        self.running: dict[int, Sequence] = {}  # by seq_id, oldest first
        self.retained = RetainedStore(range(limits.n_seq_max, limits.n_ids))
        self._free_seq_ids = list(range(limits.n_seq_max))
        self._ops: list[Op] = []

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        """Raises ContextTooLong. A longer max_tokens than fits is cut: it ends with "length"."""
        room = min(self.limits.n_ctx_seq, self.limits.n_cells)
        if sequence.n_prompt >= room:
            raise ContextTooLong(
                f"the prompt has {sequence.n_prompt} tokens; this model's context is {room}, "
                "and at least one token of answer must fit too",
                hint="shorten the prompt, or serve with a larger --ctx",
                param="messages",
            )
        sequence.n_max = min(sequence.n_max, room)
        self.waiting.append(sequence)

    def cancel(self, request_id: int) -> Sequence | None:
        for sequence in [*self.waiting, *self.running.values()]:
            if sequence.request_id == request_id:
                self.finish(sequence, "cancelled")
                return sequence
        return None  # it finished a moment ago: not an error

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        sequence.finish_reason = reason
        if sequence.state is State.RUNNING:
            self._leave(sequence)
        else:
            self.waiting.remove(sequence)
        sequence.state = State.FINISHED

    def schedule(self) -> Batch | None:
        """The next batch, at most n_batch rows, or None when there is nothing to compute."""
        self._admit()
        decoding = [s for s in self.running.values() if s.n_pending == 1 and s.n_output]
        prefilling = [s for s in self.running.values() if s.n_pending > 1 or not s.n_output]
        rows = [_row(sequence, sequence.n_computed) for sequence in decoding]
        budget = self.pace.chunk(len(decoding), self.limits.n_batch - len(decoding))
        n_prompt_rows = 0
        for sequence in prefilling:
            first = sequence.n_computed
            count = min(budget - n_prompt_rows, sequence.n_pending)
            rows += [_row(sequence, pos) for pos in range(first, first + count)]
            n_prompt_rows += count
        if not rows:
            return None
        ops, self._ops = tuple(self._ops), []
        return Batch(ops, tuple(rows), n_prompt_rows)

    def commit(self, batch: Batch, sampled: Mapping[int, Sampled]) -> list[Output]:
        """Take note of a computed batch. `sampled`: the new token of each seq_id that has one."""
        counts: dict[int, int] = {}
        for row in batch.rows:
            counts[row.seq_id] = counts.get(row.seq_id, 0) + 1
        for seq_id, count in counts.items():
            sequence = self.running[seq_id]
            sequence.n_computed += count
            self.cells.append(sequence.lease, count)
        outputs = []
        for seq_id, new in sampled.items():
            sequence = self.running[seq_id]
            sequence.tokens.append(new.token)
            if new.ends:
                self.finish(sequence, "stop")
            elif len(sequence.tokens) >= sequence.n_max:
                self.finish(sequence, "length")
            outputs.append(Output(sequence, new.token, new.silent))
        return outputs

    def relieve(self, batch: Batch) -> Batch | None:
        """The same rows once more, with every retained sequence forgotten first.

        For a backend that found no room where we had counted some. None: nothing to give.
        """
        while kept := self.retained.oldest():
            self._drop(kept)
        ops, self._ops = tuple(self._ops), []
        return Batch(ops, batch.rows, batch.n_prompt_rows) if ops else None

    def check(self) -> None:
        """Assert what must hold between steps. Tests call it after every step."""
        ids = [*self.running, *self._free_seq_ids]
        assert sorted(ids) == list(range(self.limits.n_seq_max)), f"seq_ids lost or doubled: {ids}"
        kept = [*self.retained.by_id, *self.retained.free_seq_ids]
        assert sorted(kept) == list(range(self.limits.n_seq_max, self.limits.n_ids))
        promised = self.cells.used + self._reserved()
        assert promised <= self.cells.n_cells, f"{promised} of {self.cells.n_cells} cells"
        assert all(s.state is State.RUNNING for s in self.running.values())
        assert all(s.lease.length == s.n_computed for s in self.running.values())

    # ── admission ────────────────────────────────────────────────────────────

    def _admit(self) -> None:
        for sequence in list(self.waiting):
            if not self._free_seq_ids:
                return
            if sequence.leader and not sequence.leader.done:
                continue
            match = self._match(sequence)
            sequence.leader = self._leader(sequence, match.length if match else 0)
            if sequence.leader:
                continue
            if not self._make_room(sequence, match):
                if self.running or not match:
                    return  # in order: a short request doesn't overtake a long one
                # Nobody will make room but the source itself, whose other cells are in the way.
                match = None
                self._make_room(sequence, match)
            self._start(sequence, match)

    def _match(self, sequence: Sequence) -> Match | None:
        if not self.limits.shares_prefixes or not sequence.params.cache_prompt:
            return None
        sources: list[Source] = [*self.running.values(), *self.retained.by_id.values()]
        return best_match(sequence.tokens, sources)

    def _leader(self, sequence: Sequence, found: int) -> Leader | None:
        """A running sequence that is about to compute more of this prompt than is there now."""
        if not self.limits.shares_prefixes or not sequence.params.cache_prompt:
            return None
        best, limit = None, sequence.n_prompt - 1
        for other in self.running.values():
            if other.n_computed >= other.n_prompt:
                continue
            length = common_prefix(sequence.tokens, other.tokens, limit)
            coming = length - max(other.n_computed, found)
            if coming >= _WORTH_WAITING and (best is None or length > best.length):
                best = Leader(other, length)
        return best

    def _make_room(self, sequence: Sequence, match: Match | None) -> bool:
        """Evict retained sequences, oldest first, until this one fits. False: not yet."""
        source = match.source if match else None
        need = sequence.n_reserved - (match.length if match else 0)
        while self.cells.used + self._reserved() + need > self.cells.n_cells:
            # The source goes last: giving it up would cost more cells than it frees.
            kept = self.retained.oldest(but=source if isinstance(source, Retained) else None)
            if kept is None:
                return False
            self._drop(kept)
        return True

    def _reserved(self) -> int:
        return sum(sequence.n_reserved for sequence in self.running.values())

    def _start(self, sequence: Sequence, match: Match | None) -> None:
        self.waiting.remove(sequence)
        # Lowest id first, and running stays in ascending admission order: llama.cpp's split KV
        # is 2.6 times slower on scattered ids.
        sequence.seq_id = self._free_seq_ids.pop(0)
        sequence.state = State.RUNNING
        self.running[sequence.seq_id] = sequence
        if match:
            source = match.source
            sequence.lease = self.cells.fork(source.lease, match.length)
            sequence.n_cached = sequence.n_computed = match.length
            self._ops.append(Fork(source.seq_id, sequence.seq_id, match.length))
            if isinstance(source, Retained):
                self._used(source, match.length)
        prompt = tuple(sequence.tokens)
        self._ops.append(Start(sequence.seq_id, sequence.request_id, sequence.params, prompt))

    def _used(self, kept: Retained, length: int) -> None:
        """A retained sequence that the newcomer continues whole has nothing of its own left."""
        if length == len(kept.tokens):
            self._drop(kept)
        else:
            self.retained.touch(kept)

    # ── leaving ──────────────────────────────────────────────────────────────

    def _leave(self, sequence: Sequence) -> None:
        seq_id = sequence.seq_id
        del self.running[seq_id]
        if sequence.n_computed and self.limits.shares_prefixes and self._can_retain():
            lease, sequence.lease = sequence.lease, Lease()
            kept = self.retained.add(sequence.tokens[: sequence.n_computed], lease)
            self._ops.append(Fork(seq_id, kept.seq_id, sequence.n_computed))
        else:
            self.cells.release(sequence.lease)
        self._ops.append(Forget(seq_id))
        self._free_seq_ids.append(seq_id)
        self._free_seq_ids.sort()

    def _can_retain(self) -> bool:
        if not self.retained.free_seq_ids and (oldest := self.retained.oldest()):
            self._drop(oldest)
        return bool(self.retained.free_seq_ids)

    def _drop(self, kept: Retained) -> None:
        self.cells.release(kept.lease)
        self.retained.drop(kept)
        self._ops.append(Forget(kept.seq_id))


def _row(sequence: Sequence, pos: int) -> Row:
    last = pos == len(sequence.tokens) - 1
    return Row(sequence.seq_id, pos, sequence.tokens[pos], wants_logits=last)
