"""What the gateway is told of requests: text that is safe to show, and how each one ended.

Messages are gathered here, and go out together when the loop says so. Every request that is queued
or runs has a stream here. Its end is told exactly once, and takes the stream away.

Whatever goes out wakes the gateway, often on a core that is computing. Where steps take a
millisecond or two that is a good part of them. So the text of a few steps goes out at once: as many
messages, but one awakening, and less late than a screen takes to show it. What somebody waits for
(a first token, an end, an answer) never waits.
"""

from collections.abc import Callable, Iterable

from edgellm.chat.events import FinishReason, PromptRead, SoFar, TokenLogprob
from edgellm.errors import BadRequest, ContextTooLong, DeadlinePassed, EdgellmError
from edgellm.runner.backend import Backend
from edgellm.runner.messages import Delta, Done, FromWorker, Generate, Noted, Rejected
from edgellm.runner.scheduler import Output
from edgellm.runner.sequence import Sequence
from edgellm.runner.stream import Stream
from edgellm.runner.text import TextStream

_HELD_S = 0.008  # that text may wait for more; half a frame of a 60 Hz screen
_PROGRESS_S = 0.1  # between two notes of how far a prompt has been read


class Telling:
    def __init__(
        self, backend: Backend, tell: Callable[[list[FromWorker]], None], clock: Callable[[], float]
    ) -> None:
        self._backend, self._tell, self._clock = backend, tell, clock
        self._streams: dict[int, Stream] = {}
        self._out: list[FromWorker] = []
        self._is_awaited = False  # somebody waits for some of it
        self._flushed_s = 0.0  # when it was due last

    def add(self, messages: Iterable[FromWorker]) -> None:
        self._out += messages
        self._is_awaited = True

    def flush(self) -> None:
        """Send what was gathered."""
        if self._out:
            out, self._out, self._is_awaited = self._out, [], False
            self._tell(out)

    def flush_if_due(self, now_s: float, step_s: float) -> None:
        """The same, unless all of it may wait for the next step, if that takes `step_s` too."""
        if self._is_awaited or now_s + step_s > self._flushed_s + _HELD_S:
            self._flushed_s = now_s
            self.flush()

    def reject(self, request_id: int, error: EdgellmError) -> None:
        hint = f" ({error.hint})" if error.hint else ""
        kind = type(error).__name__
        sizes = error.sizes if isinstance(error, ContextTooLong) else None
        words = f"{error}{hint}"
        self.add([Rejected(request_id, words, error.http_status, error.param, kind, sizes)])

    def too_late(self, request_id: int, where: str, elapsed_s: float) -> None:
        """Its client has stopped waiting, and was told nothing so far."""
        error = DeadlinePassed(
            f"the deadline passed {where}, {elapsed_s:.1f} s after the request came",
            hint="come back later, or with a later X-Request-Deadline",
        )
        self.reject(request_id, error)

    def stream(self, request: Generate, arrived_s: float) -> Stream:
        stream = Stream(TextStream(request.params.stop, request.params.n_indent), arrived_s)
        if request.params.markers:
            stream.marks = self._backend.marks(request.params.markers)
        return stream

    def open(self, request_id: int, stream: Stream) -> None:
        """It has been queued."""
        self._streams[request_id] = stream

    def started(self, sequence: Sequence, now_s: float) -> None:
        stream = self._streams[sequence.request_id]
        stream.started_s = now_s
        if sequence.params.tells_progress:
            self._prompt_read(sequence, stream, now_s)

    def read_on(self, running: Iterable[Sequence], now_s: float) -> None:
        """A step with rows of prompts is done. (The first and the last note of a prompt come from
        `started` and `show`.)"""
        for sequence in running:
            if sequence.params.tells_progress and not sequence.n_output:
                stream = self._streams[sequence.request_id]
                if now_s - stream.progress_s >= _PROGRESS_S:
                    self._prompt_read(sequence, stream, now_s)

    def _prompt_read(self, sequence: Sequence, stream: Stream, now_s: float) -> None:
        n_read = max(sequence.n_computed, sequence.n_cached)  # what was there may still come back
        elapsed_s = now_s - (stream.started_s or now_s)
        note = PromptRead(sequence.n_prompt, sequence.n_cached, n_read, elapsed_s)
        self._out.append(Noted(sequence.request_id, note))
        stream.progress_s = now_s

    def show(self, output: Output, now_s: float, stop: Callable[[], None]) -> None:
        """One more token. `stop` is called if its text ends the sequence here."""
        sequence = output.sequence
        stream = self._streams[sequence.request_id]
        if sequence.params.tells_progress and stream.first_token_s is None:
            self._prompt_read(sequence, stream, now_s)
        stream.saw_token(now_s)
        shown = ""
        if not output.silent:
            mark = stream.marks.get(output.token) if stream.marks else None
            shown = stream.text.feed(mark or self._backend.piece(output.token))
            if output.logprob:
                stream.logprobs.append(output.logprob)
            if stream.text.stopped and not sequence.finish_reason:
                stop()
        if not sequence.finish_reason:
            self._text(sequence, stream, shown)
        elif output.fault:
            self._text(sequence, stream, shown + stream.text.flush())
            del self._streams[sequence.request_id]
            self.reject(sequence.request_id, BadRequest(output.fault, param="structure"))
        else:
            reason = stream.text.ending or sequence.finish_reason
            self._end(sequence, reason, shown)

    def cancelled(self, sequence: Sequence) -> None:
        """Nobody reads any more, so what was held back isn't told."""
        self._done(sequence, self._streams.pop(sequence.request_id), "cancelled")

    def overdue(self, sequence: Sequence, now_s: float) -> None:
        """Its client has stopped waiting. Text that was written counts as an answer; without any,
        the request has failed."""
        if sequence.n_output:
            self._end(sequence, "deadline")
            return
        stream = self._streams.pop(sequence.request_id)
        was_waiting = stream.started_s is None
        where = "in the queue" if was_waiting else "while its prompt was read"
        self.too_late(sequence.request_id, where, now_s - stream.arrived_s)

    def _end(self, sequence: Sequence, reason: FinishReason, shown: str = "") -> None:
        stream = self._streams.pop(sequence.request_id)
        self._text(sequence, stream, shown + stream.text.flush(), is_last=True)
        self._done(sequence, stream, reason)

    def _text(
        self, sequence: Sequence, stream: Stream, shown: str, *, is_last: bool = False
    ) -> None:
        """Tell `shown`. At the end, also the logprobs of last tokens that added no text; but not if
        their text was cut off by a stop string."""
        is_due = is_last and stream.logprobs and not stream.text.stopped
        if shown or is_due:
            told: tuple[TokenLogprob, ...] = ()
            if stream.logprobs:
                told, stream.logprobs = tuple(stream.logprobs), []
            if sequence.params.tells_timings:
                self._out.append(Noted(sequence.request_id, _so_far(sequence, stream)))
            self._out.append(Delta(sequence.request_id, shown, stream.n_untold, told))
            self._is_awaited |= not stream.has_text
            stream.n_untold, stream.has_text = 0, True

    def _done(self, sequence: Sequence, stream: Stream, reason: FinishReason) -> None:
        done = Done(
            sequence.request_id,
            reason,
            sequence.n_prompt,
            sequence.n_cached,
            sequence.n_output,
            stream.timings(self._clock()),
            sequence.step_share,
            sequence.n_computed_here,
            sequence.n_drafted,
            sequence.n_draft_accepted,
            sequence.step_share_s,
            stream.text.stop_word if reason == "stop" else None,
        )
        self.add([done])


def _so_far(sequence: Sequence, stream: Stream) -> SoFar:
    return SoFar(
        sequence.n_prompt,
        sequence.n_cached,
        sequence.n_output,
        stream.timings_so_far(stream.last_token_s),
        sequence.n_drafted,
        sequence.n_draft_accepted,
    )
