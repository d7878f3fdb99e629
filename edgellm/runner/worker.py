"""The worker's loop: one process, one thread, one model. Read, decide, compute, tell.

An exception that gets out of here ends the process, and should: the supervisor fails everyone it
still owed and starts another one. What is one request's own fault is told to it as Rejected.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias, assert_never

from edgellm.errors import BadRequest, EdgellmError
from edgellm.runner.backend import Backend, NoKVSlot, Step, check_tokens
from edgellm.runner.batch import Batch, Mask, Start
from edgellm.runner.changing import Changing
from edgellm.runner.counts import Counts, gauge, share_step
from edgellm.runner.drafting.speculation import rows_computed
from edgellm.runner.intake.beside import (
    AdapterLoaded,
    Compiled,
    Fetched,
    FromBeside,
    Read,
    Text,
    Tokens,
)
from edgellm.runner.intake.embedding import Embeddings
from edgellm.runner.intake.pictures import Placed
from edgellm.runner.intake.preparing import Preparing
from edgellm.runner.intake.prompt import prompt_of, unguessed
from edgellm.runner.intake.questions import Questions
from edgellm.runner.messages import (
    Cancel,
    Detokenize,
    Embed,
    FromWorker,
    Generate,
    Infill,
    Load,
    LoadAdapter,
    ReadSteps,
    Rerank,
    Shutdown,
    Steps,
    Tokenize,
    Tokenized,
    ToWorker,
    UnloadAdapter,
)
from edgellm.runner.pacing.recorder import Recorder
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence
from edgellm.runner.telling import Telling
from edgellm.runner.threads.compiling import takes_time
from edgellm.runner.threads.reading import is_long_text, read

_GAUGE_PERIOD_S = 0.1
_PAUSE_S = 0.05  # before each piece of what nobody waits for
_TIDY_S = 2.0  # at the end; the supervisor waits for longer
_SIGN_S = 30.0  # of life, while other threads work; liveness.py is patient for longer
_BESIDE_S = 3600.0  # that is believed of them: then who listens has to judge

# take(wait_s): what has come; if nothing has, what comes first within so many seconds, or nothing.
Take: TypeAlias = Callable[[float], Iterable[ToWorker | FromBeside]]
Tell: TypeAlias = Callable[[list[FromWorker]], None]
# Compiles a structure and looks at pictures, answers with Compiled: later, or at once where that
# takes no time.
Prepare: TypeAlias = Callable[[Generate], Compiled | None]
ReadText: TypeAlias = Callable[[Text], None]  # makes a long text into tokens, answers with Read


class Worker:
    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        *,
        take: Take,
        tell: Tell,
        prepare: Prepare,
        read_beside: ReadText,
        questions: Questions,
        clock: Callable[[], float],
        embeds: bool = False,
        forget: Callable[[int], None] = lambda request_id: None,
        changing: Changing | None = None,
    ) -> None:
        self._read_beside = read_beside
        self._forget = forget  # the request has left: what `prepare` began is in vain
        self._backend, self._scheduler, self._embeds = backend, scheduler, embeds
        self._take, self._prepare, self._clock, self._changing = take, prepare, clock, changing
        self._telling = Telling(backend, tell, clock)
        if backend.overlaps:
            backend.while_computing(self._telling.flush)
        self._preparing = Preparing()
        self._reading: set[int] = set()  # request_ids of what `read_beside` has
        self._counts = Counts()
        self._embeddings, self._questions = Embeddings(backend), questions
        self._gauged_s, self._came_s = -1.0, 0.0  # the last gauge, the last that came
        self._recorder = Recorder()
        self._computed: tuple[Batch, Step] | None = None  # in this turn of the loop
        self._n_running = 0  # while it was computed
        self._n_cached_begun = 0

    def run(self) -> None:
        """Until Shutdown, or until the other side of the pipe is gone."""
        self._telling.add([gauge(self._scheduler, self._counts)])
        self._telling.flush()
        while True:
            begun_s, may_change = self._clock(), self._may_change
            idle_s = self._idle_s(begun_s, may_change)
            messages = list(self._take(idle_s))
            begun_s = self._clock() if idle_s else begun_s
            if may_change and not messages and self._changing:
                self._scheduler = self._changing.change(self._scheduler)
            for message in messages:
                self._came_s = begun_s
                if isinstance(message, Shutdown):
                    self._tidy_up()
                    return
                self._handle(message)
            self._end_overdue()
            self._step()
            self._embed()
            self._questions.free_unused(self._scheduler)
            self._gauge()
            self._flush(begun_s)
            self._record(begun_s)

    @property
    def _may_change(self) -> bool:
        """If nothing comes after this is asked, nothing is on its way from other threads."""
        is_due = self._changing is not None and self._changing.is_due(self._scheduler)
        return is_due and not self._awaits_others

    def _tidy_up(self) -> None:
        """What would be lost with this process, and could be on disk."""
        end_s, memory = self._clock() + _TIDY_S, self._scheduler.memory
        for sequence in [*self._scheduler.waiting.unordered, *self._scheduler.running.values()]:
            self._scheduler.finish(sequence, "cancelled")  # its client was told
        while self._scheduler.limits.disk_bytes and memory.has_chores and self._clock() < end_s:
            self._step()

    def _flush(self, begun_s: float) -> None:
        if self._computed is None or not self._scheduler.running:
            self._telling.flush()
        elif not self._may_tell_later:
            now_s = self._clock()
            self._telling.flush_if_due(now_s, now_s - begun_s)

    @property
    def _may_tell_later(self) -> bool:
        """While a device computes the next step: if it is handed that soon. After a prompt's step
        the next one is laid out anew, and somebody waits for a first token; a draft model comes
        before it, too."""
        is_plain = self._computed is not None and not self._computed[0].n_prompt_rows
        is_soon = self._backend.overlaps and not self._scheduler.limits.has_draft_model
        return is_soon and is_plain

    def _idle_s(self, now_s: float, may_change: bool) -> float:
        """How long there is nothing to do if nothing comes: until somebody's deadline. Chores that
        nobody waits for begin after a pause: who comes back at once is not held up by them."""
        if self._scheduler.running or self._embeddings or not self._scheduler.awaits_message:
            return 0.0
        end_s = min(self._preparing.next_deadline_s, self._scheduler.waiting.next_deadline_s)
        idle_s = max(0.0, end_s - now_s)
        if self._awaits_others and now_s - self._came_s < _BESIDE_S:
            idle_s = min(idle_s, _SIGN_S)
        idle_s = self._changing.wait_s(idle_s) if self._changing else idle_s
        return idle_s if self._scheduler.is_at_rest or may_change else min(idle_s, _PAUSE_S)

    @property
    def _awaits_others(self) -> bool:
        """Somebody waits, and another thread has to be done first: the one that looks at pictures,
        compiles, makes text into tokens, loads an adapter or reads from disk."""
        waits_for_disk = self._scheduler.awaits_message and self._scheduler.waiting
        reads = self._reading or self._questions.is_loading
        return bool(self._preparing or reads or waits_for_disk)

    # ── requests ─────────────────────────────────────────────────────────────

    def _handle(self, message: ToWorker | FromBeside) -> None:
        request_id = getattr(message, "request_id", 0)
        try:
            self._obey(message)
        except EdgellmError as error:  # this request's fault; the others go on
            self._telling.reject(request_id, error)

    def _obey(self, message: ToWorker | FromBeside) -> None:
        match message:
            case Generate():
                self._generate(message)
            case Fetched(blob, elapsed_s):
                self._scheduler.memory.fetched(blob, elapsed_s)
            case Compiled():
                self._compiled(message)
            case Cancel(request_id):
                self._cancel(request_id)
            case Embed() | Rerank() | Tokenize() | Infill():
                self._read_text(message)
            case Read(request, result):
                self._was_read(request, result)
            case Detokenize() | LoadAdapter() | AdapterLoaded() | UnloadAdapter():
                self._telling.add(self._questions.answers(message))
            case ReadSteps(request_id, n):
                self._telling.add([Steps(request_id, self._recorder.last(n))])
            case Load() | Shutdown():
                pass  # the first message and the last one: not the loop's
            case _:
                assert_never(message)

    def _read_text(self, asked: Text) -> None:
        if isinstance(asked, Embed | Rerank):
            if not self._embeds:
                raise BadRequest("this model generates text; it gives no embeddings")
            self._embeddings.check(asked)
        if is_long_text(asked):
            self._reading.add(asked.request_id)
            self._read_beside(asked)
        else:
            self._go_on(asked, read(self._backend, asked))

    def _was_read(self, asked: Text, result: Tokens | EdgellmError) -> None:
        if asked.request_id not in self._reading:
            return  # cancelled meanwhile
        self._reading.remove(asked.request_id)
        if isinstance(result, EdgellmError):
            raise result
        self._go_on(asked, result)

    def _go_on(self, asked: Text, tokens: Tokens) -> None:
        if isinstance(tokens, Tokenized):
            self._telling.add([tokens])
        elif isinstance(asked, Embed | Rerank):
            self._embeddings.add(asked, tokens)

    def _embed(self) -> None:
        if not self._embeddings:
            return
        computed = self._embeddings.step()
        self._counts.n_steps += 1
        self._counts.n_prefilled += computed.n_tokens
        self._telling.add(computed.answers)
        for request_id, error in computed.failed:
            self._telling.reject(request_id, error)

    def _generate(self, request: Generate) -> None:
        if self._embeds:
            raise BadRequest("this model gives embeddings; it generates no text")
        biased = (token for token, _ in request.params.sampling.logit_bias)
        check_tokens(self._backend, biased, "logit_bias")
        if takes_time(request) or request.params.pictures:
            self._preparing.add(request, self._clock())
            if ready := self._prepare(request):
                self._compiled(ready)
        else:
            self._add(request, self._clock())

    def _compiled(self, told: Compiled) -> None:
        request, result = told.request, told.result
        arrived_s = self._preparing.pop(request.request_id)
        if arrived_s is None:
            return  # cancelled meanwhile, or overdue
        if isinstance(result, EdgellmError):
            self._telling.reject(request.request_id, result)
            return
        self._add(request, arrived_s, result, told.pictures)

    def _add(
        self,
        request: Generate,
        arrived_s: float,
        mask: Mask | None = None,
        pictures: tuple[Placed, ...] = (),
    ) -> None:
        self._questions.check_adapters(request.params.adapters)
        tokens = prompt_of(self._backend, request, pictures, self._scheduler.waiting.unordered)
        if pictures:
            request = unguessed(request)
        limit = request.params.max_tokens
        n_max = self._scheduler.limits.n_ctx_seq if limit is None else len(tokens) + limit
        sequence = Sequence(
            request.request_id,
            tokens,
            n_max,
            request.params,
            arrived_s,
            mask=mask,
            pictures=pictures,
        )
        stream = self._telling.stream(request, arrived_s)  # what may fail comes before it is in
        self._scheduler.add(sequence)
        self._telling.open(request.request_id, stream)

    def _cancel(self, request_id: int) -> None:
        self._preparing.pop(request_id)
        self._reading.discard(request_id)
        self._forget(request_id)
        self._embeddings.cancel(request_id)
        if sequence := self._scheduler.cancel(request_id):
            self._telling.cancelled(sequence)

    def _end_overdue(self) -> None:
        """Those whose client has stopped waiting."""
        now_s = self._clock()
        for request_id, arrived_s in self._preparing.pop_overdue(now_s):
            self._forget(request_id)
            self._telling.too_late(request_id, "while it was prepared", now_s - arrived_s)
        for sequence in self._scheduler.waiting.overdue(now_s):
            self._scheduler.finish(sequence, "deadline")
            self._telling.overdue(sequence, now_s)

    # ── steps ────────────────────────────────────────────────────────────────

    def _step(self) -> None:
        batch = self._scheduler.schedule()
        if batch is None:
            return
        begun_s = self._clock()
        for op in batch.ops:
            if isinstance(op, Start):
                self._started(op, begun_s)
        if batch.ops or batch.adapters or batch.n_prompt_rows:
            self._telling.flush()  # before the next token something else is done
        step = self._decode(batch)
        ended_s = self._clock()
        if batch.ops:
            self._scheduler.memory.observe(step.times.ops_s - step.times.set_up_s)
        if not batch.rows:
            return
        n_decode_rows = rows_computed(batch, step) + len(batch.padding) - batch.n_prompt_rows
        elapsed_s = ended_s - begun_s - step.times.ops_s
        rows_s = elapsed_s - step.draft_s - step.times.mask_s
        self._scheduler.pace.observe(
            batch.n_prompt_rows,
            n_decode_rows,
            rows_s,
            unsure_s=step.times.late_mask_s,
            whole_s=ended_s - begun_s,
            before=batch.before,
        )
        self._scheduler.speculation.observe(batch, step, elapsed_s)
        if self._changing:
            self._changing.observe(batch, self._scheduler.running, rows_s)
        self._computed, self._n_running = (batch, step), len(self._scheduler.running)
        self._counts.n_steps += 1
        share_step(batch, self._scheduler.running, ended_s - begun_s)
        self._counts.n_prefilled += batch.n_prompt_rows
        for output in self._scheduler.commit(batch, step.sampled, step.n_drafted):
            self._counts.n_decoded += 1
            stop = partial(self._scheduler.finish, output.sequence, "stop")
            self._telling.show(output, ended_s, stop)
        if batch.n_prompt_rows:
            self._telling.read_on(self._scheduler.running.values(), ended_s)

    def _record(self, begun_s: float) -> None:
        if self._computed is None:
            return
        (batch, step), self._computed = self._computed, None
        end_s = self._clock()
        self._scheduler.budget.turns.observe(end_s - begun_s)
        self._counts.turn(batch, end_s - begun_s, self._n_running)
        self._recorder.add(
            self._counts.n_steps,
            batch,
            step.times,
            start_s=begun_s,
            end_s=end_s,
            n_waiting=len(self._scheduler.waiting),
            n_cells_used=self._scheduler.memory.used,
            n_kv=self._scheduler.memory.n_kv,
            n_cached=self._n_cached_begun,
            n_threads=step.n_threads,
        )
        self._n_cached_begun = 0

    def _started(self, op: Start, now_s: float) -> None:
        sequence = self._scheduler.running[op.seq_id]
        self._telling.started(sequence, now_s)
        self._counts.n_prompt += len(op.prompt)
        self._counts.n_cached += sequence.n_cached
        self._counts.n_restored += sequence.n_restored - sequence.n_loaded
        self._counts.n_loaded += sequence.n_loaded
        self._n_cached_begun += sequence.n_cached

    def _decode(self, batch: Batch) -> Step:
        try:
            return self._backend.decode(batch)
        except NoKVSlot:
            if (relief := self._scheduler.relieve(batch)) is None:
                raise
            return self._backend.decode(relief)

    def _gauge(self) -> None:
        """The state, ten times a second while it changes, and once more when all is done."""
        now_s, is_done = self._clock(), self._scheduler.idle and not self._embeddings
        if now_s - self._gauged_s < _GAUGE_PERIOD_S and not is_done:
            return
        self._gauged_s = now_s
        self._telling.add([gauge(self._scheduler, self._counts)])
