"""Inputs of any number of requests, packed into batches that the model can take.

Requests take turns, one input at a time: a single query doesn't queue behind somebody's two
thousand documents, and short inputs of several clients share a call. How much is begun at the same
time is bounded, because a request's vectors lie here until its last one is computed.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from edgellm.errors import BadRequest, EdgellmError
from edgellm.runner.backend import Backend, Input, NoKVSlot
from edgellm.runner.intake.inputs import FLOAT_BYTES, vectors_bytes
from edgellm.runner.messages import Embed, Embedded, Rerank, Scored, WorkRow
from edgellm.units import MIB

_MOST_BEGUN_BYTES = 256 * MIB  # of answers


@dataclass(eq=False, slots=True)
class Job:
    """A request. `vectors` are those of its first inputs; the others are still to be computed."""

    request: Embed | Rerank
    inputs: Sequence[Input]
    answer_bytes: int
    vectors: list[bytes] = field(default_factory=list)
    n_computed: int = 0  # tokens
    step_share: float = 0.0  # of the steps that it was in, by tokens
    step_share_s: float = 0.0  # seconds of those steps, divided likewise

    def take_part(self, n_tokens: int, n_all: int, seconds: float) -> None:
        """In a step of so many tokens, and seconds."""
        self.n_computed += n_tokens
        self.step_share += n_tokens / n_all
        self.step_share_s += seconds * n_tokens / n_all

    @property
    def is_done(self) -> bool:
        return len(self.vectors) == len(self.inputs)


@dataclass(frozen=True, slots=True)
class Computed:
    """What one call of the model gave: answers that are complete now, and requests that failed."""

    n_tokens: int
    answers: Sequence[Embedded | Scored] = ()
    failed: Sequence[tuple[int, EdgellmError]] = ()  # by request_id


class Embeddings:
    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        self._backend, self._clock = backend, clock
        self._jobs: deque[Job] = deque()  # begun, and taking turns
        self._waiting: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs) + len(self._waiting)

    @property
    def work(self) -> Iterator[WorkRow]:
        """What has been done for each that is begun, as Gauge tells it."""
        for job in self._jobs:
            yield job.request.request_id, job.step_share, job.n_computed, job.step_share_s

    def check(self, request: Embed | Rerank) -> None:
        """Raises BadRequest if this model does the other of the two."""
        ranks = self._backend.pooling == "rank"
        if isinstance(request, Rerank) and not ranks:
            raise BadRequest("this model embeds; it ranks no documents")
        if isinstance(request, Embed) and ranks:
            raise BadRequest("this model ranks documents; it gives no embeddings")

    def add(self, request: Embed | Rerank, inputs: list[Input]) -> None:
        n_bytes = sum(vectors_bytes(self._backend, len(each.tokens)) for each in inputs)
        self._waiting.append(Job(request, inputs, n_bytes))

    def cancel(self, request_id: int) -> None:
        """Nobody waits for it any more. If it isn't here, it was answered a moment ago."""
        for jobs in (self._jobs, self._waiting):
            for job in jobs:
                if job.request.request_id == request_id:
                    jobs.remove(job)
                    return

    def step(self) -> Computed:
        """One call of the model. If it fails, only the requests with inputs in it fail."""
        self._begin()
        taken = self._batch()
        members = dict.fromkeys(job for job, _ in taken)
        n_tokens = sum(len(each.tokens) for _, each in taken)
        begun_s = self._clock()
        try:
            vectors = self._vectors([each for _, each in taken], n_tokens)
        except EdgellmError as error:
            self._leave(members)
            return Computed(0, failed=[(job.request.request_id, error) for job in members])
        took_s = self._clock() - begun_s
        for (job, each), vector in zip(taken, vectors, strict=True):
            job.vectors.append(vector)
            job.take_part(len(each.tokens), n_tokens, took_s)
        done = [job for job in members if job.is_done]
        self._leave(done)
        self._jobs.rotate(-1)  # each is first once, and the first one's input always fits
        return Computed(n_tokens, [self._answer(job) for job in done])

    def _begin(self) -> None:
        """Begin requests whose answers have room beside those begun. A single one always has."""
        begun_bytes = sum(job.answer_bytes for job in self._jobs)
        while self._waiting:
            begun_bytes += self._waiting[0].answer_bytes
            if self._jobs and begun_bytes > _MOST_BEGUN_BYTES:
                return
            self._jobs.append(self._waiting.popleft())

    def _vectors(self, inputs: list[Input], n_tokens: int) -> list[bytes]:
        try:
            return self._backend.embed(inputs)
        except NoKVSlot as error:  # and nothing is retained here that could make room
            raise EdgellmError(
                f"llama.cpp finds no room in its context for a batch of {n_tokens} tokens",
                hint="serve with a larger --ctx",
            ) from error

    def _batch(self) -> list[tuple[Job, Input]]:
        """The next inputs, in turns, as many as fit; a request's inputs stay in order."""
        limits = self._backend.limits
        n_together = 1 if limits.n_chunk else limits.n_seq_max
        turns = deque((job, len(job.vectors)) for job in self._jobs)
        taken: list[tuple[Job, Input]] = []
        n_free = limits.n_batch
        while turns and len(taken) < n_together:
            job, i = turns.popleft()
            n_tokens = len(job.inputs[i].tokens)
            if taken and n_tokens > n_free:
                continue
            taken.append((job, job.inputs[i]))
            n_free -= n_tokens
            if i + 1 < len(job.inputs):
                turns.append((job, i + 1))
        return taken

    def _leave(self, jobs: Sequence[Job] | dict[Job, None]) -> None:
        for job in jobs:
            self._jobs.remove(job)

    def _answer(self, job: Job) -> Embedded | Scored:
        request_id = job.request.request_id
        told = job.n_computed, job.step_share, job.step_share_s
        if isinstance(job.request, Embed):
            return Embedded(request_id, tuple(job.vectors), *told)
        at = self._backend.score_at * FLOAT_BYTES
        scores = (array("f", vector[at : at + FLOAT_BYTES])[0] for vector in job.vectors)
        return Scored(request_id, tuple(scores), *told)
