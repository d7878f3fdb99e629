"""How far one sequence trusts the draft model. Pure.

Unlike looked-up guesses, these are not free, and can be judged only by asking for them. So a
sequence that has lost by them rests for a while, then tries again with a fresh mind, less and less
often.
"""

from edgellm.runner.batch import DRAFTED
from edgellm.runner.drafting.guessing import Chance

_PRIOR = 0.7
_FIRST_REST, _LONGEST_REST = 16, 512  # tokens
_ENOUGH = 32  # right guesses after which a rest is short again


class Trust:
    """A Guesser. It doesn't know the tokens: the backend asks the model for them."""

    __slots__ = ("_chance", "_length", "_n_right", "_next_rest", "_until")

    def __init__(self) -> None:
        self._chance = Chance(_PRIOR)
        self._length = 0  # of the sequence when it was last asked about
        self._until = 0  # the length of the sequence at which it tries again
        self._next_rest = _FIRST_REST
        self._n_right = 0  # since the last rest

    def chances(self, tokens: list[int], n_most: int) -> list[float]:
        self._length = len(tokens)
        if self._length < self._until:
            return []
        if self._until:
            self._until, self._chance = 0, Chance(_PRIOR)
        return [self._chance.ratio**n for n in range(1, n_most + 1)]

    def guess(self, tokens: list[int], n: int) -> tuple[int, ...]:
        return (DRAFTED,) * n

    def learn(self, n_guessed: int, n_right: int) -> None:
        for i in range(min(n_right + 1, n_guessed)):
            self._chance.learn(i < n_right)
        self._n_right += n_right

    def refused(self) -> None:
        if self._chance.ratio >= _PRIOR:
            return  # it isn't to blame: other sequences took the rows
        rest = _FIRST_REST if self._n_right >= _ENOUGH else self._next_rest
        self._until, self._n_right = self._length + rest, 0
        self._next_rest = min(2 * rest, _LONGEST_REST)
