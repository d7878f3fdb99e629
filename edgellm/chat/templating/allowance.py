"""What one rendering of a stranger's template may take: steps of work, characters that it makes.

Both add up over the rendering, so no way of keeping what was made keeps more than that. What could
make much of little (growth.py) is asked about before it is done. Pure.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

# Rounds of loops and calls, some 400,000 a second. 4,096 messages take tens of thousands, but
# in templates that look at all of them for each: Gemma 4's goes as far as some 800.
MAX_STEPS = 1_000_000
MAX_LENGTH = 32 << 20  # characters of one value; a context's text is smaller
MAX_MADE = 128 << 20  # characters of all values together
MAX_BITS = 4096  # of a whole number
MAX_AT_ONCE = 128 << 20  # characters that one call looks at, some 0.1 s: nobody can break it off

_STEP_CHARS = 4096  # a step's worth of looking at a text
_STEP_NODES = 16  # ... of walking through what is in a value
ELEMENT = 8  # characters that one of a list counts as


class Exceeded(ValueError):
    """In words for the model's owner."""


class Allowance:
    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        self._max_steps = max_steps
        self.n_steps = self._n_made = 0

    def step(self, n: int = 1) -> None:
        self.n_steps += n
        if self.n_steps > self._max_steps:
            raise Exceeded(f"it takes more than {self._max_steps} steps")

    def look(self, length: int, n_nodes: int = 0) -> None:
        """At so many characters, in so many values: much of them takes steps."""
        if length > MAX_AT_ONCE:
            raise Exceeded(f"one of its steps looks at more than {MAX_AT_ONCE} characters")
        self.step(length // _STEP_CHARS + n_nodes // _STEP_NODES)

    def make(self, length: int, what: str) -> None:
        """So many characters are about to be there."""
        length = max(length, 0)
        if length > MAX_LENGTH:
            raise Exceeded(f"its `{what}` makes too much: {length} characters")
        self._n_made += length
        if self._n_made > MAX_MADE:
            raise Exceeded(f"it makes more than {MAX_MADE} characters")

    def made(self, value: Any) -> None:
        """This is there, and no larger than what it was made of."""
        if isinstance(value, str):
            self.make(len(value), "text")
        elif isinstance(value, list | tuple | Mapping):
            self.make(ELEMENT * (len(value) + 8), "list")
        elif isinstance(value, int):
            self.number(value.bit_length(), "number")

    def number(self, n_bits: int, what: str) -> None:
        """A whole number of so many bits is there, or about to be."""
        if n_bits > MAX_BITS:
            raise Exceeded(f"its `{what}` makes too much: a number of {n_bits} bits")


_allowance: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


def ours() -> Allowance:
    """The rendering's. Jinja computes constants when it compiles: then one for each."""
    return _allowance.get() or Allowance()


@contextmanager
def bounded(allowance: Allowance) -> Iterator[Allowance]:
    """One rendering, with an allowance of its own."""
    before = _allowance.set(allowance)
    try:
        yield allowance
    finally:
        _allowance.reset(before)
