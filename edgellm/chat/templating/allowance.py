"""What one rendering of a stranger's template may take: steps of work, characters that it makes.

Both add up over the rendering, so no way of keeping what was made keeps more than that. What could
make much of little (growth.py) is asked about before it is done. Pure.
"""

from collections.abc import Mapping, Set
from typing import Any

from jinja2.utils import Namespace  # noqa: TID253 - sandbox.py, too, is imported late

MAX_STEPS = 500_000  # rounds of loops and calls; 4096 messages take some ten thousand
MAX_LENGTH = 32 << 20  # characters of one value; a context's text is smaller
MAX_MADE = 128 << 20  # characters of all values together
MAX_BITS = 4096  # of a whole number
MAX_NODES = 1_000_000  # values inside a value that is written out

_STEP_CHARS = 4096  # a step's worth of looking at a text
ELEMENT = 8  # characters that one of a list counts as


class Exceeded(ValueError):
    """In words for the model's owner."""


class Allowance:
    def __init__(self) -> None:
        self._n_steps = self._n_made = 0

    def step(self) -> None:
        self._steps(1)

    def look(self, length: int) -> None:
        """At so many characters: a long text takes steps."""
        self._steps(length // _STEP_CHARS)

    def _steps(self, n: int) -> None:
        self._n_steps += n
        if self._n_steps > MAX_STEPS:
            raise Exceeded(f"it takes more than {MAX_STEPS} steps")

    def make(self, length: int, what: str) -> None:
        """So many characters are about to be there."""
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


def written_length(value: Any) -> int:
    """At least how long `str(value)` is. Raises Exceeded where that is far too long to find out.

    `[a, a]` of `[b, b]` and so on is small, and its text is not.
    """
    if isinstance(value, str):
        return len(value)
    length, waiting, n_nodes = 0, [value], 0
    while waiting:
        one = waiting.pop()
        n_nodes += 1
        if isinstance(one, str):
            length += len(one)
        elif isinstance(one, Mapping):
            waiting += [*one, *one.values()]
        elif isinstance(one, list | tuple | Set):
            waiting += one
        elif isinstance(one, Namespace):
            waiting += one._Namespace__attrs.values()  # its only way in
        if n_nodes + len(waiting) > MAX_NODES or length > MAX_LENGTH:
            raise Exceeded("it writes out a value that has too many others in it")
    return length + n_nodes
