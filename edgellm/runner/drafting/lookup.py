"""What comes next if the text repeats itself. Pure, incremental, a few microseconds a token.

Texts quote: an edited file, a summary, a tool's result, code that calls what it defined. So the
last tokens are looked up in what the sequence holds already, and what followed them there is the
guess. How often such guesses come true is learnt from every token that is sampled, also from those
that were guessed but never put into a batch: a guess costs nothing until a row is spent on it.
"""

from edgellm.runner.drafting.guessing import Chance

_SIZES = (4, 2)  # tokens that are looked up, the longer match first
_MOST_AT_ONCE = 4096  # tokens taken into the index in one step: about a millisecond
# How sure a guess is before anything was seen: found by two tokens, by four; then by how many
# guesses before it came true there (from 1, 3, 8 on).
_PRIORS = (0.15, 0.5, 0.6, 0.8, 0.92)


class Lookup:
    """A Guesser, see there."""

    __slots__ = ("_after", "_at", "_chance_of", "_fresh", "_n_indexed", "_n_known", "_streak")

    def __init__(self, n_known: int) -> None:
        self._after: tuple[dict[tuple[int, ...], int], ...] = tuple({} for _ in _SIZES)
        self._n_indexed = 0  # tokens whose successor is in the index
        self._n_known = n_known  # tokens that were compared with what was guessed
        self._at: int | None = None  # where the next token stood the last time
        self._fresh = 0  # how sure the first guess of this place was
        self._streak = 0  # guesses that have come true there
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
        """A loop is followed round."""
        assert self._at is not None
        found = tokens[self._at : self._at + n]
        period = len(found)
        return tuple(found[i % period] for i in range(n))

    def learn(self, n_guessed: int, n_right: int) -> None:
        """Every token that comes is compared anyhow, see `chances`."""

    def refused(self) -> None:
        """Nothing was spent."""

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
