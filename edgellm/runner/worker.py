"""The worker's loop: one process, one thread, one model. Read, decide, compute, tell.

An exception that gets out of here ends the process, and should: the supervisor fails everyone it
still owed and starts another one. What is one request's own fault is told to it as Rejected.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from edgellm.chat.events import FinishReason, Timings, TokenLogprob
from edgellm.errors import BadRequest, EdgellmError
from edgellm.runner import embedding
from edgellm.runner.backend import Backend, NoKVSlot, Step, tokens_of
from edgellm.runner.batch import Batch, Mask, Start
from edgellm.runner.messages import (
    Cancel,
    Delta,
    Done,
    Embed,
    FromWorker,
    Gauge,
    Generate,
    Load,
    Rejected,
    Shutdown,
    Tokenize,
    Tokenized,
    ToWorker,
)
from edgellm.runner.scheduler import Output, Scheduler
from edgellm.runner.sequence import Sequence
from edgellm.runner.text import TextStream

_GAUGE_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class Compiled:
    """A structure is ready, or can't be. Comes back through the inbox, from another thread."""

    request: Generate
    result: Mask | EdgellmError


@dataclass(eq=False, slots=True)
class Stream:
    """What a request's answer needs beside its tokens."""

    text: TextStream
    arrived_s: float
    started_s: float | None = None
    first_token_s: float | None = None
    marks: Mapping[int, bytes] = field(default_factory=dict)  # special tokens that are text here
    n_untold: int = 0  # tokens since the last Delta
    logprobs: list[TokenLogprob] = field(default_factory=list)


Take: TypeAlias = Callable[[bool], Iterable[ToWorker | Compiled]]  # take(wait): what has come
Tell: TypeAlias = Callable[[list[FromWorker]], None]
Prepare: TypeAlias = Callable[[Generate], None]  # compiles a structure, answers with Compiled


