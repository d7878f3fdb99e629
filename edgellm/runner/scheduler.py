"""Which tokens go into the next llama_decode. Pure: no llama_cpp, no clock, no pipe, no thread.

The loop that owns a scheduler does exactly this, and nothing else knows the order:

    batch = scheduler.schedule()            # decide
    step = backend.decode(batch)            # do: tokens for each sequence that wants some
    for output in scheduler.commit(batch, step.sampled, step.n_drafted):
        send(output)                        # tell

Policy. Every running sequence decodes one token each step, so nobody's stream stalls; prompts
get what is left of n_batch, as far as the pace allows, cut into chunks. Who is next, fairness.py
says. A sequence is admitted when the memory has room for all it may ever need (see memory.py):
there is no preemption, because llama.cpp would have to compute the evicted prompt again.

Prefixes. A prompt is forked from whatever computed sequence goes furthest along it. If a running
one is computing more of it right now, the newcomer waits for that instead of computing it again
(and others may pass it).

Batch-invariant (`limits.n_chunk`): prompts are computed in chunks that begin at multiples of
n_chunk, whole or not at all in this step, and shared in such chunks; the backend computes every
sequence's rows in a call of their own. So no number depends on who else is there.

Speculation. Beside its last token a sequence may have rows of guessed ones (speculation.py). Those
that come true are tokens like any other; the cells of the rest are trimmed with the next batch.
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
from edgellm.runner.intake.pictures import next_rows, whole_pictures
from edgellm.runner.kv.aside import AsideMemory
from edgellm.runner.kv.in_place import InPlaceMemory
from edgellm.runner.kv.memory import WORTH_SHARING, Limits, Memory
from edgellm.runner.kv.prefix import Match, Source, common_prefix, whole_chunks
from edgellm.runner.kv.split import SplitMemory
from edgellm.runner.kv.unified import UnifiedMemory
from edgellm.runner.pacing.fairness import Queue, by_turns
from edgellm.runner.pacing.looking_back import NOTHING, Before
from edgellm.runner.pacing.mask_turns import mask_s, sitting_out
from edgellm.runner.pacing.pace import Pace, Unread
from edgellm.runner.pacing.turns import Turns
from edgellm.runner.sequence import Leader, Sequence, State

# Operations that don't wait for rows to compute.
_URGENT = (Save, SaveAll, Restore, Checkpoint, Store, Fetch)
_UNPADDED_PERIOD = 50  # steps
_LEAST_ROWS = 32  # of a step that has prompts only: fewer take hardly less time


class Output(msgspec.Struct, frozen=True, gc=False):
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
        self._n_steps = 0
        self.running: dict[int, Sequence] = {}  # by seq_id, oldest first
        self.turns = Turns(self.pace)
        self._ops: list[Op] = []
        self.memory: Memory = _memory(limits, self._ops, self.pace)
        self.n_drafted = self.n_draft_accepted = 0
        # Batch-invariant, no number may depend on how many rows were to spare for guesses.
        n_draft_rows = 0 if limits.n_chunk else limits.n_draft_rows
        drafting = n_draft_rows, self.pace, limits.n_rollback
        self.speculation = Speculation(*drafting, by_model=limits.has_draft_model)

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting

    @property
    def stands(self) -> bool:
        """There is nothing to compute before the next message."""
        return not self.running and all(s.awaits_disk for s in self.waiting.unordered)

    @property
    def rests(self) -> bool:
        """Nor is there anything to tidy up."""
        return self.stands and not self.memory.has_chores

    def add(self, sequence: Sequence) -> None:
        """Raises ContextTooLong, in words by which agents know that they have to shorten their
        conversation: Anthropic's, llama-server's, OpenAI's. A longer max_tokens than fits is cut:
        it ends with "length"."""
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
        """None: it finished a moment ago, which is no error."""
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
        self.memory.abandon(sequence)
        sequence.state = State.FINISHED

    def schedule(self) -> Batch | None:
        """The next batch, at most n_batch rows, or None when there is nothing to do."""
        self.pace.begin()
        self.memory.begin(list(self.running.values()))
        self._admit()
        self.memory.work(list(self.running.values()))
        counts, before = self._shares()
        # In ascending order of ids: llama.cpp computes adjoining streams of a split KV together.
        rows = [
            Row(seq_id, pos, one.tokens[pos], pos == len(one.tokens) - 1)
            for seq_id, one in sorted(self.running.items())
            for pos in range(one.n_computed, one.n_computed + counts[seq_id])
        ]
        if not rows:
            is_urgent = any(isinstance(op, _URGENT) for op in self._ops)
            return Batch(self.take_ops(), (), 0) if is_urgent else None
        together = [self.running[seq_id] for seq_id, count in counts.items() if count]
        n_prompt_rows = len(rows) - len([s for s in together if _decodes(s)])
        all_rows = self._with_drafts(rows, together, n_prompt_rows)
        padding = () if n_prompt_rows else self._padding(all_rows)
        ops, adapters = self.take_ops(), together[0].adapters
        return Batch(ops, all_rows, n_prompt_rows, adapters, padding, before)

    def commit(
        self,
        batch: Batch,
        sampled: Mapping[int, tuple[Sampled, ...]],
        n_drafted: Mapping[int, int] | None = None,
    ) -> Iterator[Output]:
        """Take note of a computed batch. `sampled`: the new tokens of each seq_id that has some;
        `n_drafted`: how many of its guesses were the draft model's.

        Token by token, to be gone through to the end: whoever finds a stop string in one of them
        finishes the sequence there, and those after it never were.
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
        """What is computed of each sequence now, its guesses left out."""
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
        """What was computed for guesses that didn't come true."""
        if sequence.n_in_flight:
            self._ops.append(Trim(sequence.seq_id, sequence.n_computed))
            sequence.n_in_flight = 0

    def _with_drafts(
        self, rows: list[Row], together: list[Sequence], n_prompt_rows: int
    ) -> tuple[Row, ...]:
        """The guesses of each sequence after its own row."""
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
        """Rows that make the step faster, where its kernels prefer more of them.

        They touch nobody's cells: one pool, an id that nobody runs on, whose cells are forgotten
        right after. Streams of a split KV may be somebody's memory, and a recurrent state is.
        """
        limits, n_rows = self.limits, len(rows)
        if not limits.unified or limits.state or limits.n_chunk:
            return ()
        n = self.pace.costs.padded(n_rows) - n_rows
        if not n or self._n_steps % _UNPADDED_PERIOD == 0:  # now and then, to see what it saves
            return ()
        free = next((i for i in range(limits.n_seq_max) if i not in self.running), None)
        most = min(limits.n_seq_max + limits.n_draft_rows, limits.n_batch)
        if free is None or n_rows + n > most or self.memory.used + n_rows + n > limits.n_cells:
            return ()
        return tuple(Row(free, pos, rows[0].token, wants_logits=True) for pos in range(n))

    def relieve(self, batch: Batch) -> Batch | None:
        """The same rows once more, with every retained sequence forgotten first.

        For a backend that found no room where we had counted some. None: nothing to give.
        """
        self.memory.relieve()
        ops = self.take_ops()
        return replace(batch, ops=ops, padding=()) if ops or batch.padding else None

    def check(self) -> None:
        """Assert what must hold between steps. Tests call it after every step."""
        assert all(s.state is State.RUNNING for s in self.running.values())
        self.memory.check(list(self.running.values()))

    def _shares(self) -> tuple[dict[int, int], Before]:
        """How many rows each running sequence gets: one to decode, a chunk to read its prompt. And
        what lies before these chunks."""
        adapters = self.turns.next(s for s in self.running.values() if not s.restoring)
        counts = {
            seq_id: int(s.adapters == adapters) for seq_id, s in self.running.items() if _decodes(s)
        }
        self._n_steps += 1
        decoding = [self.running[seq_id] for seq_id, count in counts.items() if count]
        late = sitting_out(decoding)
        counts |= {sequence.seq_id: 0 for sequence in late}
        prompts = [s for seq_id, s in self.running.items() if seq_id not in counts]
        reading = [s for s in prompts if not s.restoring and s.adapters == adapters]
        n_decoding, n_sitting = len(counts), len(counts) - sum(counts.values())
        is_read = any(self.running[seq_id].params.is_read for seq_id in counts)
        counts |= {s.seq_id: 0 for s in prompts}
        if not reading:
            return counts, NOTHING
        masks_s = sum(mask_s(s) for s in decoding if s not in late)
        reading = by_turns(reading, self._n_steps)
        unread = [Unread(s.n_pending, s.n_computed) for s in reading]
        asked = n_decoding, unread, self.limits.n_batch - n_decoding, masks_s
        in_tiles = self.memory.in_tiles(self.running.values())
        budget = self.pace.chunk(*asked, n_sitting=n_sitting, in_tiles=in_tiles, is_read=is_read)
        budget = max(budget, self.limits.n_chunk or 0)
        if n_sitting == n_decoding:  # who decodes has other adapters: this step is the prompts'
            budget = max(budget, min(_LEAST_ROWS, self.limits.n_batch))
        for sequence in reading:
            counts[sequence.seq_id] = count = self._prompt_rows(sequence, budget)
            budget = max(0, budget - count)
        return counts, Before.of(((counts[s.seq_id], s.n_computed) for s in reading), in_tiles)

    def _prompt_rows(self, sequence: Sequence, budget: int) -> int:
        at = sequence.n_computed
        end = self.memory.next_stop(sequence) or len(sequence.tokens)
        return next_rows(at, end, budget, self.limits.n_chunk, sequence.pictures)

    def take_ops(self) -> tuple[Op, ...]:
        """What is to be done to the memory, of which nobody else will hear."""
        ops = tuple(self._ops)
        self._ops.clear()  # the memory holds the same list
        return ops

    def _admit(self) -> None:
        if not self.waiting or len(self.running) >= self.limits.n_seq_max:
            return  # before anybody is put in order
        self.waiting.begin()
        for sequence in self.waiting:
            if len(self.running) >= self.limits.n_seq_max or self.waiting.closed:
                return
            if sequence.awaits_disk or (sequence.leader and not sequence.leader.done):
                continue  # before anything is looked for: many may wait so, for many steps
            match = self._match(sequence)
            n_here = match.length if match else 0
            sequence.leader = self._leader(sequence, n_here, self.memory.shelved(sequence, n_here))
            if sequence.leader or self.memory.fetches(sequence, n_here):
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
        """The computed sequence, running or retained, that goes furthest along this prompt; of
        several that were retained the one that was used last, so that the others may grow old."""
        if not self._shares_prefixes(sequence):
            return None
        retained = reversed(self.memory.retained.by_id.values())
        everyone: list[Source] = [*self.running.values(), *retained]
        sources = [source for source in everyone if source.adapters == sequence.adapters]
        return self.memory.match(sequence.tokens, sources, sequence.pictures)

    def _leader(self, sequence: Sequence, n_here: int, n_shelved: int) -> Leader | None:
        """A running sequence that will have more of this prompt than the `n_here` tokens that are
        in the cells, or the `n_shelved` that could be copied back: unless it copies them itself."""
        if not self._shares_prefixes(sequence):
            return None
        best, limit = None, sequence.n_prompt - 1
        for other in self.running.values():
            if other.n_computed >= other.n_prompt or other.adapters != sequence.adapters:
                continue
            common = common_prefix(sequence.tokens, other.tokens, limit)
            common = whole_pictures(common, sequence.pictures)
            length = whole_chunks(common, self.limits.n_chunk)
            coming = length - max(other.n_computed, n_here, 0 if other.restoring else n_shelved)
            if coming >= WORTH_SHARING and (best is None or length > best.length):
                best = Leader(other, length)
        return best and Leader(best.sequence, self.memory.meet(best.sequence, best.length))


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


def _decodes(sequence: Sequence) -> bool:
    return len(sequence.tokens) > sequence.n_prompt
