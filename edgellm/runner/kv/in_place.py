"""Checkpointed memory that keeps ended sequences where they ran.

Hybrid models: an id above n_seq_max has no recurrent row, and llama.cpp refuses to forget its other
cells (llama-memory-hybrid.cpp, `seq_rm`). So a retained sequence has to stay on an id that may run.

Split KV, with windows or hybrid: every id is a stream of its own anyway. Within a stream, going on
from an earlier length is a cut; a fork into another stream is a copy of all that the source holds,
cut back to the checkpoint. That saves the computing, but not the memory.

A conversation goes on from its own end without any copy: its state is still there. It stays until
its id or its cells are needed.
"""

from edgellm.runner.batch import Copy, Discard, Forget, Fork, Op, RestoreAll, Resume, Trim
from edgellm.runner.kv.away import AwayMemory
from edgellm.runner.kv.cells import Lease
from edgellm.runner.kv.memory import WORTH_SHARING, Limits, PartialState, used_by
from edgellm.runner.kv.prefix import Match, Retained, RetainedStore, Source
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.sequence import Sequence


class InPlaceMemory(AwayMemory):
    def __init__(self, limits: Limits, state: PartialState, ops: list[Op], pace: Pace) -> None:
        super().__init__(limits, state, ops, pace)
        self.retained = RetainedStore(range(limits.n_seq_max))  # its free ids are all the free ids

    def admit(self, sequence: Sequence, match: Match | None, running: list[Sequence]) -> bool:
        is_copied = match and not (self._limits.unified or _goes_on(match))
        if match and is_copied and match.length < WORTH_SHARING:
            match = None  # not worth the copy of a stream
        match = self._back(sequence, match, running)
        if match and not _goes_on(match):
            match = self._with_point(match)
        place = self._place(match)
        if place is None:
            return False
        lease = self._lease(match, place)
        need = self._need(sequence, lease, running)
        if need is None:
            return False
        others: list[Source] = [*running, *self.retained.by_id.values()]
        sequence.seq_id, sequence.lease = place, lease
        self._occupy(sequence, match)
        self._enter(sequence, others)
        self._enter_loaded(sequence)
        self._make_room(need)
        return True

    def leave(self, sequence: Sequence) -> None:
        seq_id = sequence.seq_id
        del self._stops[seq_id]
        if sequence.n_computed and self._limits.shares_prefixes:
            tokens = sequence.tokens[: sequence.n_computed]
            self.retained.put(seq_id, tokens, sequence.n_prompt, sequence.adapters)
            kept = self.retained.by_id[seq_id]
            kept.lease, sequence.lease = sequence.lease, Lease()
            self._ended(kept)
        else:
            self._clear(seq_id, sequence.lease)
            self.retained.free_seq_ids.append(seq_id)

    def check(self, running: list[Sequence]) -> None:
        ids = [*(s.seq_id for s in running), *self.retained.by_id, *self.retained.free_seq_ids]
        assert sorted(ids) == list(range(self._limits.n_seq_max)), f"ids lost or doubled: {ids}"
        self._check(running)

    def _place(self, match: Match | None) -> int | None:
        """The id to run on: the source's own if it goes on there, the lowest free one, or that of
        the retained sequence that is worth least."""
        if match and _goes_on(match):
            return match.source.seq_id
        if self.retained.free_seq_ids:
            return min(self.retained.free_seq_ids)
        least = self._least(used_by(match))
        return least.seq_id if least else None

    def _lease(self, match: Match | None, place: int) -> Lease:
        if match is None:
            return Lease()
        if self._limits.unified or match.source.seq_id == place:
            return self._cells.fork(match.source.lease, match.length)
        lease = Lease()
        self._cells.append(lease, match.length)
        return lease

    def _occupy(self, sequence: Sequence, match: Match | None) -> None:
        place = sequence.seq_id
        kept = self.retained.by_id.get(place)
        if match and kept and match.source is kept:
            self._take_over(kept, match.length)
        else:
            if kept:
                self._evict(kept)
            self.retained.free_seq_ids.remove(place)
            if used := used_by(match):
                self.retained.touch(used)
            if match:
                self._fork(match.source.seq_id, place, match.length)
        sequence.n_cached = sequence.n_computed = match.length if match else 0

    def _take_over(self, kept: Retained, length: int) -> None:
        if length < kept.n_computed:
            if not self._is_whole(kept):
                point = self._points.at(kept.seq_id, length, self._n_whole)
                assert point is not None, f"seq {kept.seq_id} has no checkpoint"
                self._ops.append(Resume(point.blob, kept.seq_id))
            self._ops.append(Trim(kept.seq_id, length))
        self._points.cut(kept.seq_id, length)
        self._cells.release(kept.lease)
        self._unsaved.pop(kept.seq_id, None)
        del self.retained.by_id[kept.seq_id]

    def _fork(self, source: int, target: int, length: int) -> None:
        point = self._points.at(source, length, self._n_whole)
        assert point is not None, f"seq {source} has no checkpoint"
        self._points.inherit(target, source, length)
        if self._limits.unified:
            self._ops += [Fork(source, target, length), Resume(point.blob, target)]
        else:
            # Trim comes last: a recurrent state can't be cut back, so the right one must be there.
            self._ops += [Copy(source, target, length), Resume(point.blob, target)]
            self._ops.append(Trim(target, length))

    def _resumable(self, source: Source, common: int) -> int:
        """A retained sequence can be resumed at its very end without a checkpoint."""
        is_its_end = isinstance(source, Retained) and common == source.n_computed
        if is_its_end and self._limits.n_chunk is None:
            return common
        return super()._resumable(source, common)

    def _is_whole(self, source: Source) -> bool:
        """Here retained sequences still have their windows, too."""
        return source.n_computed <= self._n_whole

    def _lend(self, kept: Retained, length: int) -> int | None:
        if length == kept.n_computed:
            return kept.seq_id
        free = self.retained.free_seq_ids
        if not free or not self._can_fork(kept, length):
            return None
        self._fork(kept.seq_id, place := min(free), length)
        return place

    def _can_fork(self, kept: Retained, length: int) -> bool:
        point = self._points.last(kept.seq_id, length)
        return point is not None and point.length == length

    def _give_back(self, seq_id: int) -> None:
        if seq_id not in self.retained.by_id:
            self._clear(seq_id, Lease())

    def _has_id(self) -> bool:
        return self._place(None) is not None

    def _put_back(self, blob: int, held: Retained, running: list[Sequence]) -> Retained:
        place, length = self._place(None), held.n_computed
        assert place is not None, "_has_id was asked"
        if old := self.retained.by_id.get(place):
            self._evict(old)
        lease = self._lease_of(length, running)
        self._ops += [RestoreAll(blob, place, tuple(held.tokens)), Discard(blob)]
        self.retained.free_seq_ids.remove(place)
        self.retained.put(place, held.tokens, held.n_prompt, held.adapters)
        self._points.move(held.seq_id, place)
        kept = self.retained.by_id[place]
        kept.lease = lease
        return kept

    def _drop(self, kept: Retained) -> None:
        self._clear(kept.seq_id, kept.lease)
        self.retained.drop(kept)
        self._unsaved.pop(kept.seq_id, None)

    def _clear(self, seq_id: int, lease: Lease) -> None:
        self._cells.release(lease)
        self._points.drop(seq_id)
        self._ops.append(Forget(seq_id))


def _goes_on(match: Match) -> bool:
    """The prompt is a retained conversation's next turn, so it runs on that one's id. Little of it
    is lost by that: at most half."""
    return isinstance(match.source, Retained) and 2 * match.length > len(match.source.tokens)
