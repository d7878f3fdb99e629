"""What comes next if the text repeats itself. Pure, incremental, a few microseconds a token.

Texts quote: an edited file, a summary, a tool's result, code that calls what it has defined. So the
last tokens are looked up in what the sequence holds already, and what followed them there is the
guess. A guess costs nothing until a row is spent on it; so every token that is sampled is compared
with the guess for it, whether that was put into a batch or not, and each comparison is learnt from.
"""

from edgellm.runner.drafting.guessing import Chance

_SIZES = (4, 2)  # tokens that are looked up, the longer match first
_MOST_AT_ONCE = 4096  # tokens taken into the index in one step: about a millisecond
# How sure a guess is at first: if found by two tokens, by four; after 1, 3, 8 guesses in a row that
# came true at this place.
_PRIORS = (0.15, 0.5, 0.6, 0.8, 0.92)


class Lookup:
    """A Guesser that costs nothing."""

    __slots__ = ("_after", "_at", "_chance_of", "_fresh", "_n_indexed", "_n_known", "_streak")

    def __init__(self, n_known: int) -> None:
        self._after: tuple[dict[tuple[int, ...], int], ...] = tuple({} for _ in _SIZES)
        self._n_indexed = 0  # tokens whose successor is in the index
        self._n_known = n_known  # tokens that have been compared with the guess for them
        self._at: int | None = None  # where the next token is expected to have stood before
        self._fresh = 0  # the class of the first guess at this place
        self._streak = 0  # guesses in a row that came true there
        self._chance_of = [Chance(prior) for prior in _PRIORS]

    def chances(self, tokens: list[int], n_most: int) -> list[float]:
        self._compare(tokens)
        self._index(tokens)
        if self._at is None:
            self._find(tokens)
        if self._at is None:
            return []
        ratios = [one.ratio for one in self._chance_of]
        chances, chance = [], 1.0
        for streak in range(self._streak, self._streak + n_most):
            chance *= ratios[self._class(streak)]
            chances.append(chance)
        return chances

    def guess(self, tokens: list[int], n: int) -> tuple[int, ...]:
        """Beyond the end of the sequence it starts over from where it was found: a loop goes on."""
        assert self._at is not None
        found = tokens[self._at : self._at + n]
        period = len(found)
        return tuple(found[i % period] for i in range(n))

    def learn(self, n_guessed: int, n_right: int) -> None:
        """Nothing to do: `chances` compares every token that comes."""

    def refused(self) -> None:
        """Nothing was spent, so nothing is learnt."""

    def _compare(self, tokens: list[int]) -> None:
        for i in range(self._n_known, len(tokens)):
            if self._at is None:
                break
            is_right = tokens[self._at] == tokens[i]
            self._chance_of[self._class(self._streak)].learn(is_right)
            self._at = self._at + 1 if is_right else None
            self._streak += 1
        self._n_known = len(tokens)

    def _class(self, streak: int) -> int:
        if not streak:
            return self._fresh
        return 2 if streak < 3 else 3 if streak < 8 else 4

    def _index(self, tokens: list[int]) -> None:
        begin = self._n_indexed
        end = min(len(tokens) - 1, begin + _MOST_AT_ONCE)
        if end == begin + 1 >= max(_SIZES):  # nearly always: a token has come
            for size, after in zip(_SIZES, self._after, strict=True):
                after[tuple(tokens[end - size : end])] = end
            self._n_indexed = end
            return
        for size, after in zip(_SIZES, self._after, strict=True):
            first = max(0, begin - size + 1)
            part = tokens[first:end]
            grams = zip(*(part[i:] for i in range(size)), strict=False)
            after.update(zip(grams, range(first + size, end + 1), strict=False))
        self._n_indexed = max(begin, end)

    def _find(self, tokens: list[int]) -> None:
        for i, (size, after) in enumerate(zip(_SIZES, self._after, strict=True)):
            self._at = after.get(tuple(tokens[-size:]))
            if self._at is not None:
                self._fresh, self._streak = len(_SIZES) - 1 - i, 0
                return
