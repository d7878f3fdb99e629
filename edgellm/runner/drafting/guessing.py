"""Who guesses a sequence's next tokens, and how often such guesses come true. Pure."""

from typing import Protocol

_DECAY = 0.95  # of what was learnt, with each guess that is checked
_PRIOR_WEIGHT = 4.0  # what is believed before anything is seen counts like so many guesses


class Guesser(Protocol):
    """One sequence's. `tokens` is its own list, prompt and output, and grows between calls."""

    def chances(self, tokens: list[int], n_most: int) -> list[float]:
        """Of each of the next tokens: that it is guessed right, and all before it too."""
        ...

    def guess(self, tokens: list[int], n: int) -> tuple[int, ...]:
        """The next `n` tokens, after `chances` said what they are worth."""
        ...

    def learn(self, n_guessed: int, n_right: int) -> None:
        """So many guesses were put into a step, and the first `n_right` came true."""
        ...

    def refused(self) -> None:
        """No guess of these chances was worth a row."""


class Chance:
    """How often something comes true, the last times counting most."""

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
