"""Whether steps with guesses really make more tokens a second than steps without. Pure.

What a step with guesses should take is worked out beforehand, from what others took. Where that is
wrong (a machine with other things to do, kernels with moods) this notices by what came out, and
lets guesses rest: 64 steps, then twice as many each time they lose again.
"""

from dataclasses import dataclass, field

_KEEP = 0.97  # of what was seen, with each step of the kind
_ENOUGH = 12  # steps of a kind before it is judged
_FIRST_REST, _LONGEST_REST = 64, 1024  # steps


@dataclass(slots=True)
class Tally:
    n_steps: int = 0
    n_tokens: float = 0.0
    seconds: float = 0.0

    def add(self, n_tokens: int, seconds: float) -> None:
        self.n_steps += 1
        self.n_tokens = self.n_tokens * _KEEP + n_tokens
        self.seconds = self.seconds * _KEEP + seconds

    @property
    def tok_s(self) -> float:
        return self.n_tokens / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Outcome:
    """Of steps of one number of sequences."""

    plain: Tally = field(default_factory=Tally)
    guessed: Tally = field(default_factory=Tally)
    n_rest: int = 0  # plain steps to go before guesses are tried again
    next_rest: int = _FIRST_REST

    @property
    def allows(self) -> bool:
        return not self.n_rest

    def charge(self, seconds: float) -> None:
        """A step without guesses took so much longer for those of the step before."""
        self.guessed.seconds += seconds

    def observe(self, n_tokens: int, seconds: float, *, guessed: bool) -> None:
        if not guessed:
            self.plain.add(n_tokens, seconds)
            self.n_rest = max(0, self.n_rest - 1)
            return
        self.guessed.add(n_tokens, seconds)
        if self.guessed.n_steps < _ENOUGH:
            return
        if self.plain.n_steps < _ENOUGH:  # there is nothing to compare with yet
            self.n_rest = _ENOUGH - self.plain.n_steps
        elif self.guessed.tok_s < self.plain.tok_s:
            self.n_rest, self.guessed = self.next_rest, Tally()
            self.next_rest = min(2 * self.next_rest, _LONGEST_REST)
        elif self.guessed.n_steps >= 4 * _ENOUGH:
            self.next_rest = _FIRST_REST
