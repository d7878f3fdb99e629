"""Which KV cells are taken, and by how many sequences. Pure counting.

llama.cpp has no block table: its KV memory is n_cells cells, each tagged with the ids of the
sequences that see it. `seq_cp(src, dst, 0, p)` tags the first p cells of src for dst as well, so
sequences that were forked from one another share cells, and a cell is free again when its last
tag goes. What is shared is therefore a tree, and that is what this file keeps:

    every Run is a stretch of cells with the same owners; its parent is the stretch before it;
    a Lease is one sequence's place in the tree: the runs from the root down to `tail`.

Operations: append (compute tokens), fork (seq_cp from 0), release (seq_rm). All O(depth).
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Run:
    """`n_refs` counts what hangs on this stretch: leases that end in it, and runs below it."""

    parent: "Run | None"
    length: int
    n_refs: int


@dataclass(eq=False, slots=True)
class Lease:
    tail: Run | None = None
    length: int = 0  # cells from the root to here


class Cells:
    def __init__(self, n_cells: int) -> None:
        self.n_cells = n_cells
        self.used = 0

    def append(self, lease: Lease, count: int) -> None:
        """`count` more cells, seen by this sequence alone."""
        tail = lease.tail
        if tail is not None and tail.n_refs == 1:
            tail.length += count
        else:
            # The reference of the lease on its old tail becomes that of the new run.
            lease.tail = Run(tail, count, 1)
        lease.length += count
        self.used += count

    def fork(self, source: Lease, length: int) -> Lease:
        """A new lease on the first `length` cells of another. Takes no cell."""
        if not 0 < length <= source.length:
            raise ValueError(f"can't fork {length} of {source.length} cells")
        run = self._cut(source, length)
        run.n_refs += 1
        return Lease(run, length)

    def release(self, lease: Lease) -> int:
        """Give the lease up. Returns how many cells that freed: those nobody else sees."""
        freed, run = 0, lease.tail
        while run is not None:
            run.n_refs -= 1
            if run.n_refs:
                break
            freed, run = freed + run.length, run.parent
        lease.tail, lease.length = None, 0
        self.used -= freed
        return freed

    def held_by(self, leases: Iterable[Lease]) -> int:
        """Cells that these leases see, shared ones once: what stays if all others are released."""
        seen: set[int] = set()
        count = 0
        for lease in leases:
            run = lease.tail
            while run is not None and id(run) not in seen:
                seen.add(id(run))
                count, run = count + run.length, run.parent
        return count

    def _cut(self, source: Lease, length: int) -> Run:
        """The run that ends after exactly `length` cells of `source`, split off if need be."""
        run, end = source.tail, source.length
        while run is not None and end - run.length >= length:
            end, run = end - run.length, run.parent
        assert run is not None, "a lease is as long as its runs"
        if end > length:
            # The upper half is new, so that every lease and child that points to `run` stays.
            upper = Run(run.parent, run.length - (end - length), 1)
            run.parent, run.length = upper, end - length
            return upper
        return run
