"""Who guesses a sequence's next tokens, and how often such guesses come true. Pure."""

from typing import Protocol

_DECAY = 0.95  # of what was learnt is kept with each guess that is checked
_PRIOR_WEIGHT = 4.0  # the first belief counts like so many guesses


class Guesser(Protocol):
    """One for each sequence. `tokens` is the sequence's own list, prompt and output, which grows
    between calls."""

    def chances(self, tokens: list[int], n_most: int) -> list[float]:
        """For each of the next tokens, at most `n_most`: the chance that it and all before it are
        guessed right."""
        ...

    def guess(self, tokens: list[int], n: int) -> tuple[int, ...]:
        """The next `n` tokens, after `chances` said what they are worth."""
        ...

    def learn(self, n_guessed: int, n_right: int) -> None:
        """`n_guessed` guesses were put into a step, and the first `n_right` came true."""
        ...

    def refused(self) -> None:
        """By the chances that it gave, no guess was worth a row."""


class Chance:
    """How often something comes true; the latest times count most."""

    __slots__ = ("_n_right", "_n_seen", "_prior")

    def __init__(self, prior: float) -> None:
        self._prior = prior
        self._n_right = self._n_seen = 0.0

    @property
    def ratio(self) -> float:
        weight = self._n_seen + _PRIOR_WEIGHT
        return (self._n_right + self._prior * _PRIOR_WEIGHT) / weight

    def learn(self, is_right: bool) -> None:
        self._n_seen = self._n_seen * _DECAY + 1
        self._n_right = self._n_right * _DECAY + is_right
