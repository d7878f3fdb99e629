"""Which tokens go into the next llama_decode. Pure: no llama_cpp, no clock, no pipe, no thread.

The worker's loop drives it, always in this order:

    batch = scheduler.schedule()            # decide
    step = backend.decode(batch)            # do: tokens for each sequence that wants some
    for output in scheduler.commit(batch, step.sampled, step.n_drafted):
        send(output)                        # tell

Policy. Every running sequence decodes one token a step, so no stream stalls; prompts are read in
chunks, out of what is left of n_batch and as fast as the pace allows (row_budget.py). fairness.py
says who is next. A sequence is admitted once the memory has room for all that it may ever need
(kv/memory.py). Nobody is preempted: llama.cpp would have to compute the evicted prompt again.

Prefixes. A prompt is forked from the computed sequence that goes furthest along it. If a running
sequence is about to go further, the newcomer waits for it instead of computing the same tokens
twice; others may pass it meanwhile.

Batch-invariant (`limits.n_chunk`): a prompt is computed in chunks that begin at multiples of
n_chunk, each of them whole in one step, and is shared in whole chunks only; the backend computes
each sequence's rows in a call of their own. So no number depends on who else is running.

Speculation. Beside its last token a sequence may have rows for guessed ones (speculation.py).
Guesses that come true are tokens like any other; the cells of the rest are trimmed with the next
batch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import msgspec

from edgellm.chat.events import FinishReason, TokenLogprob
from edgellm.errors import ContextTooLong
from edgellm.runner.batch import (
    Batch,
    Checkpoint,
    Fetch,
    Op,
    Restore,
    Row,
    Sampled,
    Save,
    SaveAll,
    Start,
    Stop,
    Store,
    Trim,
)
from edgellm.runner.drafting.speculation import Speculation
from edgellm.runner.intake.pictures import whole_pictures
from edgellm.runner.kv.aside import AsideMemory
from edgellm.runner.kv.in_place import InPlaceMemory
from edgellm.runner.kv.memory import WORTH_SHARING, Limits, Memory
from edgellm.runner.kv.prefix import Match, Source, common_prefix, whole_chunks
from edgellm.runner.kv.split import SplitMemory
from edgellm.runner.kv.unified import UnifiedMemory
from edgellm.runner.pacing.fairness import Queue
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.row_budget import RowBudget
from edgellm.runner.sequence import Leader, Sequence, State

# Operations that are worth a batch of their own when there are no rows to compute.
_URGENT = (Save, SaveAll, Restore, Checkpoint, Store, Fetch)
_UNPADDED_PERIOD = 50  # steps, one of which goes without padding: what does that save by now?


class Output(msgspec.Struct, frozen=True, gc=False):
    """One new token of a sequence; the other fields as in Sampled."""

    sequence: Sequence
    token: int
    silent: bool
    fault: str | None = None
    logprob: TokenLogprob | None = None


class Scheduler:
    def __init__(self, limits: Limits, pace: Pace | None = None) -> None:
        self.limits = limits
        self.pace = pace or Pace(None)
        self.waiting = Queue(limits.n_seq_max)
        self.running: dict[int, Sequence] = {}  # by seq_id, oldest first
        self._ops: list[Op] = []
        self.memory: Memory = _memory(limits, self._ops, self.pace)
        self.budget = RowBudget(limits, self.pace, self.memory)
        self.n_drafted = self.n_draft_accepted = 0
        # Batch-invariant, no number may depend on how many rows were to spare for guesses.
        n_draft_rows = 0 if limits.n_chunk else limits.n_draft_rows
        drafting = n_draft_rows, self.pace, limits.n_rollback
        self.speculation = Speculation(*drafting, by_model=limits.has_draft_model)

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting

    @property
    def awaits_message(self) -> bool:
        """Nothing can be computed before the next message: whoever waits, waits for the disk."""
        return not self.running and all(s.awaits_disk for s in self.waiting.unordered)

    @property
    def is_at_rest(self) -> bool:
        """Nor is anything left to be copied in the background."""
        return self.awaits_message and not self.memory.has_chores

    def add(self, sequence: Sequence) -> None:
        """Raises ContextTooLong. Its words contain what Anthropic, llama-server and OpenAI say:
        agents look for them to know that they must shorten their conversation.

        A max_tokens that doesn't fit is cut, and the answer then ends with "length".
        """
        room = min(self.limits.n_ctx_seq, self.limits.n_cells)
        if sequence.n_prompt >= room:
            raise ContextTooLong(
                f"prompt is too long: {sequence.n_prompt} tokens > {room - 1} maximum; with one of "
                "the answer it exceeds the available context size: this model's maximum context "
                f"length is {room} tokens",
                hint="shorten the prompt, or serve with a larger --ctx",
                param="messages",
                sizes=(sequence.n_prompt, room),
            )
        sequence.n_max = min(sequence.n_max, room)
        self.waiting.add(sequence)

    def cancel(self, request_id: int) -> Sequence | None:
        """The cancelled sequence. None: it had already finished, which is no error."""
        if sequence := self.waiting.find(request_id):
            self.finish(sequence, "cancelled")
        return sequence

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        sequence.finish_reason = reason
        if sequence.state is State.RUNNING:
            del self.running[sequence.seq_id]
            self._trim(sequence)
            self._ops.append(Stop(sequence.seq_id))
            self.memory.leave(sequence)
        self.waiting.leave(sequence)
        self.memory.stop_waiting(sequence)
        sequence.state = State.FINISHED

    def schedule(self) -> Batch | None:
        """The next batch, at most n_batch rows, or None when there is nothing to do."""
        self.pace.begin()
        self.memory.begin(list(self.running.values()))
        self._admit()
        self.memory.copy(list(self.running.values()))
        counts = self.budget.divide(self.running)
        # In ascending order of ids: llama.cpp computes adjoining streams of a split KV together.
        rows = [
            Row(seq_id, pos, one.tokens[pos], pos == len(one.tokens) - 1)
            for seq_id, one in sorted(self.running.items())
            for pos in range(one.n_computed, one.n_computed + counts.by_id[seq_id])
        ]
        if not rows:
            is_urgent = any(isinstance(op, _URGENT) for op in self._ops)
            return Batch(self.take_ops(), (), 0) if is_urgent else None
        together = [self.running[seq_id] for seq_id, n_rows in counts.by_id.items() if n_rows]
        all_rows = self._with_drafts(rows, together, counts.n_prompt)
        padding = () if counts.n_prompt else self._padding(all_rows)
        ops, adapters = self.take_ops(), together[0].adapters
        return Batch(ops, all_rows, counts.n_prompt, adapters, padding, counts.before, counts.apart)

    def commit(
        self,
        batch: Batch,
        sampled: Mapping[int, tuple[Sampled, ...]],
        n_drafted: Mapping[int, int] | None = None,
    ) -> Iterator[Output]:
        """Take note of a computed batch. `sampled`: the new tokens of each seq_id that has some;
        `n_drafted`: how many of its guesses the draft model made.

        A generator, which the caller must exhaust. A caller that finds a stop string after some
        token finishes the sequence there, and the tokens behind it are dropped.
        """
        self._count(batch.rows, sampled, n_drafted or {})
        for seq_id, tokens in sampled.items():
            sequence = self.running[seq_id]
            for i, new in enumerate(tokens):
                if i:
                    self._grow(sequence, 1)  # by the guess that came true
                sequence.tokens.append(new.token)
                if new.ends:
                    self.finish(sequence, "stop")
                elif len(sequence.tokens) >= sequence.n_max:
                    self.finish(sequence, "length")
                yield Output(sequence, new.token, new.silent, new.fault, new.logprob)
                if sequence.finish_reason:
                    break
            if sequence.n_in_flight:
                self._trim(sequence)

    def _count(
        self,
        rows: tuple[Row, ...],
        sampled: Mapping[int, tuple[Sampled, ...]],
        n_drafted: Mapping[int, int],
    ) -> None:
        """Advance each sequence by the rows that were computed of it, its guesses left out."""
        counts: dict[int, int] = {}
        for row in rows:
            counts[row.seq_id] = counts.get(row.seq_id, 0) + 1
        for seq_id, count in counts.items():
            sequence = self.running[seq_id]
            self._grow(sequence, count - sequence.n_in_flight)
            if sequence.n_in_flight:
                self._judge(sequence, sampled, n_drafted.get(seq_id, sequence.n_in_flight))

    def _grow(self, sequence: Sequence, count: int) -> None:
        sequence.n_computed += count
        self.memory.grow(sequence, count)

    def _judge(
        self, sequence: Sequence, sampled: Mapping[int, tuple[Sampled, ...]], n_drafted: int
    ) -> None:
        if sequence.guesser is None:
            return
        n_right = len(sampled[sequence.seq_id]) - 1
        sequence.n_drafted += n_drafted
        sequence.n_draft_accepted += n_right
        self.n_drafted += n_drafted
        self.n_draft_accepted += n_right
        sequence.guesser.learn(n_drafted, n_right)

    def _trim(self, sequence: Sequence) -> None:
        """Give up the cells of guesses that didn't come true."""
        if sequence.n_in_flight:
            self._ops.append(Trim(sequence.seq_id, sequence.n_computed))
            sequence.n_in_flight = 0

    def _with_drafts(
        self, rows: list[Row], together: list[Sequence], n_prompt_rows: int
    ) -> tuple[Row, ...]:
        """The rows, each sequence's guesses after its own."""
        n_free = 0 if n_prompt_rows else self.limits.n_batch - len(rows)
        drafts = self.speculation.drafts(together, n_free)
        if not drafts:
            return tuple(rows)
        drafted = []
        for row in rows:
            guesses = drafts.get(row.seq_id, ())
            self.running[row.seq_id].n_in_flight = len(guesses)
            drafted.append(row)
            for i, token in enumerate(guesses, 1):
                drafted.append(Row(row.seq_id, row.pos + i, token, wants_logits=True))
        return tuple(drafted)

    def _padding(self, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        """Dummy rows, where the kernels compute a larger batch in less time.

        They must touch nobody's cells. In a pool they run on a free id, whose cells are forgotten
        right after the step. On split KV and with a recurrent state, a free id may still hold a
        retained conversation.
        """
        limits, n_rows = self.limits, len(rows)
        if not limits.unified or limits.state or limits.n_chunk:
            return ()
        n = self.pace.costs.padded(n_rows) - n_rows
        if not n or self.budget.n_steps % _UNPADDED_PERIOD == 0:
            return ()
        free = next((i for i in range(limits.n_seq_max) if i not in self.running), None)
        most = min(limits.n_seq_max + limits.n_draft_rows, limits.n_batch)
        if free is None or n_rows + n > most or self.memory.used + n_rows + n > limits.n_cells:
            return ()
        return tuple(Row(free, pos, rows[0].token, wants_logits=True) for pos in range(n))

    def relieve(self, batch: Batch) -> Batch | None:
        """The same rows once more, after every retained sequence was forgotten: for a backend that
        found no room where we had counted on some. None: there is nothing to give up."""
        self.memory.forget_retained()
        ops = self.take_ops()
        return replace(batch, ops=ops, padding=()) if ops or batch.padding else None

    def check(self) -> None:
        """Assert what must hold between steps. Tests call it after every step."""
        assert all(s.state is State.RUNNING for s in self.running.values())
        self.memory.check(list(self.running.values()))

    def take_ops(self) -> tuple[Op, ...]:
        """Operations since the last batch. They are the caller's to have done."""
        ops = tuple(self._ops)
        self._ops.clear()  # the memory holds the same list
        return ops

    def _admit(self) -> None:
        if not self.waiting or len(self.running) >= self.limits.n_seq_max:
            return  # putting the queue in order costs time
        self.waiting.begin()
        for sequence in self.waiting:
            if len(self.running) >= self.limits.n_seq_max or self.waiting.closed:
                return
            if sequence.awaits_disk or (sequence.leader and not sequence.leader.done):
                continue  # cheap to check: many may wait like this, for many steps
            match = self._match(sequence)
            n_here = match.length if match else 0
            n_coming_back = self.memory.n_coming_back(sequence, n_here)
            sequence.leader = self._leader(sequence, n_here, n_coming_back)
            if sequence.leader or self.memory.must_fetch(sequence, n_here):
                continue
            if not self.memory.admit(sequence, match, list(self.running.values())):
                self.waiting.refuse(sequence)
                continue
            self.waiting.admit(sequence)
            sequence.state = State.RUNNING
            self.running[sequence.seq_id] = sequence
            self._ops.append(_start(sequence))

    def _shares_prefixes(self, sequence: Sequence) -> bool:
        return self.limits.shares_prefixes and sequence.params.cache_prompt

    def _match(self, sequence: Sequence) -> Match | None:
        """The computed sequence, running or retained, that goes furthest along this prompt. Of
        equals among the retained, the one used last: so the others can age and be evicted."""
        if not self._shares_prefixes(sequence):
            return None
        retained = reversed(self.memory.retained.by_id.values())
        everyone: list[Source] = [*self.running.values(), *retained]
        sources = [source for source in everyone if source.adapters == sequence.adapters]
        return self.memory.match(sequence.tokens, sources, sequence.pictures)

    def _leader(self, sequence: Sequence, n_here: int, n_coming_back: int) -> Leader | None:
        """A running sequence worth waiting for: it will have computed more of this prompt than the
        `n_here` tokens in the cells, and than the `n_coming_back` that could be copied back. (A
        leader that is itself being copied back has those, too.)"""
        if not self._shares_prefixes(sequence):
            return None
        best, limit = None, sequence.n_prompt - 1
        for other in self.running.values():
            if other.n_computed >= other.n_prompt or other.adapters != sequence.adapters:
                continue
            common = common_prefix(sequence.tokens, other.tokens, limit)
            common = whole_pictures(common, sequence.pictures)
            length = whole_chunks(common, self.limits.n_chunk)
            coming = length - max(other.n_computed, n_here, 0 if other.restoring else n_coming_back)
            if coming >= WORTH_SHARING and (best is None or length > best.length):
                best = Leader(other, length)
        return best and Leader(best.sequence, self.memory.plan_fork(best.sequence, best.length))


def _memory(limits: Limits, ops: list[Op], pace: Pace) -> Memory:
    if not limits.unified and (limits.state is None or limits.state.is_nothing):
        return SplitMemory(limits, ops, pace)
    if limits.state:
        policy = AsideMemory if limits.n_ids > limits.n_seq_max else InPlaceMemory
        return policy(limits, limits.state, ops, pace)
    return UnifiedMemory(limits, ops, pace)


def _start(sequence: Sequence) -> Start:
    prompt = tuple(sequence.tokens)
    return Start(
        sequence.seq_id,
        sequence.request_id,
        sequence.params,
        prompt,
        sequence.mask,
        sequence.pictures,
    )
