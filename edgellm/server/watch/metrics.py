"""What /metrics says, in Prometheus' words: what requests took, counted as they end.

Latencies are as the client's socket sees them, the queue time is the worker's own. Gauges are
not kept here: they are read from the Status at each scrape (live.py knows it, gauges.py names
it). The shapes are vLLM's, with our prefix.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter

from edgellm.chat.events import Finished, Note, TextDelta, Told
from edgellm.errors import BadRequest, DeadlinePassed, EdgellmError, Overloaded
from edgellm.server.envelope import reason_of, status_of
from edgellm.server.watch.histograms import Buckets, Histogram

# From a warm cache on a GPU (2 ms) to a long prompt on a small board (minutes).
_TTFT_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
_ITL_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_E2E_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_QUEUE_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80)


class Metrics:
    """One registry for one server: the library's global one would be shared by every test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._ttft = self._histogram(
            "time_to_first_token", "From request to first text of an answer", _TTFT_S
        )
        self._itl = self._histogram(
            "inter_token_latency", "From one piece of a streamed answer to the next", _ITL_S
        )
        self._e2e = self._histogram(
            "e2e_request_latency", "From request to the end of its answers", _E2E_S
        )
        self._queue = self._histogram(
            "request_queue_time", "In the worker, before the first row in a batch", _QUEUE_S
        )
        self._prompt = self._counter("prompt_tokens", "Prompt tokens asked for")
        self._cached = self._counter("cached_tokens", "Of these, found in the prefix cache")
        self._generated = self._counter("generated_tokens", "Tokens written")
        self._drafted = self._counter("draft_tokens", "Guessed tokens that were computed")
        self._accepted = self._counter("draft_tokens_accepted", "Of these, those that came true")
        self._joules = self._counter("request_energy_joules", "Of answers whose joules are known")
        self._requests = Counter(
            "edgellm_requests",
            "Requests, by how they ended",
            ("model", "outcome"),
            registry=self.registry,
        )
        self._refused = Counter(
            "edgellm_refused_requests",
            "Requests that got an error for an answer, or no end of one, by the reason",
            ("reason",),
            registry=self.registry,
        )

    def refused(self, error: Exception) -> None:
        """Once for each request, wherever it ended; one that was begun counts as asked for too."""
        self._refused.labels(reason_of(error)).inc()

    @contextmanager
    def at_the_door(self) -> Iterator[None]:
        """Around what may turn a request away before it is read which model it asks for."""
        try:
            yield
        except EdgellmError as error:
            self._requests.labels("", _outcome(error)).inc()
            raise

    @contextmanager
    def watch(self, model: str, n_answers: int, *, is_streamed: bool = True) -> Iterator["Watch"]:
        """Around one request. However it ends, it is counted once, with its outcome. One without an
        answer to write (embeddings, ranks) says when all was `read`. Of an answer that isn't
        streamed nobody sees the gaps, and those that the pace lets be longer would hide others'."""
        itl = self._itl.of(model) if is_streamed else None
        watch = Watch(self._ttft.of(model), itl, began_s=time.perf_counter())
        outcome = "cancelled"  # what is left when the client's side of it is closed
        try:
            yield watch
        except EdgellmError as error:
            outcome = _outcome(error)
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            has_ended = len(watch.finished) == n_answers
            if has_ended:  # a client may hang up on the last byte
                outcome = watch.finished[-1].reason
            if watch.only_read:
                has_ended, outcome = True, watch.only_read.reason
                self._tokens_of(watch.only_read, model)
            self._requests.labels(model, outcome).inc()
            if has_ended:  # to be refused takes no time, and would make the others look fast
                self._e2e.of(model).observe(time.perf_counter() - watch.began_s)
            for finished in watch.finished:
                self._queue.of(model).observe(finished.timings.queue_s)
                self._tokens_of(finished, model)
                self._cached.labels(model).inc(finished.n_cached)
                self._generated.labels(model).inc(finished.n_output)
                self._drafted.labels(model).inc(finished.n_drafted)
                self._accepted.labels(model).inc(finished.n_draft_accepted)

    def _tokens_of(self, finished: Finished, model: str) -> None:
        """That went in, and what all of it took."""
        self._prompt.labels(model).inc(finished.n_prompt)
        if finished.energy_j is not None:
            self._joules.labels(model).inc(finished.energy_j)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"edgellm_{name}_seconds", help, buckets, self.registry)

    def _counter(self, name: str, help: str) -> Counter:
        return Counter(f"edgellm_{name}", help, ("model",), registry=self.registry)


class Watch:
    """The clock of one request, which may have several answers. On the path of every token."""

    __slots__ = ("_itl", "_last_s", "_ttft", "began_s", "finished", "heard", "only_read")

    def __init__(self, ttft: Buckets, itl: Buckets | None, *, began_s: float) -> None:
        self._ttft, self._itl = ttft, itl
        self._last_s: dict[int, float] = {}  # by answer
        self.began_s = began_s
        self.finished: list[Finished] = []
        self.heard: dict[int, int] = {}  # of answers that haven't ended: their tokens so far
        self.only_read: Finished | None = None  # of a request that nothing is written for

    def read(self, finished: Finished) -> None:
        self.only_read = finished

    def saw(self, index: int, event: Told) -> None:
        if isinstance(event, TextDelta):
            self.heard[index] = self.heard.get(index, 0) + event.n_tokens
        elif isinstance(event, Finished):
            self.finished.append(event)
            self.heard.pop(index, None)
            return
        elif isinstance(event, Note):
            return
        now_s = time.perf_counter()
        last_s = self._last_s.get(index)
        if last_s is None:
            self._ttft.observe(now_s - self.began_s)
        elif self._itl is not None:
            self._itl.observe(now_s - last_s)
        self._last_s[index] = now_s


def _outcome(error: EdgellmError) -> str:
    if isinstance(error, Overloaded) or status_of(error) == 429:
        return "rejected"
    if isinstance(error, BadRequest) or status_of(error) == 400:
        return "refused"
    if status_of(error) == DeadlinePassed.http_status:
        return "expired"
    return "failed"
