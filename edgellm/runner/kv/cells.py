"""Which KV cells are taken, and by how many sequences. Pure: a model of what llama.cpp will do.

llama.cpp has no block table. Its KV memory is n_cells cells, each tagged with the ids of the
sequences that see it. `seq_cp(src, dst, 0, p)` tags the first p cells of src for dst as well: so
sequences that were forked from one another share cells, and a cell is free again when its last tag
is gone. What is shared is therefore a tree, and this file keeps that tree:

    a Run is a stretch of cells with the same owners; its parent is the stretch before it
    a Lease is one sequence's place in the tree: the runs from the root down to `tail`

Operations: append (compute tokens), fork (seq_cp from 0), trim and release (seq_rm). If they come
in the order in which llama.cpp gets them, the cells here are llama.cpp's own, except during
speculation: a guess that doesn't come true has a cell until it is trimmed, which is not counted
here, and what is computed in the same step lies higher.

llama.cpp takes the lowest free cells: find_slot searches from its head, and seq_rm moves the head
down to what it frees, so no free cell lies below it. A step looks at all cells up to the highest
that is taken, in steps of 256 (get_n_kv). So idle cells cost time only if they lie below somebody
else's, or push these up. Source: llama.cpp src/llama-kv-cache.cpp.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from edgellm.selector.memory.shape import pad256

TILE_CELLS = 64  # GGML_FA_TILE_KV of ggml/src/ggml-cpu/common.h


@dataclass(eq=False, slots=True)
class Run:
    """`n_refs` counts what hangs on this stretch: leases that end in it, and runs below it."""

    parent: "Run | None"
    places: list[int]  # the numbers of its cells
    n_refs: int
    tiles: int = 0  # bit n is set if it has, or had, a cell in the n-th tile of TILE_CELLS cells

    @property
    def length(self) -> int:
        return len(self.places)


@dataclass(eq=False, slots=True)
class Lease:
    tail: Run | None = None
    length: int = 0  # cells from the root to here


class Cells:
    def __init__(self, n_cells: int) -> None:
        self.n_cells = n_cells
        self.used = 0
        self._taken = bytearray()  # a flag for each cell, as far up as any was ever taken
        self._lowest = 0  # no cell below is free

    def append(self, lease: Lease, count: int) -> None:
        """`count` more cells, seen by this sequence alone."""
        tail = lease.tail
        if tail is None or tail.n_refs != 1:
            # The lease's reference to its old tail is passed on to the new run.
            tail = lease.tail = Run(tail, [], 1)
        self._take(count, tail.places)
        tail.tiles |= _tiles(tail.places[tail.length - count :])
        lease.length += count

    def fork(self, source: Lease, length: int) -> Lease:
        """A new lease on the first `length` cells of another. Takes no cell."""
        if not 0 < length <= source.length:
            raise ValueError(f"can't fork {length} of {source.length} cells")
        run = self._cut(source, length)
        run.n_refs += 1
        return Lease(run, length)

    def trim(self, lease: Lease, length: int) -> None:
        """Give up all but the first `length` cells. What goes must be of a run that only this lease
        sees."""
        tail, surplus = lease.tail, lease.length - length
        if tail is None or tail.n_refs != 1 or not 0 <= surplus < tail.length:
            raise ValueError(f"can't trim {lease.length} cells to {length}")
        if surplus:
            self._free(tail.places[-surplus:])
            del tail.places[-surplus:]
        lease.length = length

    def release(self, lease: Lease) -> int:
        """Give the lease up. Returns how many cells that freed: those nobody else sees."""
        before, run = self.used, lease.tail
        while run is not None:
            run.n_refs -= 1
            if run.n_refs:
                break
            self._free(run.places)
            run = run.parent
        lease.tail, lease.length = None, 0
        return before - self.used

    def held_by(self, leases: Iterable[Lease]) -> int:
        """Cells that these leases see, shared ones once: what stays if all others are released."""
        return sum(run.length for run in _runs(leases))

    def in_tiles(self, leases: Iterable[Lease]) -> int:
        """Cells in all tiles that hold any cell of these leases."""
        tiles = 0
        for run in _runs(leases):
            tiles |= run.tiles
        return tiles.bit_count() * TILE_CELLS

    def ends(self, lease: Lease) -> list[int]:
        """Where the runs of this lease end, in cells from the root: there others have forked
        off."""
        ends, end, run = [], lease.length, lease.tail
        while run is not None:
            ends.append(end)
            end, run = end - run.length, run.parent
        return ends[::-1]

    def n_kv(self, count: int = 0, only: Iterable[Lease] | None = None) -> int:
        """Cells that a step looks at once `count` more are taken. `only`: as if these leases' cells
        were all that is taken now."""
        if only is None:
            height, used = self._taken.rfind(1) + 1, self.used
        else:
            runs = list(_runs(only))
            height = 1 + max((max(run.places, default=-1) for run in runs), default=-1)
            used = sum(run.length for run in runs)
        # New cells fill the holes below the highest one taken, and only then lie above it.
        return min(self.n_cells, max(pad256(1), pad256(max(height, used + count))))

    def _take(self, count: int, places: list[int]) -> None:
        """The lowest free ones, appended to `places`."""
        taken, place = self._taken, self._lowest
        assert self.used + count <= self.n_cells, f"{self.used} + {count} of {self.n_cells} cells"
        for _ in range(count):
            place = taken.find(0, place)
            if place < 0:
                place = len(taken)
                taken.append(1)
            else:
                taken[place] = 1
            places.append(place)
            place += 1
        self._lowest, self.used = place, self.used + count

    def _free(self, places: list[int]) -> None:
        for place in places:
            self._taken[place] = 0
        self._lowest = min([self._lowest, *places])
        self.used -= len(places)

    def _cut(self, source: Lease, length: int) -> Run:
        """The run that ends after exactly `length` cells of `source`, split off if need be."""
        run, end = source.tail, source.length
        while run is not None and end - run.length >= length:
            end, run = end - run.length, run.parent
        assert run is not None, "a lease is as long as its runs"
        if end > length:
            # The upper half is new, so that every lease and child that points to `run` stays.
            here = run.length - (end - length)
            upper = Run(run.parent, run.places[:here], 1, _tiles(run.places[:here]))
            run.parent, run.places = upper, run.places[here:]
            run.tiles = _tiles(run.places)
            return upper
        return run


def _tiles(places: list[int]) -> int:
    """The tiles that these cells are in, as bits."""
    tiles = 0
    for place in places:
        tiles |= 1 << place // TILE_CELLS
    return tiles


def _runs(leases: Iterable[Lease]) -> Iterable[Run]:
    """The runs that these leases see, each once."""
    seen: set[int] = set()
    for lease in leases:
        run = lease.tail
        while run is not None and id(run) not in seen:
            seen.add(id(run))
            yield run
            run = run.parent
