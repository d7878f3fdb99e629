"""Unified KV: one pool of cells; a shared prefix costs a tag.

Running sequences use ids below n_seq_max, retained ones the ids from there to n_ids: llama.cpp
sizes its output buffers by n_seq_max, and a retained sequence has no output. A sequence is let in
only when all the cells it may ever need are there: there is no preemption.
"""

from edgellm.runner.batch import Forget, Fork, Op
from edgellm.runner.cells import Cells, Lease
from edgellm.runner.memory import Limits
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

    def admit(self, sequence: Sequence, match: Match | None, running: list[Sequence]) -> bool:
        if not self._free_seq_ids:
            return False
        lease = self._cells.fork(match.source.lease, match.length) if match else Lease()
        need = sequence.n_reserved - lease.length + sum(s.n_reserved for s in running)
        stays = self._cells.held_by([lease, *(s.lease for s in running)])
        if stays + need > self._cells.n_cells:
            self._cells.release(lease)  # nothing is dropped for somebody who can't come in yet
            return False
        sequence.seq_id, sequence.lease = self._free_seq_ids.pop(0), lease
        if match:
            self._forked(sequence, match)
        while self._cells.used + need > self._cells.n_cells:
            self._drop_oldest()
        return True

    def grow(self, sequence: Sequence, count: int) -> None:
        self._cells.append(sequence.lease, count)

    def leave(self, sequence: Sequence) -> None:
        seq_id = sequence.seq_id
        if sequence.n_computed and self._limits.shares_prefixes and self._can_retain():
            lease, sequence.lease = sequence.lease, Lease()
            tokens = sequence.tokens[: sequence.n_computed]
            kept = self.retained.add(tokens, lease, sequence.n_prompt)
            self._ops.append(Fork(seq_id, kept.seq_id, sequence.n_computed))
        else:
            self._cells.release(sequence.lease)
        self._ops.append(Forget(seq_id))
        self._free_seq_ids.append(seq_id)
        self._free_seq_ids.sort()

    def relieve(self) -> None:
        while len(self.retained):
            self._drop_oldest()

    def check(self, running: list[Sequence]) -> None:
        ids = [*(s.seq_id for s in running), *self._free_seq_ids]
        assert sorted(ids) == list(range(self._limits.n_seq_max)), f"ids lost or doubled: {ids}"
        kept = [*self.retained.by_id, *self.retained.free_seq_ids]
        assert sorted(kept) == list(range(self._limits.n_seq_max, self._limits.n_ids))
        promised = self._cells.used + sum(s.n_reserved for s in running)
        assert promised <= self._cells.n_cells, f"{promised} of {self._cells.n_cells} cells"
        assert all(s.lease.length == s.n_computed for s in running)

    def _forked(self, sequence: Sequence, match: Match) -> None:
        source = match.source
        sequence.n_cached = sequence.n_computed = match.length
        self._ops.append(Fork(source.seq_id, sequence.seq_id, match.length))
        if isinstance(source, Retained):
            if match.length == len(source.tokens):
                self._drop(source)  # continued whole: nothing of its own is left
            else:
                self.retained.touch(source)

    def _can_retain(self) -> bool:
        if not self.retained.free_seq_ids and len(self.retained):
            self._drop_oldest()
        return bool(self.retained.free_seq_ids)

    def _drop_oldest(self) -> None:
        oldest = self.retained.oldest()
        assert oldest is not None, "cells are held by running and retained sequences only"
        self._drop(oldest)

    def _drop(self, kept: Retained) -> None:
        self._cells.release(kept.lease)
        self.retained.drop(kept)
        self._ops.append(Forget(kept.seq_id))
