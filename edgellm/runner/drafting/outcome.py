"""Whether steps with guesses really make more tokens a second than steps without. Pure.

What a step with guesses should take is worked out beforehand, from what others took. Where that is
wrong (a machine with other things to do, kernels with moods, a text that only looks repetitive)
this notices by what came out. Guesses live on credit: what they win they may lose again, up to a
bound, and beyond that one part in a hundred of the time that passes without them. So they cost no
more than that for long, and are tried again for ever.
"""

from dataclasses import dataclass, field

_KEEP = 0.97  # of what was seen, with each step
_LOOK = 4  # steps without guesses before there are any: what they are measured by
# In steps without guesses:
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
    """Of steps of one number of sequences."""

    plain: Plain = field(default_factory=Plain)
    credit: float = _FIRST_CREDIT

    @property
    def allows(self) -> bool:
        return self.plain.n_steps >= _LOOK and self.credit > 0

    def charge(self, seconds: float) -> None:
        """A step without guesses took so much longer for those of the step before."""
        self.credit -= self.plain.steps_lasting(seconds)

    def observe(self, n_tokens: int, seconds: float, *, guessed: bool) -> None:
        if guessed:
            won = self.plain.steps_worth(n_tokens) - self.plain.steps_lasting(seconds)
            # Bounded below, too: a process that was stopped for a while is no guess's fault.
            self.credit = max(_LEAST_CREDIT, min(self.credit + won, _MOST_CREDIT))
        else:
            self.plain.add(n_tokens, seconds)
            self.credit = min(self.credit + _PER_STEP, _MOST_CREDIT)