class Worker:
    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        *,
        take: Take,
        tell: Tell,
        prepare: Prepare,
        clock: Callable[[], float],
        embeds: bool = False,
    ) -> None:
        self._backend, self._scheduler, self._embeds = backend, scheduler, embeds
        self._take, self._tell, self._prepare, self._clock = take, tell, prepare, clock
        self._streams: dict[int, Stream] = {}
        self._preparing: dict[int, float] = {}  # request_id: when it came
        self._out: list[FromWorker] = []
        self._counts = Counts()
        self._gauged_s = -1.0

    def run(self) -> None:
        """Until Shutdown, or until the other side of the pipe is gone."""
        self._tell([gauge(self._scheduler, self._counts)])
        while True:
            for message in self._take(self._scheduler.idle):
                if isinstance(message, Shutdown):
                    return
                self._handle(message)
            self._step()
            self._gauge()
            if self._out:
                self._tell(self._out)
                self._out = []

    # ── requests ─────────────────────────────────────────────────────────────

    def _handle(self, message: ToWorker | Compiled) -> None:
        request_id = getattr(message, "request_id", 0)
        try:
            self._obey(message)
        except EdgellmError as error:  # this request's fault; the others go on
            self._reject(request_id, error)

    def _obey(self, message: ToWorker | Compiled) -> None:
        match message:
            case Generate():
                self._generate(message)
            case Compiled(request, result):
                self._compiled(request, result)
            case Cancel(request_id):
                self._cancel(request_id)
            case Embed(request_id, inputs):
                if not self._embeds:
                    raise BadRequest("this model generates text; it gives no embeddings")
                self._embed(request_id, inputs)
            case Tokenize(request_id, text, add_special):
                tokens = self._backend.tokenize(text, add_special)
                self._out.append(Tokenized(request_id, tuple(tokens)))
            case Load() | Shutdown():
                pass  # the first message and the last one: not the loop's
            case _:
                assert_never(message)

    def _embed(self, request_id: int, inputs: tuple[str | tuple[int, ...], ...]) -> None:
        embedded = embedding.embed(self._backend, request_id, inputs)
        self._counts.n_steps += 1
        self._counts.n_prefilled += embedded.n_tokens
        self._out.append(embedded)

    def _generate(self, request: Generate) -> None:
        if self._embeds:
            raise BadRequest("this model gives embeddings; it generates no text")
        if request.params.structure:
            self._preparing[request.request_id] = self._clock()
            self._prepare(request)
        else:
            self._add(request, self._clock())

    def _compiled(self, request: Generate, result: Mask | EdgellmError) -> None:
        arrived_s = self._preparing.pop(request.request_id, None)
        if arrived_s is None:
            return  # cancelled meanwhile
        if isinstance(result, EdgellmError):
            self._reject(request.request_id, result)
            return
        self._add(request, arrived_s, result)

    def _add(self, request: Generate, arrived_s: float, mask: Mask | None = None) -> None:
        tokens = tokens_of(self._backend, request.prompt, "prompt")
        limit = request.params.max_tokens
        n_max = self._scheduler.limits.n_ctx_seq if limit is None else len(tokens) + limit
        sequence = Sequence(request.request_id, tokens, n_max, request.params, mask=mask)
        self._scheduler.add(sequence)
        stream = Stream(TextStream(request.params.stop), arrived_s)
        if request.params.markers:
            stream.marks = self._backend.marks(request.params.markers)
        self._streams[request.request_id] = stream

    def _cancel(self, request_id: int) -> None:
        self._preparing.pop(request_id, None)
        if sequence := self._scheduler.cancel(request_id):
            self._done(sequence, self._streams.pop(request_id), "cancelled")

    def _reject(self, request_id: int, error: EdgellmError) -> None:
        hint = f" ({error.hint})" if error.hint else ""
        kind = type(error).__name__
        rejected = Rejected(request_id, f"{error}{hint}", error.http_status, error.param, kind)
        self._out.append(rejected)

    # ── steps ────────────────────────────────────────────────────────────────

    def _step(self) -> None:
        batch = self._scheduler.schedule()
        if batch is None:
            return
        begun_s = self._clock()
        for op in batch.ops:
            if isinstance(op, Start):
                self._started(op, begun_s)
        step = self._decode(batch)
        ended_s = self._clock()
        n_decode_rows = len(batch.rows) - batch.n_prompt_rows
        elapsed_s = ended_s - begun_s - step.draft_s
        self._scheduler.pace.observe(batch.n_prompt_rows, n_decode_rows, elapsed_s)
        self._scheduler.speculation.observe(batch, step.draft_s)
        self._counts.n_steps += 1
        self._share_step(batch)
        self._counts.n_prefilled += batch.n_prompt_rows
        for output in self._scheduler.commit(batch, step.sampled, step.n_drafted):
            self._show(output, ended_s)

    def _share_step(self, batch: Batch) -> None:
        members = {row.seq_id for row in batch.rows}
        for seq_id in members:
            self._scheduler.running[seq_id].step_share += 1 / len(members)

    def _started(self, op: Start, now_s: float) -> None:
        self._streams[op.request_id].started_s = now_s
        self._counts.n_prompt += len(op.prompt)
        self._counts.n_cached += self._scheduler.running[op.seq_id].n_cached

    def _decode(self, batch: Batch) -> Step:
        try:
            return self._backend.decode(batch)
        except NoKVSlot:
            relief = self._scheduler.relieve(batch)
            if relief is None:
                raise
            return self._backend.decode(relief)

    def _show(self, output: Output, now_s: float) -> None:
        sequence = output.sequence
        stream = self._streams[sequence.request_id]
        if stream.first_token_s is None:
            stream.first_token_s = now_s
        self._counts.n_decoded += 1
        stream.n_untold += 1
        shown = ""
        if not output.silent:
            mark = stream.marks.get(output.token)
            shown = stream.text.feed(mark or self._backend.piece(output.token))
            if output.logprob:
                stream.logprobs.append(output.logprob)
        if stream.text.stopped and not sequence.finish_reason:
            self._scheduler.finish(sequence, "stop")
        if sequence.finish_reason:
            shown += stream.text.flush()
        if shown:
            told, stream.logprobs = tuple(stream.logprobs), []
            self._out.append(Delta(sequence.request_id, shown, stream.n_untold, told))
            stream.n_untold = 0
        if sequence.finish_reason:
            del self._streams[sequence.request_id]
            if output.fault:
                self._reject(sequence.request_id, BadRequest(output.fault, param="structure"))
                return
            reason = "stop" if stream.text.stopped else sequence.finish_reason
            self._done(sequence, stream, reason)

    def _done(self, sequence: Sequence, stream: Stream, reason: FinishReason) -> None:
        now_s = self._clock()
        started_s = stream.started_s or now_s
        first_s = stream.first_token_s or now_s
        timings = Timings(
            queue_s=started_s - stream.arrived_s,
            prefill_s=first_s - started_s,
            decode_s=now_s - first_s,
        )
        self._out.append(
            Done(
                sequence.request_id,
                reason,
                sequence.n_prompt,
                sequence.n_cached,
                sequence.n_output,
                timings,
                sequence.step_share,
                sequence.n_computed - sequence.n_cached,
            )
        )

    def _gauge(self) -> None:
        """The state, ten times a second while it changes, and once more when all is done."""
        now_s = self._clock()
        if now_s - self._gauged_s < _GAUGE_PERIOD_S and not self._scheduler.idle:
            return
        self._gauged_s = now_s
        self._out.append(gauge(self._scheduler, self._counts))


@dataclass(slots=True)
class Counts:
    n_steps: int = 0
    n_decoded: int = 0
    n_prefilled: int = 0
    n_prompt: int = 0
    n_cached: int = 0


def gauge(scheduler: Scheduler, counts: Counts) -> Gauge:
    sequences = [*scheduler.running.values(), *list(scheduler.waiting)[:64]]
    return Gauge(
        n_waiting=len(scheduler.waiting),
        n_running=len(scheduler.running),
        n_retained=len(scheduler.memory.retained),
        n_cells=scheduler.limits.n_cells,
        n_cells_used=scheduler.memory.used,
        n_decoded=counts.n_decoded,
        n_prefilled=counts.n_prefilled,
        n_cached=counts.n_cached,
        n_prompt=counts.n_prompt,
        n_steps=counts.n_steps,
        sequences=tuple((s.request_id, s.n_prompt, s.n_computed, s.n_output) for s in sequences),
        work=tuple(
            (s.request_id, s.step_share, s.n_computed - s.n_cached)
            for s in scheduler.running.values()
        ),
    )
