"""Memory for models whose sequences carry a state: sliding windows, recurrent layers, or both.

Cells of full attention can still be shared by reference, or copied. The state can't: it only holds
what the sequence has come to, and no earlier length can be recovered from it. So it is copied out
at chosen lengths (stops.py, checkpoints.py), and a prompt is shared up to the last of these at
most: fork the cells before it, then put the state there. A fork without its state returns success
and wrong text.

Two policies differ in where they keep a sequence that has ended (aside.py, in_place.py); this file
is what they have in common. Sources: llama.cpp src/llama-kv-cache-iswa.cpp,
llama-memory-hybrid.cpp, llama-memory-recurrent.cpp, `state_write` with PARTIAL_ONLY.
"""

import sys
from abc import ABC, abstractmethod
from bisect import insort
from collections.abc import Iterable

from edgellm.runner.batch import Checkpoint, Op
from edgellm.runner.intake.pictures import Placed, whole_pictures
from edgellm.runner.kv.cells import Cells, Lease
from edgellm.runner.kv.checkpoints import Checkpoints, Point
from edgellm.runner.kv.memory import WORTH_SHARING, CopiesNothing, Limits, PartialState
from edgellm.runner.kv.prefix import (
    Match,
    Retained,
    RetainedStore,
    Source,
    common_prefix,
    whole_chunks,
)
from edgellm.runner.kv.stops import following, stops
from edgellm.runner.sequence import Sequence

_SHORT_ANSWER = 8  # tokens: computing so few again takes less time than copying a state


