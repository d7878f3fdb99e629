"""What binds an answer, stage by stage: a rule, or nothing until a marker comes. Pure.

The present stage sees every token, and forbids what it must. When it is through, the next one takes
over, together with that part of the last tokens which belongs to it already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgellm.chat.messages import Watch
from edgellm.runner.batch import Mask
from edgellm.runner.sampling.vocabulary import Vocabulary


class Matching(Mask, Protocol):
    """A rule's mask, which can also be tried out, and be started over."""

    def accepts(self, tokens: Sequence[int]) -> bool:
        """Takes them all, or none of them."""
        ...

    def restart(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rest:
    """What belongs to the next stage already: the end of a token, then whole tokens."""

    head: bytes = b""
    tokens: tuple[int, ...] = ()
    skips: int = 0  # stages to leave out, as they aren't needed


class Running(Protocol):
    """A stage at work. It is through when one of its methods returns a Rest."""

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

    def look_ahead(self) -> None:
        """As in Mask."""
        ...

    def apply(self, logits: Any) -> None: ...

    def accept(self, token: int) -> Rest | None: ...

    def would_accept(self, tokens: Sequence[int]) -> int:
        """As if this stage never ended."""
        ...


class Bound:
    """A rule binds the text. If it is lenient, and what was written already doesn't fit the rule,
    it binds nothing."""

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

    def look_ahead(self) -> None:
        if not self._is_off:
            self._mask.look_ahead()

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
    """Free text, until a marker comes."""

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

    def look_ahead(self) -> None:
        pass

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
        """All that was seen from there on, for the next stage."""
        while at >= len(self._seen[0][0]):
            at -= len(self._seen.pop(0)[0])
        (piece, token), *later = self._seen
        tokens = tuple(token for _, token in later)
        return Rest(tokens=(token, *tokens)) if at == 0 and token >= 0 else Rest(piece[at:], tokens)
