"""The stages of a model's thoughts, which come before what binds its answer. Pure."""

import codecs
import math
from collections.abc import Sequence
from typing import Any

from edgellm.chat.messages import Thinking
from edgellm.runner.sampling.stages import Bound, Rest, Running
from edgellm.runner.sampling.vocabulary import Vocabulary

_MAX_GAP = 2  # tokens of white space between the thoughts and a structure


def thinking_stages(
    thinking: Thinking, vocabulary: Vocabulary, following: Sequence[Running]
) -> list[Running]:
    next_one = following[0] if following else None
    bound = next_one if isinstance(next_one, Bound) else None
    inside = Inside(thinking, vocabulary, must_end=bound is not None)
    gap = Gap(vocabulary, bound)
    if thinking.opened:
        return [inside, gap]
    return [Opening(thinking.start, vocabulary, bound), inside, gap]


class Opening:
    """The first text: either thoughts begin, or what would follow them does, which may be bound by
    a rule."""

    complete = False

    def __init__(self, start: str, vocabulary: Vocabulary, bound: Bound | None) -> None:
        self._start, self._vocabulary, self._bound = start.encode(), vocabulary, bound
        self._spelling = vocabulary.tokens(start)
        self._text = b""
        self._tokens: list[int] = []
        self._is_bounds = True  # the text may still be what follows the thoughts

    @property
    def fault(self) -> str | None:
        return self._bound.fault if self._bound else None

    @property
    def took_s(self) -> float:
        return self._bound.took_s if self._bound else 0.0

    def begin(self, rest: Rest) -> Rest | None:
        return None

    def look_ahead(self) -> None:
        if self._bound and self._is_bounds:
            self._bound.look_ahead()

    def apply(self, logits: Any) -> None:
        if not self._bound:
            return
        n = len(self._tokens)
        opening = self._spelling[n : n + 1] if self._tokens == self._spelling[:n] else []
        kept = logits[opening]
        if self._is_bounds:
            self._bound.apply(logits)
        else:
            logits.fill(-math.inf)
        logits[opening] = kept

    def accept(self, token: int) -> Rest | None:
        self._text += self._vocabulary.piece(token)
        self._tokens.append(token)
        if self._bound and self._is_bounds:
            self._is_bounds = self._bound.try_accept(token)
        words = self._text.lstrip()
        if words.startswith(self._start):
            if self._bound:
                self._bound.restart()
            return Rest(head=words[len(self._start) :])
        if self._start.startswith(words):
            return None
        return Rest(tokens=() if self._bound else tuple(self._tokens), skips=2)

    def would_accept(self, tokens: Sequence[int]) -> int:
        """Read as thoughts, or as what follows them, whichever goes further."""
        n = len(self._tokens)
        opening = self._spelling[n:] if self._tokens == self._spelling[:n] else []
        as_thoughts = _n_common(tokens, opening)
        if not self._bound or (opening and as_thoughts == len(opening)):
            return len(tokens)
        return max(as_thoughts, self._bound.would_accept(tokens) if self._is_bounds else 0)


class Inside:
    """Thoughts, up to their end marker. When their budget is used up, that is forced."""

    complete = False
    fault = None
    took_s = 0.0

    def __init__(self, thinking: Thinking, vocabulary: Vocabulary, must_end: bool) -> None:
        self._vocabulary, self._must_end = vocabulary, must_end
        self._end = thinking.end.encode()
        self._spelling = vocabulary.tokens(thinking.end)
        self._n_left = thinking.budget  # tokens
        self._forced: list[int] = []
        self._text = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def begin(self, rest: Rest) -> Rest | None:
        self._text = rest.head
        self._watch_budget()
        return self._ended()

    def look_ahead(self) -> None:
        pass

    def apply(self, logits: Any) -> None:
        if self._forced:
            kept = max(logits[self._forced[0]], 0.0)
            logits.fill(-math.inf)
            logits[self._forced[0]] = kept
        elif self._must_end:
            logits[self._vocabulary.ends] = -math.inf

    def accept(self, token: int) -> Rest | None:
        piece = self._vocabulary.piece(token)
        self._text = self._text[-len(self._end) :] + piece
        self._decoder.decode(piece)
        if self._forced:
            self._forced.pop(0)
        elif self._n_left is not None:
            self._n_left -= 1
            self._watch_budget()
        return self._ended()

    def would_accept(self, tokens: Sequence[int]) -> int:
        if self._forced:
            return _n_common(tokens, self._forced)
        ends = self._vocabulary.ends if self._must_end else []
        return next((i for i, token in enumerate(tokens) if token in ends), len(tokens))

    def _watch_budget(self) -> None:
        is_whole = not self._decoder.getstate()[0]  # not inside a character
        if self._n_left is not None and self._n_left <= 0 and is_whole:
            self._forced = list(self._spelling)

    def _ended(self) -> Rest | None:
        at = self._text.find(self._end)
        return Rest(head=self._text[at + len(self._end) :]) if at >= 0 else None


class Gap:
    """White space between thoughts and a structure, whose rule knows nothing of it."""

    complete = False
    fault = None

    def __init__(self, vocabulary: Vocabulary, bound: Bound | None) -> None:
        self._vocabulary, self._bound = vocabulary, bound
        blanks = (vocabulary.token("\n\n"), vocabulary.token("\n"))
        self._blanks = [token for token in blanks if token is not None]
        self._n_left = _MAX_GAP

    @property
    def took_s(self) -> float:
        return self._bound.took_s if self._bound else 0.0

    def begin(self, rest: Rest) -> Rest | None:
        if not self._bound:
            return Rest(head=rest.head)
        text = rest.head.lstrip()
        return Rest(head=text) if text else None

    def look_ahead(self) -> None:
        if self._bound:
            self._bound.look_ahead()

    def apply(self, logits: Any) -> None:
        assert self._bound
        kept = logits[self._blanks]
        self._bound.apply(logits)
        if self._n_left:
            logits[self._blanks] = kept

    def accept(self, token: int) -> Rest | None:
        if token in self._blanks and self._n_left:
            self._n_left -= 1
            return None
        return Rest(tokens=(token,))

    def would_accept(self, tokens: Sequence[int]) -> int:
        assert self._bound
        blank = next(
            (i for i, token in enumerate(tokens) if token not in self._blanks), len(tokens)
        )
        blank = min(blank, self._n_left)
        return blank + self._bound.would_accept(tokens[blank:])


def _n_common(first: Sequence[int], second: Sequence[int]) -> int:
    n = 0
    while n < min(len(first), len(second)) and first[n] == second[n]:
        n += 1
    return n
