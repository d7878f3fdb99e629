"""Where a sequence with a window or a recurrent state can be forked: its checkpoints. Pure.

A `Point` is a length at which such a state was copied out to host memory. A sequence's points form
a chain, shortest first. A fork at one of them shares the chain up to there, and a blob is discarded
when the last chain that holds it lets it go.

All blobs together stay below a budget. What is worth least goes first:

    tokens to compute again without it (back to the point before it)
    ÷ its bytes ÷ for how long nobody has asked for it

so a crowded chain thins out, and a system prompt outlives the answers that followed it.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from edgellm.runner.batch import Checkpoint, Discard, Op
from edgellm.runner.kv.memory import PartialState

_BYTES_PER_TOKEN = 64 << 10  # copied out for each token computed, at most
_EVERY = 512  # tokens between two checkpoints where no message ends, at least


@dataclass(eq=False, slots=True)
class Point:
    length: int
    blob: int
    n_bytes: int
    used_at: int  # counted in checkpoints taken and resumed
    n_refs: int = 1  # chains that hold it


class Checkpoints:
    def __init__(self, state: PartialState, ops: list[Op]) -> None:
        self._state, self._ops = state, ops
        self._chains: dict[int, list[Point]] = {}  # by seq_id
        self._blobs = itertools.count()
        self._now = 0
        self.used_bytes = self.held_bytes = 0

    @property
    def every(self) -> int:
        """Tokens from one checkpoint to the next: copying must stay cheap compared to computing."""
        return max(_EVERY, self._state.checkpoint_bytes(self._state.n_window) // _BYTES_PER_TOKEN)

    def last(self, seq_id: int, limit: int | None = None) -> Point | None:
        """The longest point of a chain, at most `limit` tokens long."""
        chain = self._chains.get(seq_id, ())
        return next((p for p in reversed(chain) if limit is None or p.length <= limit), None)

    def at(self, seq_id: int, length: int, n_whole: int) -> Point | None:
        """The point to resume from at that length: one that ends there, or a longer one of at most
        `n_whole` tokens. That one's window still holds all of its tokens, so it can be cut back."""
        chain = self._chains.get(seq_id, ())
        fits = (p for p in chain if p.length == length or length < p.length <= n_whole)
        return next(fits, None)

    def shared(self, seq_id: int) -> int:
        """The length up to which others have the same points."""
        chain = self._chains.get(seq_id, ())
        return max((point.length for point in chain if point.n_refs > 1), default=0)

    def take(self, seq_id: int, length: int) -> bool:
        """A checkpoint of what the sequence holds now, if there is a budget for it. Returns whether
        others were evicted for it."""
        n_bytes = self._state.checkpoint_bytes(length)
        if self.held_bytes + n_bytes > self._state.budget_bytes:
            return False
        evicts = self._make_room(n_bytes)
        self._now += 1
        point = Point(length, self.new_blob(), n_bytes, self._now)
        self._chains.setdefault(seq_id, []).append(point)
        self.used_bytes += n_bytes
        self._ops.append(Checkpoint(seq_id, point.blob))
        return evicts

    def has_room(self, n_bytes: int) -> bool:
        """So much fits without evicting anything."""
        return self.used_bytes + self.held_bytes + n_bytes <= self._state.budget_bytes

    def hold(self, n_bytes: int) -> bool | None:
        """Reserve so much of the budget for something else. Returns whether points were evicted for
        it. None: the budget isn't as large."""
        if self.held_bytes + n_bytes > self._state.budget_bytes:
            return None
        evicts = self._make_room(n_bytes)
        self.held_bytes += n_bytes
        return evicts

    def let_go(self, n_bytes: int) -> None:
        """Give back so much of what was reserved."""
        self.held_bytes -= n_bytes

    def new_blob(self) -> int:
        return next(self._blobs)

    def inherit(self, target: int, source: int, length: int) -> Point | None:
        """`target` was forked from `source`, and has the same points up to `length`. Returns the
        last of them."""
        chain = [point for point in self._chains.get(source, ()) if point.length <= length]
        self._now += 1
        for point in chain:
            point.n_refs += 1
            point.used_at = self._now
        self._set(target, chain)
        return chain[-1] if chain else None

    def cut(self, seq_id: int, length: int) -> Point | None:
        """The sequence goes on from `length`, so points beyond it are dropped. Returns the last
        that stays."""
        chain = self._chains.pop(seq_id, [])
        self._release(point for point in chain if point.length > length)
        stays = [point for point in chain if point.length <= length]
        self._now += 1
        for point in stays:
            point.used_at = self._now
        self._set(seq_id, stays)
        return stays[-1] if stays else None

    def move(self, source: int, target: int) -> None:
        """The sequence known as `source` is `target` from here on."""
        self._set(target, self._chains.pop(source, []))

    def drop(self, seq_id: int) -> None:
        self._release(iter(self._chains.pop(seq_id, [])))

    def check(self, n_computed: dict[int, int]) -> None:
        """Assert what must hold between steps. `n_computed`: tokens of each sequence."""
        held = {id(point): point for chain in self._chains.values() for point in chain}
        assert sum(point.n_bytes for point in held.values()) == self.used_bytes
        assert self.used_bytes + self.held_bytes <= self._state.budget_bytes
        for point in held.values():
            assert point.n_refs == sum(point in chain for chain in self._chains.values())
        for seq_id, chain in self._chains.items():
            lengths = [point.length for point in chain]
            assert lengths == sorted(set(lengths)), f"seq {seq_id}: {lengths}"
            assert lengths[-1] <= n_computed[seq_id], f"seq {seq_id}: {lengths}"

    def _set(self, seq_id: int, chain: list[Point]) -> None:
        assert seq_id not in self._chains, f"seq {seq_id} has points already"
        if chain:
            self._chains[seq_id] = chain

    def _make_room(self, n_bytes: int) -> bool:
        room_bytes = self._state.budget_bytes - self.held_bytes - n_bytes
        evicts = self.used_bytes > room_bytes
        while self.used_bytes > room_bytes:
            self._evict()
        return evicts

    def _evict(self) -> None:
        _, worst = min(self._worth(), key=lambda each: each[0])
        for seq_id, chain in list(self._chains.items()):
            if worst in chain:
                chain.remove(worst)
                if not chain:
                    del self._chains[seq_id]
                self._release(iter((worst,)))

    def _worth(self) -> Iterator[tuple[float, Point]]:
        for chain in self._chains.values():
            before = 0
            for point in chain:
                age = self._now - point.used_at + 1
                yield (point.length - before) / point.n_bytes / age, point
                before = point.length

    def _release(self, points: Iterator[Point]) -> None:
        for point in points:
            point.n_refs -= 1
            if not point.n_refs:
                self.used_bytes -= point.n_bytes
                self._ops.append(Discard(point.blob))
