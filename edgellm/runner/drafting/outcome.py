"""Whether steps with guesses really make more tokens a second than steps without. Pure.

What a step with guesses should take is predicted from what others took. The prediction may be
wrong: the machine has other things to do, kernels have moods, a text only looks repetitive. Here
that is noticed by what came out.

Guesses live on credit. What they win they may lose again, up to a bound. Once it is used up they
earn a new step's worth in a hundred steps without guesses: so they never cost more than that for
long, and are tried again for ever.
"""

from dataclasses import dataclass, field

_KEEP = 0.97  # of what was seen is kept with each step
_LOOK = 4  # steps without guesses come first: others are measured by them
# The credit, in steps without guesses:
_FIRST_CREDIT, _LEAST_CREDIT, _MOST_CREDIT = 2.0, -16.0, 4.0
_PER_STEP = 0.01


@dataclass(slots=True)
class Plain:
    """Steps without guesses."""

    n_steps: int = 0
    weight: float = 0.0
    n_tokens: float = 0.0
    seconds: float = 0.0

    def add(self, n_tokens: int, seconds: float) -> None:
        self.n_steps += 1
        self.weight = self.weight * _KEEP + 1
        self.n_tokens = self.n_tokens * _KEEP + n_tokens
        self.seconds = self.seconds * _KEEP + seconds

    def steps_worth(self, n_tokens: int) -> float:
        return n_tokens * self.weight / self.n_tokens if self.n_tokens else 0.0

    def steps_lasting(self, seconds: float) -> float:
        return seconds * self.weight / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Outcome:
    """Of steps with one number of sequences."""

    plain: Plain = field(default_factory=Plain)
    credit: float = _FIRST_CREDIT

    @property
    def allows(self) -> bool:
        return self.plain.n_steps >= _LOOK and self.credit > 0

    def charge(self, seconds: float) -> None:
        """A step without guesses took so much longer because the step before had some."""
        self.credit -= self.plain.steps_lasting(seconds)

    def observe(self, n_tokens: int, seconds: float, *, guessed: bool) -> None:
        if guessed:
            won = self.plain.steps_worth(n_tokens) - self.plain.steps_lasting(seconds)
            # Bounded below too: if the process was stopped for a while, no guess is to blame.
            self.credit = max(_LEAST_CREDIT, min(self.credit + won, _MOST_CREDIT))
        else:
            self.plain.add(n_tokens, seconds)
            self.credit = min(self.credit + _PER_STEP, _MOST_CREDIT)
