"""The text of an answer, as it comes, to text, thoughts and tool calls. Sans-I/O."""

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby

from edgellm.chat.events import (
    Finished,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    Told,
    ToolCallDelta,
)
from edgellm.chat.source import Reading, Source
from edgellm.chat.thoughts import Thoughts
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import Format


class Listener:
    """The parser of one answer: `hear` takes its events in order, and returns them taken apart.

    Where the reading ends before the answer does, the rest is plain text.
    """

    def __init__(self, format: Format, calls: Calls, thoughts: Thoughts) -> None:
        self._source, self._calls, self._tokens = Source(), calls, _Tokens()
        self._reading: Reading[None] = format.listen(self._source, calls, thoughts)
        self._is_over = False
        self._n_reasoning = 0  # tokens

    @property
    def n_reread(self) -> int:
        """Characters that were read again, because the call that they seemed to begin was none."""
        return self._source.n_reread

    def hear(self, event: Told) -> list[Told]:
        match event:
            case TextDelta() if self._is_over:
                return [event]
            case TextDelta(text):
                self._source.add(text)
                self._tokens.add(event)
                return self._heard()
            case Finished():
                self._source.close()
                told = [] if self._is_over else self._heard()
                told += self._tokens.last()
                return [*told, self._ending(event)]
            case _:
                return [event]

    def _ending(self, finished: Finished) -> Finished:
        """A model that stops behind a whole call wants it answered. But a stop string may end an
        answer in the midst of a call: that one must not be acted on."""
        calls = self._calls
        called = finished.reason == "stop" and calls.is_whole
        return replace(
            finished,
            reason="tool_calls" if called else finished.reason,
            n_reasoning=self._n_reasoning,
            is_in_call=calls.n > 0 and not calls.is_whole,
        )

    def _heard(self) -> list[Told]:
        """What has been understood by now, with the pieces of one text or call joined."""
        told: list[Told] = []
        for event in self._reading:
            if event is None:
                break
            told.append(self._with_tokens(event))
        else:
            self._is_over = True
            if rest := self._source.rest():
                start = self._source.n_taken
                told.append(TextDelta(rest, *self._tokens.take(start, start + len(rest))))
        return list(_joined(told))

    def _with_tokens(self, event: Told) -> Told:
        """The event with the tokens of its text. What the reading itself puts between two texts
        has none; those of thoughts are counted, but not shown."""
        if not isinstance(event, TextDelta | ReasoningDelta):
            return event
        end, n_own = self._source.n_taken, self._source.n_own(event.text)
        if isinstance(event, ReasoningDelta):
            self._n_reasoning += self._tokens.pass_over(end - n_own, end)
            return event
        tokens = self._tokens.take(end - n_own, end) if n_own else (0, ())
        return TextDelta(event.text, *tokens)


class _Tokens:
    """The tokens of an answer that belong to no event yet, by their places in its text.

    Only text shows its tokens: thoughts, calls and the marks around them don't.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, TextDelta]] = deque()  # with where their text ends
        self._end = 0
        self._told = 0  # where the text that was last told ends

    def add(self, delta: TextDelta) -> None:
        self._end += len(delta.text)
        self._waiting.append((self._end, delta))

    def take(self, start: int, end: int) -> tuple[int, tuple[TokenLogprob, ...]]:
        """How many tokens the text from `start` to `end` has, and their probabilities. A token
        belongs where it begins; those before `start` are forgotten.
        """
        taken = self._taken(start, end)
        self._told = end
        shown = tuple(chain.from_iterable(one.logprobs for one in taken))
        return sum(one.n_tokens for one in taken), shown

    def pass_over(self, start: int, end: int) -> int:
        """How many tokens are from `start` to `end`, where no text of the answer is."""
        return sum(one.n_tokens for one in self._taken(start, end))

    def _taken(self, start: int, end: int) -> list[TextDelta]:
        taken: list[TextDelta] = []
        while self._waiting and self._begin() < end:
            at, delta = self._waiting.popleft()
            if at > start or (at == start and not delta.text):  # the first half of a character
                taken.append(delta)
        return taken

    def last(self) -> list[Told]:
        """At the answer's end: tokens behind its text that are half a character, and show none."""
        if self._told != self._end:
            return []
        halves = [one for at, one in self._waiting if at == self._end and not one.text]
        shown = tuple(chain.from_iterable(one.logprobs for one in halves))
        return [TextDelta("", sum(one.n_tokens for one in halves), shown)] if halves else []

    def _begin(self) -> int:
        """Where the text of the first that waits begins."""
        at, delta = self._waiting[0]
        return at - len(delta.text)


def _joined(told: Sequence[Told]) -> Iterator[Told]:
    """Each run of pieces as one event: joined once, since a call's arguments come in many."""
    for _, run in groupby(told, _whole):
        first, *others = run
        words = "".join(map(_words, (first, *others)))
        match first:
            case TextDelta() if others:
                texts = [one for one in (first, *others) if isinstance(one, TextDelta)]
                shown = tuple(chain.from_iterable(one.logprobs for one in texts))
                yield TextDelta(words, sum(one.n_tokens for one in texts), shown)
            case ReasoningDelta() if others:
                yield ReasoningDelta(words)
            case ToolCallDelta() if others:
                yield replace(first, arguments=words)
            case _:
                yield first


def _whole(event: Told) -> Hashable:
    """Equal for pieces that belong together."""
    match event:
        case TextDelta() | ReasoningDelta():
            return type(event).__name__
        case ToolCallDelta(index, None):
            return ToolCallDelta, index
        case _:
            return id(event)


def _words(event: Told) -> str:
    match event:
        case TextDelta(words) | ReasoningDelta(words) | ToolCallDelta(_, _, _, words):
            return words
        case _:
            return ""
