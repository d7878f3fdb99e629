"""Checkpointed memory that keeps ended sequences on ids of their own, above those that run.

Sliding windows on unified KV. The window's cache has room for the windows of running sequences and
for one micro-batch (n_swa · n_seq_max + n_ubatch cells), and a cell in it that has two owners is
never used again. So every window is private, and a retained sequence has none: its window is
blanked, its other cells are shared by reference, and its checkpoints are in host memory.

Recurrent models. There are no cells, and one row for each id that may run. A retained sequence is
nothing but its tokens and its checkpoints, and llama.cpp doesn't know its id.
"""

from edgellm.runner.batch import Blank, Discard, Forget, Fork, Op, RestoreAll, Resume, Trim
from edgellm.runner.kv.away import AwayMemory
from edgellm.runner.kv.cells import Lease
from edgellm.runner.kv.memory import Limits, PartialState, used_by
from edgellm.runner.kv.prefix import Match, Retained, RetainedStore, Source
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.sequence import Sequence


class AsideMemory(AwayMemory):
    def __init__(self, limits: Limits, state: PartialState, ops: list[Op], pace: Pace) -> None:
        super().__init__(limits, state, ops, pace)
        self._free_seq_ids = list(range(limits.n_seq_max))
        self.retained = RetainedStore(range(limits.n_seq_max, limits.n_ids))

    def admit(self, sequence: Sequence, match: Match | None, running: list[Sequence]) -> bool:
        if not self._free_seq_ids:
            return False
        match = self._with_point(self._back(sequence, match, running))
        lease = self._cells.fork(match.source.lease, match.length) if match else Lease()
        need = self._need(sequence, lease, running)
        if need is None:
            return False
        sequence.seq_id, sequence.lease = self._free_seq_ids.pop(0), lease
        others: list[Source] = [*running, *self.retained.by_id.values()]
        if match:
            self._forked(sequence, match)
        self._enter(sequence, others)
        self._enter_loaded(sequence)
        self._make_room(need)
        return True

    def leave(self, sequence: Sequence) -> None:
        seq_id = sequence.seq_id
        if self._worth_it(sequence):
            self._take(sequence)
        last = self._points.last(seq_id)
        if last and self._limits.shares_prefixes and self._can_retain():
            self._set_aside(sequence, last.length)
        else:
            self._points.drop(seq_id)
        self._cells.release(sequence.lease)
        self._ops.append(Forget(seq_id))
        del self._stops[seq_id]
        self._free_seq_ids.append(seq_id)
        self._free_seq_ids.sort()

    def check(self, running: list[Sequence]) -> None:
        ids = [*(s.seq_id for s in running), *self._free_seq_ids]
        assert sorted(ids) == list(range(self._limits.n_seq_max)), f"ids lost or doubled: {ids}"
        kept = self.retained.by_id
        aside = [*kept, *self.retained.free_seq_ids]
        assert sorted(aside) == list(range(self._limits.n_seq_max, self._limits.n_ids))
        for seq_id, each in kept.items():
            last = self._points.last(seq_id)
            assert last is not None, f"seq {seq_id} can't be resumed"
            assert last.length == each.n_computed, f"seq {seq_id} is longer than what is resumable"
        self._check(running)

    def _forked(self, sequence: Sequence, match: Match) -> None:
        source, seq_id = match.source, sequence.seq_id
        sequence.n_cached = sequence.n_computed = match.length
        point = self._point(match)
        assert point is not None, f"seq {source.seq_id} has no checkpoint"
        self._points.inherit(seq_id, source.seq_id, match.length)
        if self._state.has_cells:
            self._ops.append(Fork(source.seq_id, seq_id, match.length))
        self._ops.append(Resume(point.blob, seq_id))
        if point.length > match.length:
            self._ops.append(Trim(seq_id, match.length))
        if isinstance(source, Retained):
            if match.length == len(source.tokens):
                self._drop(source)  # continued whole: nothing of its own is left
            elif used_by(match):
                self.retained.touch(source)

    def _set_aside(self, sequence: Sequence, length: int) -> None:
        """Retain it up to its last checkpoint: nothing could be resumed beyond that."""
        lease = self._cells.fork(sequence.lease, length)
        n_prompt = min(sequence.n_prompt, length)
        tokens = sequence.tokens[:length]
        kept = self.retained.add(tokens, lease, n_prompt, sequence.adapters)
        self._move_aside(sequence.seq_id, kept)
        self._ended(kept)

    def _move_aside(self, seq_id: int, kept: Retained) -> None:
        """Its checkpoints, and the cells that can be shared."""
        self._points.move(seq_id, kept.seq_id)
        if self._state.has_cells:
            self._ops.append(Blank(seq_id))
            self._ops.append(Fork(seq_id, kept.seq_id, kept.n_computed))

    def _lend(self, kept: Retained, length: int) -> int | None:
        point = self._points.last(kept.seq_id, length)
        if not self._free_seq_ids or point is None or point.length < length:
            return None
        seq_id = self._free_seq_ids[0]
        self._ops += [Fork(kept.seq_id, seq_id, length), Resume(point.blob, seq_id)]
        return seq_id

    def _give_back(self, seq_id: int) -> None:
        self._ops.append(Forget(seq_id))

    def _has_id(self) -> bool:
        return bool(self._free_seq_ids and (self.retained.free_seq_ids or len(self.retained)))

    def _put_back(self, blob: int, held: Retained, running: list[Sequence]) -> Retained:
        length = held.n_computed
        point_bytes = self._state.checkpoint_bytes(length)
        # Of the room that the blob had: whoever is evicted below is copied out, and needs room too.
        self._points.hold(point_bytes)
        self._can_retain()
        lease, seq_id = self._lease_of(length, running), self._free_seq_ids[0]
        self._points.let_go(point_bytes)
        self._ops += [RestoreAll(blob, seq_id, tuple(held.tokens)), Discard(blob)]
        self._points.move(held.seq_id, seq_id)
        last = self._points.last(seq_id)
        if last is None or last.length < length:
            self._points.take(seq_id, length)
        kept = self.retained.add(held.tokens, lease, held.n_prompt, held.adapters)
        self._move_aside(seq_id, kept)
        self._ops.append(Forget(seq_id))
        return kept

    def _lost(self) -> None:
        for kept in list(self.retained.by_id.values()):
            last = self._points.last(kept.seq_id)
            if last is None:
                self._drop(kept)
            elif last.length < kept.n_computed:
                self._shorten(kept, last.length)

    def _shorten(self, kept: Retained, length: int) -> None:
        lease = self._cells.fork(kept.lease, length)
        self._cells.release(kept.lease)
        kept.lease, kept.tokens = lease, kept.tokens[:length]
        kept.n_prompt = min(kept.n_prompt, length)
        if self._state.has_cells:
            self._ops.append(Trim(kept.seq_id, length))

    def _can_retain(self) -> bool:
        if not self.retained.free_seq_ids and (least := self._least()):
            self._evict(least)
        return bool(self.retained.free_seq_ids)

    def _drop(self, kept: Retained) -> None:
        self._cells.release(kept.lease)
        self._points.drop(kept.seq_id)
        self.retained.drop(kept)
        self._unsaved.pop(kept.seq_id, None)
        if self._state.has_cells:
            self._ops.append(Forget(kept.seq_id))
