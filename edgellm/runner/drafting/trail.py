"""How far a model's own head has followed one sequence. Pure.

The head's cell for a token is made from that token and from the model's state after the one before
it. So whatever the model computes waits here, as such pairs, until the head reads it: many at once
cost it hardly more than one. What a state is, only the backend knows.

Where the head was not told of a stretch (one that was copied back from host memory), it begins anew
behind it. It then guesses from less; how often that comes true is learnt like anything else.
"""

from dataclasses import dataclass
from typing import Any

HiddenState = Any  # None: nobody kept it


@dataclass(frozen=True, slots=True)
class Pair:
    pos: int
    token: int
    state: HiddenState  # after the token before


class Trail:
    __slots__ = ("n_held", "n_seen", "state", "waiting")

    def __init__(self, begin: int = 0) -> None:
        self.n_seen = begin  # tokens that the model has computed
        self.n_held = begin  # tokens that have cells of the head; one more than seen after a guess
        self.state: HiddenState = None  # after the last token that was seen
        self.waiting: list[Pair] = []  # from `n_held` on

    def see(self, token: int, state: HiddenState) -> None:
        """The model computed one more token."""
        if self.n_seen == self.n_held + len(self.waiting):
            self.waiting.append(Pair(self.n_seen, token, self.state))
        self.n_seen += 1
        self.state = state

    def take(self) -> list[Pair]:
        """All that waits: its cells are about to be made."""
        pairs, self.waiting = self.waiting, []
        self.n_held += len(pairs)
        return pairs

    def cut(self, length: int) -> None:
        if length < self.n_seen:
            self.n_seen, self.state = length, None
        self.n_held = min(self.n_held, length)
        del self.waiting[length - self.n_held :]

    def forked(self, length: int) -> "Trail":
        """Of a sequence that shares the first `length` tokens."""
        other = Trail()
        other.n_seen, other.n_held = self.n_seen, self.n_held
        other.state, other.waiting = self.state, list(self.waiting)
        other.cut(length)
        return other
