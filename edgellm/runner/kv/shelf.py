"""Prefixes that have left the KV cells: a radix tree of edges in host memory and on disk. Pure.

All parents of an edge are here too, so a path from the root can always be put back into cells.
Edges are short (copy_budget.py), so little is kept twice though none can be cut (edge.py).

Where there is a disk, every edge is written to it as soon as it is here. Then its memory can be
given up at any time, and the file is read back before the edge is restored. If the file can't be
read, or isn't what it should be, the edge is `broken`: nobody finds it again.

Both memory and disk are bounded. What is worth least goes first, and leaves the tree only if it is
a leaf:

    tokens to compute again without it ÷ its bytes ÷ for how long nobody has used it
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from edgellm.chat.messages import AdapterSet
from edgellm.runner.batch import Discard, Erase, Fetch, Op, Store
from edgellm.runner.kv.carrying import Carried
from edgellm.runner.kv.edge import BlobSize, Edge, Found
from edgellm.runner.kv.prefix import common_prefix
from edgellm.runner.kv.prefix_file import Stored, chain_key

_MAX_EDGES = 8192  # bounds the search for the one worth least, and the tokens kept beside blobs


class Shelf:
    """Appends what is to be done with blobs and files to the list of ops that it was made with."""

    def __init__(
        self,
        room_bytes: int,
        size: BlobSize,
        ops: list[Op],
        disk_room_bytes: int = 0,
        *,
        most_edges: int = _MAX_EDGES,
    ) -> None:
        self.room_bytes, self.disk_room_bytes = room_bytes, disk_room_bytes
        self._most_edges = most_edges
        self.size, self._ops = size, ops
        self.used_bytes = self.disk_used_bytes = 0
        self._roots: dict[AdapterSet, Edge] = {}  # other adapters compute other cells
        self._edges: dict[int, Edge] = {}  # by blob
        self._n_blobs = 0
        self._now = 0

    def __len__(self) -> int:
        return len(self._edges)

    def adopt(self, stored: Iterable[Stored]) -> None:
        """Take in the files of an earlier worker, least recently used first. Those whose parents
        are missing, or that have no room, are erased."""
        files = list(stored)
        by_key: dict[bytes, Edge] = {}
        for one in sorted(files, key=lambda each: each.start):
            parent = by_key.get(one.parent) if one.parent else self._root(())
            fits = one.n_bytes == self.size.of(len(one.tokens))
            if parent is None or parent.end != one.start or not fits or one.key in by_key:
                self._ops.append(Erase(one.key))
                continue
            edge = self._add(list(one.tokens), parent, one.key, in_ram=False)
            edge.on_disk = True
            self.disk_used_bytes += edge.n_bytes
            by_key[one.key] = edge
        for one in files:
            if one.key in by_key:
                self.touch(by_key[one.key])
        self._make_disk_room(0)

    def find(self, tokens: list[int], limit: int, adapters: AdapterSet = ()) -> Found:
        """How far the shelf goes along these tokens; the last edge may end differently."""
        path: tuple[Edge, ...] = ()
        best, node = Found(), self._root(adapters)
        while True:
            whole: Edge | None = None
            for child in node.children_along(tokens, limit):
                if child.broken:
                    continue
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
        """How many of these tokens are held by edges that agree with them to their end."""
        return self._deepest(tokens, adapters).end

    def put(self, tokens: list[int], end: int, adapters: AdapterSet = ()) -> Edge | None:
        """A new edge, for the tokens from where they are covered to `end`. None: there is no
        room."""
        parent = self._deepest(tokens, adapters)
        n_bytes = self.size.of(end - parent.end)
        parent.n_pins += 1
        fits = self._make_room(n_bytes)
        parent.n_pins -= 1
        if not fits:
            return None
        own = tokens[parent.end : end]
        key = b"" if adapters else chain_key(parent.key, own)
        edge = self._add(own, parent, key, in_ram=True)
        self.used_bytes += n_bytes
        self.touch(edge)
        return edge

    def ways(self) -> list[tuple[AdapterSet, list[Edge]]]:
        """Each path from a root, as far as it is in memory. The one whose end was used last comes
        first."""
        found = []
        for adapters, root in self._roots.items():
            pending = [(root, list[Edge]())]
            while pending:
                node, way = pending.pop()
                on = [edge for edge in node.children if edge.in_ram and not edge.broken]
                pending += [(edge, [*way, edge]) for edge in on]
                if way and not on:
                    found.append((adapters, way))
        return sorted(found, key=lambda one: one[1][-1].used_at, reverse=True)

    def give_up(self, way: list[Edge]) -> None:
        """The memory of those edges that are on no other path: the caller has a copy of all."""
        for edge in reversed(way):
            if any(child.in_ram for child in edge.children):
                return
            self._discard(edge)

    def take_over(self, carried: Iterable[Carried]) -> dict[int, Carried]:
        """An edge from the root for each of these (used last first) that there is room for. Returns
        what was kept, by blob number. Edges can't be cut, so a conversation that a longer one
        begins with has no edge of its own."""
        fits, n_bytes = list[Carried](), self.used_bytes
        for one in carried:
            n_bytes += self.size.of(len(one.tokens))
            if n_bytes > self.room_bytes or len(fits) + len(self) >= self._most_edges:
                break
            fits.append(one)
        kept: dict[int, Carried] = {}
        for one in sorted(fits, key=lambda each: len(each.tokens), reverse=True):
            length = len(one.tokens)
            if self.find(one.tokens, length, one.adapters).length < length:
                key = b"" if one.adapters else chain_key(b"", one.tokens)
                edge = self._add(one.tokens, self._root(one.adapters), key, in_ram=True)
                self.used_bytes += edge.n_bytes
                kept[edge.blob] = one
        for blob in sorted(kept, key=lambda blob: fits.index(kept[blob]), reverse=True):
            self.touch(self._edges[blob])
            self.store(self._edges[blob])
        return kept

    def new_blob(self) -> int:
        self._n_blobs += 1
        return self._n_blobs - 1

    def store(self, edge: Edge) -> None:
        """Write it to disk, if there is one. The operation that fills its blob must come before."""
        parent = edge.parent
        if not edge.key or parent is None or edge.on_disk:
            return  # no key: its adapters' numbers mean other adapters to the next worker
        parent.n_pins += 1
        fits = (parent.on_disk or not parent.key) and self._make_disk_room(edge.n_bytes)
        parent.n_pins -= 1
        if not fits:
            return
        edge.on_disk = True
        self.disk_used_bytes += edge.n_bytes
        tokens = tuple(edge.tokens)
        stored = Stored(edge.key, parent.key, edge.start, tokens, edge.n_bytes)
        self._ops.append(Store(edge.blob, stored))

    def fetch(self, edge: Edge) -> bool:
        """Have it read from disk, unless it is here or coming. False: there is no room for it."""
        if edge.in_ram or edge.is_coming:
            return True
        edge.n_pins += 1
        fits = self._make_room(edge.n_bytes)
        edge.n_pins -= 1
        if fits:
            edge.is_coming = True
            self.used_bytes += edge.n_bytes
            self._ops.append(Fetch(edge.blob, edge.key))
        return fits

    def fetched(self, blob: int, *, ok: bool) -> Edge:
        """It was read. If it couldn't be, the edges behind it are of no use either."""
        edge = self._edges[blob]
        edge.is_coming, edge.in_ram = False, ok
        if not ok:
            edge.broken = True
            self.used_bytes -= edge.n_bytes
            self._erase(edge)
        self._prune_broken(edge)
        return edge

    def let_go(self, edge: Edge) -> None:
        """A request has stopped waiting for it."""
        edge.n_pins -= 1
        self._prune_broken(edge)

    def touch(self, edge: Edge) -> None:
        """It was used just now."""
        self._now += 1
        edge.used_at = self._now

    def check(self, waited_for: Iterable[Edge] = ()) -> None:
        pins = Counter(edge.blob for edge in waited_for)
        assert all(edge.n_pins == pins[blob] for blob, edge in self._edges.items())
        assert pins.keys() <= self._edges.keys()
        here = [edge for edge in self._edges.values() if edge.in_ram or edge.is_coming]
        assert self.used_bytes == sum(edge.n_bytes for edge in here) <= self.room_bytes
        on_disk = sum(edge.n_bytes for edge in self._edges.values() if edge.on_disk)
        assert self.disk_used_bytes == on_disk <= self.disk_room_bytes
        for edge in self._edges.values():
            assert edge.parent is not None
            assert edge in edge.parent.children
            assert edge.start == edge.parent.end
            assert edge.parent in self._roots.values() or edge.parent.blob in self._edges
            assert edge.in_ram or edge.on_disk or edge.broken, "it is nowhere"

    def _add(self, tokens: list[int], parent: Edge, key: bytes, *, in_ram: bool) -> Edge:
        n_bytes = self.size.of(len(tokens))
        edge = Edge(tokens, parent.end, parent, self.new_blob(), n_bytes, key, in_ram)
        self._edges[edge.blob] = edge
        parent.add(edge)
        return edge

    def _root(self, adapters: AdapterSet) -> Edge:
        """Of the sets that have no edge only the newest stays: clients may send any scale, and so
        any number of sets."""
        if adapters not in self._roots:
            self._roots = {key: root for key, root in self._roots.items() if root.heads}
            self._roots[adapters] = Edge([], 0, None, -1, 0)
        return self._roots[adapters]

    def _deepest(self, tokens: list[int], adapters: AdapterSet) -> Edge:
        """The last edge along these tokens that agrees with them to its end; or the root."""
        node = self._root(adapters)
        while True:
            whole: Edge | None = None
            for child in node.children_along(tokens, len(tokens)):
                longer = child.end > (whole or node).end and not child.broken
                if longer and tokens[node.end : child.end] == child.tokens:
                    whole = child
            if whole is None:
                return node
            node = whole

    def _make_room(self, n_bytes: int) -> bool:
        """For so many bytes in memory, and for one more edge in the tree."""
        if n_bytes > self.room_bytes:
            return False
        while self.used_bytes + n_bytes > self.room_bytes:
            here = (edge for edge in self._edges.values() if edge.in_ram)
            least = self._least(edge for edge in here if edge.on_disk or not edge.heads)
            if least is None:
                return False
            if least.on_disk:
                self._discard(least)  # it stays in the tree
            else:
                self._drop(least)
        while len(self._edges) >= self._most_edges:
            least = self._least(edge for edge in self._edges.values() if not edge.heads)
            if least is None:
                return False
            self._drop(least)
        return True

    def _make_disk_room(self, n_bytes: int) -> bool:
        if n_bytes > self.disk_room_bytes:
            return False
        while self.disk_used_bytes + n_bytes > self.disk_room_bytes:
            last = (edge for edge in self._edges.values() if edge.on_disk and edge.ends_on_disk)
            least = self._least(last)
            if least is None:
                return False
            if least.in_ram or least.is_coming:
                self._erase(least)
            else:
                self._drop(least)
        return True

    def _least(self, edges: Iterator[Edge]) -> Edge | None:
        free = (edge for edge in edges if not edge.n_pins and not edge.is_coming)
        return min(free, key=self._worth, default=None)

    def _worth(self, edge: Edge) -> float:
        return len(edge.tokens) / edge.n_bytes / (self._now - edge.used_at + 1)

    def _drop(self, edge: Edge) -> None:
        assert edge.parent is not None
        edge.parent.remove(edge)
        del self._edges[edge.blob]
        self._discard(edge)
        self._erase(edge)

    def _prune_broken(self, edge: Edge | None) -> None:
        """What hangs on the first broken edge above it can't be found any more: it goes."""
        first = None
        while edge is not None:
            first = edge if edge.broken else first
            edge = edge.parent
        if first:
            self._prune(first)

    def _prune(self, edge: Edge) -> None:
        """Drop it and all below it, except what somebody waits for."""
        for child in tuple(edge.children):
            self._prune(child)
        if not edge.heads and not edge.n_pins and not edge.is_coming:
            self._drop(edge)

    def _discard(self, edge: Edge) -> None:
        if edge.in_ram:
            edge.in_ram = False
            self.used_bytes -= edge.n_bytes
            self._ops.append(Discard(edge.blob))

    def _erase(self, edge: Edge) -> None:
        if edge.on_disk:
            edge.on_disk = False
            self.disk_used_bytes -= edge.n_bytes
            self._ops.append(Erase(edge.key))
