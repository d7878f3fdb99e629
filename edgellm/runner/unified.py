"""Unified KV: one pool of cells; a shared prefix costs a tag.

Running sequences use ids below n_seq_max, retained ones the ids from there to n_ids: llama.cpp
sizes its output buffers by n_seq_max, and a retained sequence has no output. A sequence is let in
only when all the cells it may ever need are there: there is no preemption.
"""

from edgellm.runner.batch import Forget, Fork, Op
from edgellm.runner.cells import Cells, Lease
from edgellm.runner.memory import Limits, match_for
from edgellm.runner.prefix import Match, Retained, RetainedStore
from edgellm.runner.sequence import Sequence


class UnifiedMemory:
    def __init__(self, limits: Limits, ops: list[Op]) -> None:
        self._limits, self._ops = limits, ops
        self._cells = Cells(limits.n_cells)
        self._free_seq_ids = list(range(limits.n_seq_max))
        self.retained = RetainedStore(range(limits.n_seq_max, limits.n_ids))

    @property
    def used(self) -> int:
        return self._cells.used

    def admit(self, sequence: Sequence, running: list[Sequence]) -> bool:
        if not self._free_seq_ids:
            return False
        match = match_for(sequence, self._limits, running, self.retained)
        if not self._make_room(sequence, match, running):
            if running or not match:
                return False
            # Nobody will make room but the source itself, whose other cells are in the way.
            match = None
            self._make_room(sequence, match, running)
        sequence.seq_id = self._free_seq_ids.pop(0)
        if match:
            self._fork(sequence, match)
        return True

    def grow(self, sequence: Sequence, count: int) -> None:
        self._cells.append(sequence.lease, count)

    def leave(self, sequence: Sequence) -> None:
        seq_id = sequence.seq_id
        if sequence.n_computed and self._limits.shares_prefixes and self._can_retain():
            lease, sequence.lease = sequence.lease, Lease()
            kept = self.retained.add(sequence.tokens[: sequence.n_computed], lease)
            self._ops.append(Fork(seq_id, kept.seq_id, sequence.n_computed))
        else:
            self._cells.release(sequence.lease)
        self._ops.append(Forget(seq_id))
        self._free_seq_ids.append(seq_id)
        self._free_seq_ids.sort()

    def relieve(self) -> None:
        while kept := self.retained.oldest():
            self._drop(kept)

    def check(self, running: list[Sequence]) -> None:
        ids = [*(s.seq_id for s in running), *self._free_seq_ids]
        assert sorted(ids) == list(range(self._limits.n_seq_max)), f"ids lost or doubled: {ids}"
        kept = [*self.retained.by_id, *self.retained.free_seq_ids]
        assert sorted(kept) == list(range(self._limits.n_seq_max, self._limits.n_ids))
        promised = self._cells.used + _reserved(running)
        assert promised <= self._cells.n_cells, f"{promised} of {self._cells.n_cells} cells"
        assert all(s.lease.length == s.n_computed for s in running)

    def _make_room(self, sequence: Sequence, match: Match | None, running: list[Sequence]) -> bool:
        """Drop retained sequences, oldest first, until this one fits. False: not yet."""
        source = match.source if match else None
        need = sequence.n_reserved - (match.length if match else 0) + _reserved(running)
        while self._cells.used + need > self._cells.n_cells:
            kept = self.retained.oldest(but=source if isinstance(source, Retained) else None)
            if kept is None:
                return False
            self._drop(kept)
        return True

    def _fork(self, sequence: Sequence, match: Match) -> None:
        source = match.source
        sequence.lease = self._cells.fork(source.lease, match.length)
        sequence.n_cached = sequence.n_computed = match.length
        self._ops.append(Fork(source.seq_id, sequence.seq_id, match.length))
        if isinstance(source, Retained):
            if match.length == len(source.tokens):
                self._drop(source)  # continued whole: nothing of its own is left
            else:
                self.retained.touch(source)

    def _can_retain(self) -> bool:
        if not self.retained.free_seq_ids and (oldest := self.retained.oldest()):
            self._drop(oldest)
        return bool(self.retained.free_seq_ids)

    def _drop(self, kept: Retained) -> None:
        self._cells.release(kept.lease)
        self.retained.drop(kept)
        self._ops.append(Forget(kept.seq_id))


def _reserved(running: list[Sequence]) -> int:
    return sum(sequence.n_reserved for sequence in running)
