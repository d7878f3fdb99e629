"""Conversations on disk of which only the end is of use: a window, a recurrent state. Pure.

Such a state can't be put together from pieces, as shelf.py does with cells: a file is all that a
sequence held after so many tokens, and a prompt that goes on from all of these can use it. The
file's key names the tokens (prefix_file.py), and it is found by them alone: no token is kept here.

What is written is not counted here: until it is on disk its copy lies in memory, beside the room
for blobs (prefix_disk.py bounds that). What is read back is counted by whom it is read for, until
it is a sequence's (`hold`, `let_go`). The folder is bounded: a longer file of a conversation
replaces the shorter ones, and what is worth least goes first:

    tokens to compute again without it ÷ its bytes ÷ for how long nobody has used it
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from edgellm.runner.batch import Discard, Erase, Fetch, Op, Store
from edgellm.runner.kv.memory import WORTH_SHARING, Limits
from edgellm.runner.kv.prefix_file import Stored, chain_key, prefix_names
from edgellm.runner.kv.shelf import Edge
from edgellm.runner.sequence import Sequence

_MAX_FILES = 8192  # a bound on looking for the least worthy


class Archive:
    def __init__(
        self,
        limits: Limits,
        ops: list[Op],
        *,
        new_blob: Callable[[], int],
        hold: Callable[[int], bool],
        let_go: Callable[[int], None],
    ) -> None:
        self.room_bytes = limits.disk_bytes
        self.used_bytes = 0
        self._ops, self._new_blob, self._hold, self._let_go = ops, new_blob, hold, let_go
        self._edges: dict[bytes, Edge] = {}  # by key; each has no token but those before it
        self._lengths: Counter[int] = Counter()
        self._by_blob: dict[int, Edge] = {}  # of those that are read, or in memory
        self._waiting: list[Sequence] = []
        self._furthest: dict[Sequence, Edge | None] = {}  # until a file comes or goes
        self._now = 0
        self._adopt(limits.stored)

    # ── to disk ──────────────────────────────────────────────────────────────

    def has(self, tokens: list[int]) -> bool:
        return _key(tokens) in self._edges

    def put(self, tokens: list[int], blob: int, n_bytes: int, *, spared: int = 0) -> None:
        """Write a blob, of at most so many bytes, that holds all there is after these tokens.

        It replaces the files of fewer of them, but of not more than `spared`.
        """
        name = chain_key(b"", tokens)
        stored = Stored(chain_key(name, ()), name, len(tokens), (), n_bytes)
        if stored.key in self._edges:
            self._touch(self._edges[stored.key])
            return
        if n_bytes > self.room_bytes:
            return
        for edge in list(self._along(tokens)):
            if edge.start > spared and not _is_in_use(edge):
                self._drop(edge)
        if self._make_room(n_bytes):
            self._add(stored)
            self._ops.append(Store(blob, stored))

    # ── and back ─────────────────────────────────────────────────────────────

    def find(self, sequence: Sequence, n_here: int) -> Edge | None:
        """What goes furthest along its prompt, and far beyond the `n_here` tokens in memory."""
        is_plain = sequence.params.cache_prompt and not sequence.pictures and not sequence.adapters
        if not is_plain or not self._edges:
            return None
        if sequence not in self._furthest:  # it is asked for in every step that it waits
            self._furthest[sequence] = self._look_up(sequence)
        edge = self._furthest[sequence]
        return edge if edge and edge.start - n_here >= WORTH_SHARING else None

    def fetches(self, sequence: Sequence, n_here: int) -> bool:
        """It has to wait until what it needs was read from disk."""
        if sequence.fetching:
            return sequence.awaits_disk
        edge = self.find(sequence, n_here)
        if edge is None:
            return False
        if not (edge.is_coming or edge.in_ram):
            if not self._hold(edge.n_bytes):
                return False
            edge.blob, edge.is_coming = self._new_blob(), True
            self._by_blob[edge.blob] = edge
            self._ops.append(Fetch(edge.blob, edge.key))
        edge.n_pins += 1
        sequence.fetching = [edge]
        self._waiting.append(sequence)
        return edge.is_coming

    def fetched(self, blob: int, *, ok: bool) -> None:
        """It was read, or couldn't be."""
        edge = self._by_blob[blob]
        edge.is_coming, edge.in_ram = False, ok
        if not ok:
            self._forget(edge)
            self._drop(edge)
        elif not edge.n_pins:
            self._discard(edge)

    def arrived(self, sequence: Sequence, n_here: int) -> Edge | None:
        """What was read for it, if it still goes further than what is in memory."""
        edge = sequence.fetching[0] if sequence.fetching else None
        return edge if edge and edge.in_ram and edge.start > n_here else None

    def hand_over(self, edge: Edge) -> int:
        """The blob that was read is the caller's, and so is counting it."""
        blob = edge.blob
        self._touch(edge)
        self._forget(edge)
        return blob

    def abandon(self, sequence: Sequence) -> None:
        """It doesn't wait any longer."""
        self._furthest.pop(sequence, None)
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        for edge in sequence.fetching:
            edge.n_pins -= 1
            if edge.in_ram and not edge.n_pins:
                self._discard(edge)
        sequence.fetching = []

    def check(self) -> None:
        pins = Counter(id(edge) for one in self._waiting for edge in one.fetching)
        edges = self._edges.values()
        assert all(edge.n_pins == pins[id(edge)] for edge in edges)
        assert self.used_bytes == sum(edge.n_bytes for edge in edges) <= self.room_bytes
        assert +self._lengths == Counter(edge.start for edge in edges)
        here = {edge.blob for edge in edges if edge.in_ram or edge.is_coming}
        assert here == self._by_blob.keys()
        assert all(edge is self._look_up(one) for one, edge in self._furthest.items())

    def _adopt(self, stored: Iterable[Stored]) -> None:
        """What lies on disk from before, least recently used first."""
        for one in stored:
            if one.tokens:  # a stretch of cells
                self._ops.append(Erase(one.key))
            else:
                self._add(one)
        self._make_room(0)

    def _look_up(self, sequence: Sequence) -> Edge | None:
        along = list(self._along(sequence.tokens[: sequence.n_prompt]))
        return along[-1] if along else None

    def _along(self, tokens: list[int]) -> Iterator[Edge]:
        """The files of some of these tokens but not all, shortest first."""
        lengths = sorted(length for length in self._lengths if length < len(tokens))
        for name in prefix_names(tokens, lengths):
            if edge := self._edges.get(chain_key(name, ())):
                yield edge

    def _add(self, stored: Stored) -> None:
        edge = Edge([], stored.start, None, -1, stored.n_bytes, stored.key, in_ram=False)
        edge.on_disk = True
        self._edges[edge.key] = edge
        self._lengths[edge.start] += 1
        self._furthest.clear()
        self.used_bytes += edge.n_bytes
        self._touch(edge)

    def _touch(self, edge: Edge) -> None:
        self._now += 1
        edge.used_at = self._now

    def _make_room(self, n_bytes: int) -> bool:
        while self.used_bytes + n_bytes > self.room_bytes or len(self._edges) >= _MAX_FILES:
            free = (edge for edge in self._edges.values() if not _is_in_use(edge))
            least = min(free, key=self._worth, default=None)
            if least is None:
                return False
            self._drop(least)
        return True

    def _worth(self, edge: Edge) -> float:
        return edge.start / edge.n_bytes / (self._now - edge.used_at + 1)

    def _drop(self, edge: Edge) -> None:
        """Who waits for it finds nothing in memory, and computes."""
        assert not edge.in_ram, "what is in memory is somebody's"
        del self._edges[edge.key]
        self._lengths[edge.start] -= 1
        if not self._lengths[edge.start]:
            del self._lengths[edge.start]
        self._furthest.clear()
        self.used_bytes -= edge.n_bytes
        self._ops.append(Erase(edge.key))

    def _discard(self, edge: Edge) -> None:
        self._ops.append(Discard(edge.blob))
        self._forget(edge)

    def _forget(self, edge: Edge) -> None:
        """Its blob is none of ours any longer."""
        self._let_go(edge.n_bytes)
        del self._by_blob[edge.blob]
        edge.blob, edge.in_ram = -1, False


def _is_in_use(edge: Edge) -> bool:
    """Whoever asked for it may have left before it was read."""
    return edge.is_coming or edge.n_pins > 0


def _key(tokens: list[int]) -> bytes:
    return chain_key(chain_key(b"", tokens), ())
