"""The worker's loop: one process, one thread, one model. Read, decide, compute, tell.

An exception that gets out of here ends the process, and should: the supervisor fails everyone who
was still owed an answer, and starts another worker. What is one request's own fault never gets out:
its client is told (requests.py).
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from edgellm.runner.backend import Backend, NoKVSlot, Step
from edgellm.runner.batch import Batch, Start
from edgellm.runner.changing import Changing
from edgellm.runner.counts import Counts, gauge, share_step
from edgellm.runner.drafting.speculation import rows_computed
from edgellm.runner.intake.beside import FromBeside
from edgellm.runner.intake.questions import Questions
from edgellm.runner.messages import FromWorker, Shutdown, ToWorker
from edgellm.runner.pacing.recorder import Recorder
from edgellm.runner.requests import Forget, Prepare, ReadText, Requests
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.telling import Telling

_GAUGE_PERIOD_S = 0.1
_PAUSE_S = 0.05  # of quiet, before each piece of work that nobody waits for
_TIDY_S = 2.0  # at the end; the supervisor waits for longer
# While other threads work, the loop wakes so often to send a gauge, as a sign of life (liveness.py
# is patient for longer): but only for so long. After that the supervisor may well call it hung.
_SIGN_S, _SIGNS_FOR_S = 30.0, 3600.0

# take(wait_s): all that has come; if nothing has, what comes first within so many seconds, if
# anything does.
Take: TypeAlias = Callable[[float], Iterable[ToWorker | FromBeside]]
Tell: TypeAlias = Callable[[list[FromWorker]], None]


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
        forget: Forget = lambda request_id: None,
        changing: Changing | None = None,
    ) -> None:
        self._backend, self._scheduler, self._questions = backend, scheduler, questions
        self._take, self._clock, self._changing = take, clock, changing
        self._telling = Telling(backend, tell, clock)
        self._recorder, self._counts = Recorder(), Counts()
        if backend.overlaps:
            backend.while_computing(self._telling.flush)
        self._requests = Requests(
            backend,
            scheduler,
            self._telling,
            prepare=prepare,
            read_beside=read_beside,
            forget=forget,
            questions=questions,
            recorder=self._recorder,
            clock=clock,
            embeds=embeds,
        )
        self._gauged_s, self._came_s = -1.0, 0.0  # when the last gauge went, the last message came
        self._computed: tuple[Batch, Step] | None = None  # in this turn of the loop
        self._n_running = 0  # while it was computed
        self._n_cached_begun = 0  # prompt tokens found in memory, of who began in this turn

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
                self._requests.scheduler = self._scheduler
            for message in messages:
                self._came_s = begun_s
                if isinstance(message, Shutdown):
                    self._tidy_up()
                    return
                self._requests.handle(message)
            self._requests.end_overdue()
            self._step()
            self._embed()
            self._questions.free_unused(self._scheduler)
            self._gauge()
            self._flush(begun_s)
            self._record(begun_s)

    @property
    def _may_change(self) -> bool:
        """The layout, if no message comes in this turn. Asked before messages are taken: then
        nothing that another thread has just finished can be missed."""
        is_due = self._changing is not None and self._changing.is_due(self._scheduler)
        return is_due and not self._requests.await_others

    def _tidy_up(self) -> None:
        """Put on disk what would be lost with this process, as far as time allows."""
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
        """While a device computes the next step, if it is given that step at once. It isn't after a
        prompt's (the next one is laid out anew, and somebody waits for a first token), nor where a
        draft model computes first."""
        is_plain = self._computed is not None and not self._computed[0].n_prompt_rows
        is_soon = self._backend.overlaps and not self._scheduler.limits.has_draft_model
        return is_soon and is_plain

    def _idle_s(self, now_s: float, may_change: bool) -> float:
        """How long there is nothing to do if no message comes: at most until somebody's deadline.
        Work that nobody waits for begins after a pause, so as not to hold up a client that comes
        back at once."""
        scheduler, requests = self._scheduler, self._requests
        if scheduler.running or requests.embeddings or not scheduler.awaits_message:
            return 0.0
        idle_s = max(0.0, requests.next_deadline_s - now_s)
        if requests.await_others and now_s - self._came_s < _SIGNS_FOR_S:
            idle_s = min(idle_s, _SIGN_S)
        idle_s = self._changing.wait_s(idle_s) if self._changing else idle_s
        return idle_s if scheduler.is_at_rest or may_change else min(idle_s, _PAUSE_S)

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
            self._telling.flush()  # this step takes longer than one that only decodes
        step = self._decode(batch)
        ended_s = self._clock()
        if batch.ops:
            self._scheduler.memory.observe(step.times.ops_s - step.times.set_up_s)
        if not batch.rows:
            return
        self._observe(batch, step, ended_s - begun_s)
        self._computed, self._n_running = (batch, step), len(self._scheduler.running)
        self._counts.n_steps += 1
        self._counts.n_prefilled += batch.n_prompt_rows
        for output in self._scheduler.commit(batch, step.sampled, step.n_drafted):
            self._counts.n_decoded += 1
            stop = partial(self._scheduler.finish, output.sequence, "stop")
            self._telling.show(output, ended_s, stop)
        if batch.n_prompt_rows:
            self._telling.read_on(self._scheduler.running.values(), ended_s)

    def _observe(self, batch: Batch, step: Step, whole_s: float) -> None:
        """What it took teaches those who plan the next steps."""
        scheduler, times = self._scheduler, step.times
        elapsed_s = whole_s - times.ops_s
        rows_s = elapsed_s - step.draft_s - times.mask_s
        scheduler.pace.observe(
            batch.n_prompt_rows,
            rows_computed(batch, step) + len(batch.padding) - batch.n_prompt_rows,
            rows_s,
            unsure_s=times.late_mask_s,
            whole_s=whole_s,
            before=batch.before,
        )
        scheduler.speculation.observe(batch, step, elapsed_s)
        if self._changing:
            self._changing.observe(batch, scheduler.running, rows_s)
        share_step(batch, scheduler.running, whole_s)

    def _embed(self) -> None:
        if not self._requests.embeddings:
            return
        computed = self._requests.embeddings.step()
        self._counts.n_steps += 1
        self._counts.n_prefilled += computed.n_tokens
        self._telling.add(computed.answers)
        for request_id, error in computed.failed:
            self._telling.reject(request_id, error)

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
        """Tell the state, ten times a second while it changes and once more when all is done."""
        now_s, is_done = self._clock(), self._scheduler.idle and not self._requests.embeddings
        if now_s - self._gauged_s < _GAUGE_PERIOD_S and not is_done:
            return
        self._gauged_s = now_s
        embedding = self._requests.embeddings.work
        self._telling.add([gauge(self._scheduler, self._counts, embedding)])
