"""Prefixes that have left the KV cells: a radix tree of stretches that lie in host memory. Pure.

An Edge is a stretch of tokens after those of its parent, and the number of the blob that holds
what their cells held. Every edge's parent is here too, so a path from the root can always be put
back. What a stretch holds can't be cut: an edge is restored whole, and two that begin alike may
lie side by side. Stretches are short (see memory.py, PIECE), so little is kept twice.

The room is bounded. What goes first is the leaf that is worth least:

    tokens to compute again without it ÷ its bytes ÷ for how long nobody has used it
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgellm.chat.messages import AdapterSet
from edgellm.runner.batch import Discard, Op
from edgellm.runner.prefix import common_prefix

_MAX_EDGES = 8192  # a bound on looking for the least worthy, and on the tokens kept beside blobs


@dataclass(frozen=True, slots=True)
class BlobSize:
    """What llama.cpp writes for a stretch of cells; measured at load."""

    base_bytes: int
    cell_bytes: int

    def of(self, n_cells: int) -> int:
        return self.base_bytes + n_cells * self.cell_bytes


@dataclass(eq=False, slots=True)
class Edge:
    tokens: list[int]
    start: int  # tokens before it
    parent: "Edge | None"
    blob: int
    n_bytes: int
    used_at: int = 0  # in edges put and used
    n_pins: int = 0  # requests that wait for it
    children: "list[Edge]" = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


@dataclass(frozen=True, slots=True)
class Found:
    """Edges one after the other, and how many tokens from the root they agree on."""

    edges: tuple[Edge, ...] = ()
    length: int = 0


class Shelf:
    """What is discarded for lack of room, it appends to the list of ops it was made with."""

    def __init__(self, room_bytes: int, size: BlobSize, ops: list[Op]) -> None:
        self.room_bytes, self.size, self._ops = room_bytes, size, ops
        self.used_bytes = 0
        self._roots: dict[AdapterSet, Edge] = {}  # what was computed with other adapters differs
        self._edges: dict[int, Edge] = {}  # by blob
        self._n_blobs = 0
        self._now = 0

    def __len__(self) -> int:
        return len(self._edges)

    def find(self, tokens: list[int], limit: int, adapters: AdapterSet = ()) -> Found:
        """How far the shelf goes along these tokens; the last edge may go on otherwise."""
        path: tuple[Edge, ...] = ()
        best, node = Found(), self._root(adapters)
        while True:
            whole: Edge | None = None
            for child in node.children:
                rest = tokens[node.end : min(limit, child.end)]
                common = node.end + common_prefix(rest, child.tokens, len(rest))
                if common > max(best.length, node.end):
                    best = Found((*path, child), common)
                if common == child.end and (whole is None or child.end > whole.end):
                    whole = child
            if whole is None:
                return best
            path, node = (*path, whole), whole

    def covered(self, tokens: list[int], adapters: AdapterSet = ()) -> int:
        """How many of these tokens whole edges hold."""
        return self._deepest(tokens, adapters).end

    def put(self, tokens: list[int], end: int, adapters: AdapterSet = ()) -> Edge | None:
        """An edge for the tokens from those that are covered to `end`. None: there is no room."""
        parent = self._deepest(tokens, adapters)
        n_bytes = self.size.of(end - parent.end)
        parent.n_pins += 1
        fits = self._make_room(n_bytes)
        parent.n_pins -= 1
        if not fits:
            return None
        edge = Edge(tokens[parent.end : end], parent.end, parent, self._n_blobs, n_bytes)
        self._n_blobs += 1
        self._edges[edge.blob] = edge
        parent.children.append(edge)
        self.used_bytes += n_bytes
        self.touch(edge)
        return edge

    def touch(self, edge: Edge) -> None:
        """It was used."""
        self._now += 1
        edge.used_at = self._now

    def check(self, waited_for: Iterable[Edge] = ()) -> None:
        pins = Counter(edge.blob for edge in waited_for)
        assert all(edge.n_pins == pins[blob] for blob, edge in self._edges.items())
        assert pins.keys() <= self._edges.keys()
        assert self.used_bytes == sum(edge.n_bytes for edge in self._edges.values())
        assert self.used_bytes <= self.room_bytes
        for edge in self._edges.values():
            assert edge.parent is not None
            assert edge in edge.parent.children
            assert edge.start == edge.parent.end
            assert edge.parent in self._roots.values() or edge.parent.blob in self._edges

    def _root(self, adapters: AdapterSet) -> Edge:
        """Of sets without an edge only the newest stays: a client may send any scale."""
        if adapters not in self._roots:
            self._roots = {key: root for key, root in self._roots.items() if root.children}
            self._roots[adapters] = Edge([], 0, None, -1, 0)
        return self._roots[adapters]

    def _deepest(self, tokens: list[int], adapters: AdapterSet) -> Edge:
        """The last of the whole edges along these tokens; the root if there is none."""
        node = self._root(adapters)
        while True:
            whole: Edge | None = None
            for child in node.children:
                if child.end > (whole or node).end and tokens[node.end : child.end] == child.tokens:
                    whole = child
            if whole is None:
                return node
            node = whole

    def _make_room(self, n_bytes: int) -> bool:
        if n_bytes > self.room_bytes:
            return False
        while self.used_bytes + n_bytes > self.room_bytes or len(self._edges) >= _MAX_EDGES:
            leaves = (e for e in self._edges.values() if not e.children and not e.n_pins)
            least = min(leaves, key=self._worth, default=None)
            if least is None:
                return False
            self._drop(least)
        return True

    def _worth(self, edge: Edge) -> float:
        return len(edge.tokens) / edge.n_bytes / (self._now - edge.used_at + 1)

    def _drop(self, edge: Edge) -> None:
        assert edge.parent is not None
        edge.parent.children.remove(edge)
        del self._edges[edge.blob]
        self.used_bytes -= edge.n_bytes
        self._ops.append(Discard(edge.blob))