class CheckpointedMemory(CopiesNothing, ABC):
    retained: RetainedStore

    def __init__(self, limits: Limits, state: PartialState, ops: list[Op]) -> None:
        self._limits, self._state, self._ops = limits, state, ops
        counts = limits.unified and state.has_cells
        # A stream is as long as a conversation may get, and a recurrent state takes no cells.
        self._cells = Cells(limits.n_cells if counts else sys.maxsize)
        self._points = Checkpoints(state, ops)
        self._stops: dict[int, list[int]] = {}  # by seq_id, of those that run
        self._n_whole = _n_whole(limits, state)

    @property
    def used(self) -> int:
        return self._cells.used if self._state.has_cells else 0

    @property
    def n_kv(self) -> int | None:
        """In a pool every row looks at all cells, whatever its window."""
        return self._cells.n_kv() if self._is_pool else None

    def in_tiles(self, running: Iterable[Sequence]) -> int | None:
        return self._cells.in_tiles(s.lease for s in running) if self._is_pool else None

    @property
    def _is_pool(self) -> bool:
        return self._limits.unified and self._state.has_cells

    @property
    def has_chores(self) -> bool:
        return any(isinstance(op, Checkpoint) for op in self._ops)

    @property
    def shelf_bytes(self) -> int:
        return self._points.used_bytes + self._points.held_bytes

    # ── what the scheduler asks ──────────────────────────────────────────────

    def match(
        self, tokens: list[int], sources: Iterable[Source], pictures: tuple[Placed, ...] = ()
    ) -> Match | None:
        """The source that can be resumed furthest along this prompt."""
        best: Match | None = None
        for source in sources:
            common = common_prefix(tokens, source.tokens, self._limit(tokens, source))
            length = self._shareable(source, common, pictures)
            if length > (best.length if best else 0):
                best = Match(source, length)
        return best

    def plan_fork(self, leader: Sequence, length: int) -> int:
        """Makes the leader stop at that length, or uses a stop shortly before it."""
        planned = self._stops[leader.seq_id]
        near = [s for s in planned if length - WORTH_SHARING < s <= length]
        if near and near[-1] > leader.n_computed:
            return near[-1]  # not worth a step more
        insort(planned, length)
        return length

    def next_stop(self, sequence: Sequence) -> int | None:
        """The length at which the next step of this prompt should end, if not at its own."""
        return following(self._stops[sequence.seq_id], sequence.n_computed)

    def grow(self, sequence: Sequence, count: int) -> None:
        self._cells.append(sequence.lease, count)
        if sequence.n_computed in self._stops[sequence.seq_id]:
            self._take(sequence)

    # ── what both policies do ────────────────────────────────────────────────

    def forget_retained(self) -> None:
        while oldest := self.retained.oldest():
            self._drop(oldest)

    def _need(self, sequence: Sequence, lease: Lease, running: list[Sequence]) -> int | None:
        """Cells that this sequence, on this lease, and all running ones may yet take. None: even
        without the retained there wouldn't be so many; the lease is given up."""
        need = sequence.n_reserved - lease.length + sum(s.n_reserved for s in running)
        stays = self._cells.held_by([lease, *(s.lease for s in running)])
        if stays + need <= self._cells.n_cells:
            return need
        self._cells.release(lease)  # nothing is dropped for somebody who can't come in yet
        return None

    def _make_room(self, need: int) -> None:
        while self._cells.used + need > self._cells.n_cells:
            oldest = self.retained.oldest()
            assert oldest is not None, "cells are held by running and retained sequences only"
            self._evict(oldest)

    @abstractmethod
    def _evict(self, kept: Retained) -> None:
        """A retained sequence has to make room: forget it, perhaps after copying it out."""

    @abstractmethod
    def _drop(self, kept: Retained) -> None:
        """Forget a retained sequence, with all that it holds."""

    def _enter(self, sequence: Sequence, others: Iterable[Source]) -> None:
        """It starts to run with what it shares: plan the stops of its prompt."""
        start, prompt = sequence.n_computed, sequence.tokens
        found: list[int] = []
        if self._limits.shares_prefixes:
            n_chunk, limit = self._limits.n_chunk, len(prompt) - 1
            like = (s for s in others if s.adapters == sequence.adapters)
            parted = max((common_prefix(prompt, s.tokens, limit) for s in like), default=0)
            ends, every = self._limits.turn_ends, self._points.every
            found = stops(prompt, start, ends, every, parted, self._n_whole)
            outside = (whole_pictures(stop, sequence.pictures) for stop in found)
            found = sorted({whole_chunks(stop, n_chunk) for stop in outside})
        self._stops[sequence.seq_id] = [stop for stop in found if stop > start]

    def _take(self, sequence: Source) -> None:
        last = self._points.last(sequence.seq_id)
        length = sequence.n_computed
        if last and last.length >= length:
            return
        if self._points.take(sequence.seq_id, length):
            self._lost()

    def _worth_it(self, sequence: Sequence) -> bool:
        """Whether a checkpoint at the end of its answer pays: it has come far since the last."""
        if not self._limits.shares_prefixes or self._limits.n_chunk:
            return False
        last = self._points.last(sequence.seq_id)
        return sequence.n_computed - (last.length if last else 0) >= _SHORT_ANSWER

    def _least(self, used: Retained | None = None) -> Retained | None:
        """The retained sequence that is worth least: by the tokens that no other one has, divided
        by how many have been retained or used since. `used` counts as used just now."""
        kept = self.retained.oldest_first(used)
        worth = [each.n_computed - self._points.shared(each.seq_id) for each in kept]
        ranks = range(len(kept), 0, -1)
        order = [n_tokens / rank for n_tokens, rank in zip(worth, ranks, strict=True)]
        return kept[order.index(min(order))] if kept else None

    def _lost(self) -> None:
        """Checkpoints were evicted: retained sequences may have lost theirs."""

    def _limit(self, tokens: list[int], source: Source) -> int:
        """The last token of a prompt is always computed: its logits are what we are after."""
        limit = min(source.n_computed, len(tokens) - 1)
        return min(limit, source.n_prompt) if self._limits.n_chunk else limit

    def _shareable(self, source: Source, common: int, pictures: tuple[Placed, ...]) -> int:
        """Where it can be resumed without cutting through a picture that has to stay whole: a
        cancelled request, or a checkpoint, may have ended inside one."""
        length = self._resumable(source, whole_pictures(common, pictures))
        while length > (outside := whole_pictures(length, pictures)):
            length = self._resumable(source, outside)
        return length

    def _resumable(self, source: Source, common: int) -> int:
        if common >= WORTH_SHARING:
            can_copy = self._is_whole(source) and self._points.has_room(self._bytes_of(source))
            if can_copy or self._points.at(source.seq_id, common, self._n_whole):
                return common
        point = self._points.last(source.seq_id, common)
        return point.length if point else 0

    def _bytes_of(self, source: Source) -> int:
        return self._state.checkpoint_bytes(source.n_computed)

    def _is_whole(self, source: Source) -> bool:
        """Its window still begins with its first token: as it is now, it serves every length."""
        return isinstance(source, Sequence) and source.n_computed <= self._n_whole

    def _with_point(self, match: Match | None) -> Match | None:
        """The match, if its source has a state to put back. A window that is still whole is copied
        out on the spot."""
        if match is None or self._point(match):
            return match
        if self._is_whole(match.source):
            self._take(match.source)
        return match if self._point(match) else None

    def _point(self, match: Match) -> Point | None:
        return self._points.at(match.source.seq_id, match.length, self._n_whole)


def _n_whole(limits: Limits, state: PartialState) -> int:
    """The longest sequence whose window still holds all of its tokens: it can be cut back.

    In a cache that sequences share, others may take the first cell as soon as the window is full
    (llama-kv-cache.cpp, find_slot). 0 for a recurrent state, which can't be cut back, and where
    batch-invariant sharing knows whole chunks only.
    """
    if state.has_rows or not state.n_window or limits.n_chunk:
        return 0
    return state.n_window - 1 if limits.unified else state.n_window
