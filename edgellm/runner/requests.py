"""From a message to work that is queued: requests as they come in, and as they get ready.

Most can be queued at once. A few have to wait for a thread beside the loop first: it compiles a
structure, looks at pictures or makes a long text into tokens, and sends back what it has done
(intake/beside.py). Until then they are known here alone, and may be cancelled or run out of time.
"""

from collections.abc import Callable
from typing import TypeAlias, assert_never

from edgellm.errors import BadRequest, EdgellmError
from edgellm.runner.backend import Backend, check_tokens
from edgellm.runner.batch import Mask
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

# Compiles a structure, looks at pictures. Returns Compiled if that takes no time; otherwise None,
# and Compiled comes as a message later.
Prepare: TypeAlias = Callable[[Generate], Compiled | None]
ReadText: TypeAlias = Callable[[Text], None]  # makes a long text into tokens; Read comes later
Forget: TypeAlias = Callable[[int], None]  # the request with this id has left: drop its work


class Requests:
    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        telling: Telling,
        *,
        prepare: Prepare,
        read_beside: ReadText,
        forget: Forget,
        questions: Questions,
        recorder: Recorder,
        clock: Callable[[], float],
        embeds: bool,
    ) -> None:
        """`embeds`: the model gives embeddings or ranks, and generates no text."""
        self.scheduler = scheduler  # the worker puts another one here when the layout changes
        self.embeddings = Embeddings(backend, clock)
        self._backend, self._telling, self._embeds = backend, telling, embeds
        self._prepare, self._read_beside, self._forget = prepare, read_beside, forget
        self._questions, self._recorder, self._clock = questions, recorder, clock
        self._preparing = Preparing()
        self._reading: set[int] = set()  # request_ids of what `read_beside` is working on

    @property
    def await_others(self) -> bool:
        """Somebody waits, and another thread has to be done first."""
        waits_for_disk = self.scheduler.awaits_message and self.scheduler.waiting
        reads = self._reading or self._questions.is_loading
        return bool(self._preparing or reads or waits_for_disk)

    @property
    def next_deadline_s(self) -> float:
        """Infinite: nobody has one."""
        return min(self._preparing.next_deadline_s, self.scheduler.waiting.next_deadline_s)

    def end_overdue(self) -> None:
        """Those whose client has stopped waiting."""
        now_s = self._clock()
        for request_id, arrived_s in self._preparing.pop_overdue(now_s):
            self._forget(request_id)
            self._telling.too_late(request_id, "while it was prepared", now_s - arrived_s)
        for sequence in self.scheduler.waiting.overdue(now_s):
            self.scheduler.finish(sequence, "deadline")
            self._telling.overdue(sequence, now_s)

    def handle(self, message: ToWorker | FromBeside) -> None:
        """What is wrong with one request is told to its client; the others go on."""
        request_id = getattr(message, "request_id", 0)
        try:
            self._obey(message)
        except EdgellmError as error:
            self._telling.reject(request_id, error)

    def _obey(self, message: ToWorker | FromBeside) -> None:
        match message:
            case Generate():
                self._generate(message)
            case Fetched(blob, elapsed_s):
                self.scheduler.memory.fetched(blob, elapsed_s)
            case Compiled():
                self._prepared(message)
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
                pass  # the first message and the last one: not for us
            case _:
                assert_never(message)

    # ── text that is generated ───────────────────────────────────────────────

    def _generate(self, request: Generate) -> None:
        if self._embeds:
            raise BadRequest("this model gives embeddings; it generates no text")
        biased = (token for token, _ in request.params.sampling.logit_bias)
        check_tokens(self._backend, biased, "logit_bias")
        if takes_time(request) or request.params.pictures:
            self._preparing.add(request, self._clock())
            if ready := self._prepare(request):
                self._prepared(ready)
        else:
            self._queue(request, self._clock())

    def _prepared(self, told: Compiled) -> None:
        request, result = told.request, told.result
        arrived_s = self._preparing.pop(request.request_id)
        if arrived_s is None:
            return  # cancelled meanwhile, or overdue
        if isinstance(result, EdgellmError):
            raise result
        self._queue(request, arrived_s, result, told.pictures)

    def _queue(
        self,
        request: Generate,
        arrived_s: float,
        mask: Mask | None = None,
        pictures: tuple[Placed, ...] = (),
    ) -> None:
        self._questions.check_adapters(request.params.adapters)
        tokens = prompt_of(self._backend, request, pictures, self.scheduler.waiting.unordered)
        if pictures:
            request = unguessed(request)
        limit = request.params.max_tokens
        n_max = self.scheduler.limits.n_ctx_seq if limit is None else len(tokens) + limit
        sequence = Sequence(
            request.request_id,
            tokens,
            n_max,
            request.params,
            arrived_s,
            mask=mask,
            pictures=pictures,
        )
        stream = self._telling.stream(request, arrived_s)  # may fail, so before it is queued
        self.scheduler.add(sequence)
        self._telling.open(request.request_id, stream)

    def _cancel(self, request_id: int) -> None:
        """Wherever it is by now."""
        self._preparing.pop(request_id)
        self._reading.discard(request_id)
        self._forget(request_id)
        self.embeddings.cancel(request_id)
        if sequence := self.scheduler.cancel(request_id):
            self._telling.cancelled(sequence)

    # ── text that only becomes tokens, or vectors ────────────────────────────

    def _read_text(self, asked: Text) -> None:
        if isinstance(asked, Embed | Rerank):
            if not self._embeds:
                raise BadRequest("this model generates text; it gives no embeddings")
            self.embeddings.check(asked)
        if is_long_text(asked):
            self._reading.add(asked.request_id)
            self._read_beside(asked)
        else:
            self._answer(asked, read(self._backend, asked))

    def _was_read(self, asked: Text, result: Tokens | EdgellmError) -> None:
        if asked.request_id not in self._reading:
            return  # cancelled meanwhile
        self._reading.remove(asked.request_id)
        if isinstance(result, EdgellmError):
            raise result
        self._answer(asked, result)

    def _answer(self, asked: Text, tokens: Tokens) -> None:
        if isinstance(tokens, Tokenized):
            self._telling.add([tokens])
        elif isinstance(asked, Embed | Rerank):
            self.embeddings.add(asked, tokens)
