"""An answer's text, as it comes, to what is said in it: text, thoughts, tool calls. Sans-I/O."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from edgellm.chat.events import (
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from edgellm.chat.source import Reading, Source
from edgellm.chat.thoughts import Thoughts
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import Format


class Listener:
    """One answer's. `hear` its events in their order: the same ones come out, told apart.

    A reading that ends before the answer does has found that the rest is plain text.
    """

    def __init__(self, format: Format, calls: Calls, thoughts: Thoughts) -> None:
        self._source, self._calls = Source(), calls
        self._reading: Reading[None] = format.listen(self._source, calls, thoughts)
        self._is_over = False
        self._n_tokens = 0  # that no event has told of yet
        self._logprobs: list[TokenLogprob] = []

    @property
    def n_reread(self) -> int:
        """Characters that were heard again, since what they seemed to begin broke off."""
        return self._source.n_reread

    def hear(self, event: Event) -> list[Event]:
        match event:
            case TextDelta() if self._is_over:
                return [event]
            case TextDelta(text, n_tokens, logprobs):
                self._n_tokens += n_tokens
                self._logprobs += logprobs
                self._source.add(text)
                return self._heard()
            case Finished():
                self._source.close()
                told = [] if self._is_over else self._heard()
                called = event.reason == "stop" and self._calls.n > 0
                return [*told, replace(event, reason="tool_calls") if called else event]
            case _:
                return [event]

    def _heard(self) -> list[Event]:
        """What has been understood by now; what came in pieces is put together again."""
        told: list[Event] = []
        for event in self._reading:
            if event is None:
                break
            told.append(event)
        else:
            self._is_over = True
            if rest := self._source.rest():
                told.append(TextDelta(rest))
        return [self._with_tokens(event) for event in _joined(told)]

    def _with_tokens(self, event: Event) -> Event:
        """Shown tokens' probabilities are those of the text; thoughts and calls have none."""
        n_tokens, self._n_tokens = self._n_tokens, 0
        logprobs, self._logprobs = tuple(self._logprobs), []
        return TextDelta(event.text, n_tokens, logprobs) if isinstance(event, TextDelta) else event


def _joined(told: Sequence[Event]) -> Iterator[Event]:
    """Each run of pieces as one: put together once, since every escape may be a piece."""
    for _, run in groupby(told, _whole):
        first, *others = run
        words = "".join(map(_words, (first, *others)))
        match first:
            case TextDelta() | ReasoningDelta() if others:
                yield replace(first, text=words)
            case ToolCallDelta() if others:
                yield replace(first, arguments=words)
            case _:
                yield first


def _whole(event: Event) -> Hashable:
    """The same for pieces of the same whole."""
    match event:
        case TextDelta() | ReasoningDelta():
            return type(event).__name__
        case ToolCallDelta(index, None):
            return ToolCallDelta, index
        case _:
            return id(event)


def _words(event: Event) -> str:
    match event:
        case TextDelta(words) | ReasoningDelta(words) | ToolCallDelta(_, _, _, words):
            return words
        case _:
            return ""
