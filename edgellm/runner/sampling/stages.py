"""Structure that begins later: after thoughts, or where a tool call begins (chat/messages.py).

A stage sees every token and forbids what it must. When it is through, the next one takes over,
with what of the last tokens was its own already.
"""

import codecs
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgellm.chat.messages import Rule, Stage, Thinking, Watch
from edgellm.runner.batch import Mask
from edgellm.runner.sampling.vocabulary import Vocabulary

_MAX_GAP = 2  # tokens of white space between thoughts and a structure


class Matching(Mask, Protocol):
    """A rule's mask, that can be tried and begun again."""

    def accepts(self, tokens: Sequence[int]) -> bool:
        """Takes them all, or none of them."""
        ...

    def restart(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rest:
    """What is the next stage's already: the end of a token, then whole tokens."""

    head: bytes = b""
    tokens: tuple[int, ...] = ()
    skips: int = 0  # stages that are not needed


class Running(Protocol):
    """A stage at work. Where it returns a Rest, it is through."""

    @property
    def complete(self) -> bool:
        """Nothing can follow."""
        ...

    @property
    def fault(self) -> str | None: ...

    @property
    def took_s(self) -> float:
        """As in Mask."""
        ...

    def begin(self, rest: Rest) -> Rest | None: ...

    def apply(self, logits: Any) -> None: ...

    def accept(self, token: int) -> Rest | None: ...

    def would_accept(self, tokens: Sequence[int]) -> int:
        """As if this stage never ended."""
        ...


class StagedMask:
    def __init__(
        self, stages: Sequence[Stage], vocabulary: Vocabulary, mask_of: Callable[[Rule], Matching]
    ) -> None:
        self._stages: list[Running] = []
        for i in reversed(range(len(stages))):
            match stages[i]:
                case Thinking() as thinking:
                    self._stages[:0] = _thinking(thinking, vocabulary, self._stages)
                case Watch() as watch:
                    self._stages.insert(0, Watching(watch, vocabulary))
                case rule:
                    is_lenient = i > 0 and isinstance(stages[i - 1], Watch)
                    self._stages.insert(0, Bound(mask_of(rule), vocabulary, is_lenient))
        self._go_on(Rest())

    @property
    def complete(self) -> bool:
        return len(self._stages) == 1 and self._stages[0].complete

    @property
    def fault(self) -> str | None:
        return self._stages[0].fault if self._stages else None

    @property
    def took_s(self) -> float:
        return self._stages[0].took_s if self._stages else 0.0

    def apply(self, logits: Any) -> None:
        if self._stages:
            self._stages[0].apply(logits)

    def accept(self, token: int) -> None:
        if self._stages and (rest := self._stages[0].accept(token)) and not self.complete:
            del self._stages[: 1 + rest.skips]
            self._go_on(rest)

    def would_accept(self, tokens: Sequence[int]) -> int:
        return self._stages[0].would_accept(tokens) if self._stages else len(tokens)

    def _go_on(self, rest: Rest) -> None:
        while self._stages and (left := self._stages[0].begin(rest)) and not self.complete:
            rest = left
            del self._stages[: 1 + rest.skips]


class Bound:
    """A rule's mask. If it is lenient and what came before doesn't fit, it binds nothing."""

    def __init__(self, mask: Matching, vocabulary: Vocabulary, is_lenient: bool) -> None:
        self._mask, self._vocabulary = mask, vocabulary
        self._is_lenient, self._is_off = is_lenient, False

    @property
    def complete(self) -> bool:
        return not self._is_off and self._mask.complete

    @property
    def fault(self) -> str | None:
        return None if self._is_off else self._mask.fault

    @property
    def took_s(self) -> float:
        return 0.0 if self._is_off else self._mask.took_s

    def try_accept(self, token: int) -> bool:
        return self._mask.accepts([token])

    def restart(self) -> None:
        self._mask.restart()

    def begin(self, rest: Rest) -> Rest | None:
        tokens = [*self._vocabulary.spelled(rest.head), *rest.tokens]
        fits = self._mask.accepts(tokens)
        self._is_off = self._is_lenient and not fits
        return Rest() if self.complete else None

    def apply(self, logits: Any) -> None:
        if not self._is_off:
            self._mask.apply(logits)

    def accept(self, token: int) -> Rest | None:
        if not self._is_off:
            self._mask.accept(token)
        return Rest() if self.complete else None

    def would_accept(self, tokens: Sequence[int]) -> int:
        return len(tokens) if self._is_off else self._mask.would_accept(tokens)


class Watching:
    """Free text, up to a marker."""

    complete = False
    fault = None
    took_s = 0.0

    def __init__(self, watch: Watch, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._markers = [marker.encode() for marker in watch.markers]
        self._at_start = [marker.encode() for marker in watch.at_start]
        self._longest = max(map(len, self._markers), default=0)
        self._is_at_start = bool(watch.at_start)
        self._seen: list[tuple[bytes, int]] = []  # the last pieces, with their tokens if whole

    def begin(self, rest: Rest) -> Rest | None:
        self._seen = [(rest.head, -1)] if rest.head else []
        for i, token in enumerate(rest.tokens):
            if found := self.accept(token):
                return Rest(found.head, (*found.tokens, *rest.tokens[i + 1 :]))
        return None

    def apply(self, logits: Any) -> None:
        pass

    def accept(self, token: int) -> Rest | None:
        self._seen.append((self._vocabulary.piece(token), token))
        text = b"".join(piece for piece, _ in self._seen)
        at = self._found(text)
        if at is not None:
            return self._from(at)
        while not self._is_at_start and len(text) - len(self._seen[0][0]) > self._longest:
            text = text[len(self._seen.pop(0)[0]) :]
        return None

    def would_accept(self, tokens: Sequence[int]) -> int:
        return len(tokens)

    def _found(self, text: bytes) -> int | None:
        """Where the first marker begins."""
        found = [at for marker in self._markers if (at := text.find(marker)) >= 0]
        if self._is_at_start:
            firsts = [(text.find(marker), marker) for marker in self._at_start]
            found += [at for at, _ in firsts if at >= 0 and not text[:at].strip()]
            words = text.lstrip()
            self._is_at_start = any(m.lstrip().startswith(words) for m in self._at_start)
        return min(found, default=None)

    def _from(self, at: int) -> Rest:
        """What was seen from there on."""
        while at >= len(self._seen[0][0]):
            at -= len(self._seen.pop(0)[0])
        (piece, token), *later = self._seen
        tokens = tuple(token for _, token in later)
        return Rest(tokens=(token, *tokens)) if at == 0 and token >= 0 else Rest(piece[at:], tokens)


class Opening:
    """The first text: the start of thoughts, or what follows them, which may forbid all else."""

    complete = False

    def __init__(self, start: str, vocabulary: Vocabulary, bound: Bound | None) -> None:
        self._start, self._vocabulary, self._bound = start.encode(), vocabulary, bound
        self._spelling = vocabulary.tokens(start)
        self._text = b""
        self._tokens: list[int] = []
        self._is_bounds = True  # whether it may still be what follows

    @property
    def fault(self) -> str | None:
        return self._bound.fault if self._bound else None

    @property
    def took_s(self) -> float:
        return self._bound.took_s if self._bound else 0.0

    def begin(self, rest: Rest) -> Rest | None:
        return None

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
        """As thoughts, or as what follows them, whichever goes further."""
        n = len(self._tokens)
        opening = self._spelling[n:] if self._tokens == self._spelling[:n] else []
        as_thoughts = _n_common(tokens, opening)
        if not self._bound or (opening and as_thoughts == len(opening)):
            return len(tokens)
        return max(as_thoughts, self._bound.would_accept(tokens) if self._is_bounds else 0)


class Inside:
    """Thoughts, up to their end. It is written for the model when the budget is used up."""

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
    """White space after thoughts, which no rule of the structure's knows."""

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


def _thinking(
    thinking: Thinking, vocabulary: Vocabulary, following: Sequence[Running]
) -> list[Running]:
    next_one = following[0] if following else None
    bound = next_one if isinstance(next_one, Bound) else None
    inside = Inside(thinking, vocabulary, must_end=bound is not None)
    gap = Gap(vocabulary, bound)
    if thinking.opened:
        return [inside, gap]
    return [Opening(thinking.start, vocabulary, bound), inside, gap]
