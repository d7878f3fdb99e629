"""Prefixes that have left the KV cells: a radix tree of stretches in host memory and on disk. Pure.

An Edge is a stretch of tokens after those of its parent, and the number of the blob that holds
what their cells held. Every edge's parent is here too, so a path from the root can always be put
back. What a stretch holds can't be cut: an edge is restored whole, and two that begin alike may
lie side by side. Stretches are short (see copy_budget.py), so little is kept twice. Thousands may
follow one that they all begin with, so the next one is found by its first tokens; an edge that
agrees on fewer isn't worth a copy.

Where there is a disk, every edge is written to it as soon as it is here, and its memory can be
given up at any time; it is read back before it is restored. A file that can't be read, or isn't
what it should be, makes its edge `broken`: nobody will find it again.

Both rooms are bounded. What goes first is what is worth least; out of the tree only a leaf:

    tokens to compute again without it ÷ its bytes ÷ for how long nobody has used it
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from edgellm.chat.messages import AdapterSet
from edgellm.runner.batch import Discard, Erase, Fetch, Op, Store
from edgellm.runner.kv.carrying import Carried
from edgellm.runner.kv.prefix import common_prefix
from edgellm.runner.kv.prefix_file import Stored, chain_key

_HEAD = 16  # tokens by which an edge is found; all of them, if it has fewer
_FEW = 4  # heads that are sooner looked at one by one
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
    key: bytes = b""  # names all tokens up to its end; see prefix_file.py
    in_ram: bool = True
    on_disk: bool = False
    is_coming: bool = False  # from disk, its room in memory is taken
    broken: bool = False
    used_at: int = 0  # in edges put and used
    n_pins: int = 0  # requests that wait for it
    heads: "dict[tuple[int, ...], list[Edge]]" = field(default_factory=dict)  # of what follows

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    @property
    def children(self) -> "Iterator[Edge]":
        return chain.from_iterable(self.heads.values())

    def children_along(self, rest: list[int]) -> "Iterator[Edge]":
        """All that begin like `rest`, and maybe others."""
        if len(self.heads) <= _FEW:
            yield from self.children
            return
        head = tuple(rest[:_HEAD])
        for n in range(1, len(head) + 1):
            yield from self.heads.get(head[:n], ())

    def add(self, child: "Edge") -> None:
        self.heads.setdefault(tuple(child.tokens[:_HEAD]), []).append(child)

    def remove(self, child: "Edge") -> None:
        alike = self.heads[head := tuple(child.tokens[:_HEAD])]
        alike.remove(child)
        if not alike:
            del self.heads[head]


@dataclass(frozen=True, slots=True)
class Found:
    """Edges one after the other, and how many tokens from the root they agree on."""

    edges: tuple[Edge, ...] = ()
    length: int = 0


class Shelf:
    """What is to be done with blobs and files, it appends to the list of ops it was made with."""

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
        self._roots: dict[AdapterSet, Edge] = {}  # what was computed with other adapters differs
        self._edges: dict[int, Edge] = {}  # by blob
        self._n_blobs = 0
        self._now = 0

    def __len__(self) -> int:
        return len(self._edges)

    def adopt(self, stored: Iterable[Stored]) -> None:
        """What lies on disk from before, least recently used first. What has no way from the root,
        or no room, is erased."""
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
        """How far the shelf goes along these tokens; the last edge may go on otherwise."""
        path: tuple[Edge, ...] = ()
        best, node = Found(), self._root(adapters)
        while True:
            whole: Edge | None = None
            for child in node.children_along(tokens[node.end : min(limit, node.end + _HEAD)]):
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
        own = tokens[parent.end : end]
        key = b"" if adapters else chain_key(parent.key, own)
        edge = self._add(own, parent, key, in_ram=True)
        self.used_bytes += n_bytes
        self.touch(edge)
        return edge

    def ways(self) -> list[tuple[AdapterSet, list[Edge]]]:
        """From the root as far as they are in memory, the one that was used last first."""
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
        """The memory of what is on no other way: there is a copy of it."""
        for edge in reversed(way):
            if any(child.in_ram for child in edge.children):
                return
            self._discard(edge)

    def take_over(self, carried: Iterable[Carried]) -> dict[int, Carried]:
        """Edges from the root for as many of these, used last first, as there is room for; by the
        numbers of their blobs. None can be cut: the longest hold those that they begin with."""
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
        """Write it to disk, if there is one. After the operation that fills its blob."""
        parent = edge.parent
        if not edge.key or parent is None or edge.on_disk:
            return  # adapters are known by numbers that the next worker gives to others
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
        """Have it read from disk, if it isn't here or coming. False: there is no room for it."""
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
        """It was read; or it couldn't be, and what follows it is of no use either."""
        edge = self._edges[blob]
        edge.is_coming, edge.in_ram = False, ok
        if not ok:
            edge.broken = True
            self.used_bytes -= edge.n_bytes
            self._erase(edge)
        self._prune_broken(edge)
        return edge

    def let_go(self, edge: Edge) -> None:
        """One request less waits for it."""
        edge.n_pins -= 1
        self._prune_broken(edge)

    def touch(self, edge: Edge) -> None:
        """It was used."""
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
        """Of sets without an edge only the newest stays: a client may send any scale."""
        if adapters not in self._roots:
            self._roots = {key: root for key, root in self._roots.items() if root.heads}
            self._roots[adapters] = Edge([], 0, None, -1, 0)
        return self._roots[adapters]

    def _deepest(self, tokens: list[int], adapters: AdapterSet) -> Edge:
        """The last of the whole edges along these tokens; the root if there is none."""
        node = self._root(adapters)
        while True:
            whole: Edge | None = None
            for child in node.children_along(tokens[node.end : node.end + _HEAD]):
                longer = child.end > (whole or node).end and not child.broken
                if longer and tokens[node.end : child.end] == child.tokens:
                    whole = child
            if whole is None:
                return node
            node = whole

    def _make_room(self, n_bytes: int) -> bool:
        """In memory, and for one edge more."""
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
            last = (edge for edge in self._edges.values() if edge.on_disk and _ends_on_disk(edge))
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
        """All that hangs on the first broken edge of its way can't be found any more."""
        first = None
        while edge is not None:
            first = edge if edge.broken else first
            edge = edge.parent
        if first:
            self._prune(first)

    def _prune(self, edge: Edge) -> None:
        """All below it that nobody waits for, and itself."""
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


def _ends_on_disk(edge: Edge) -> bool:
    """Nothing on disk hangs on it, and nothing at all if it is nowhere else."""
    return not any(child.on_disk or not edge.in_ram for child in edge.children)
