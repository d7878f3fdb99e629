"""Archived memory whose conversations go to host memory whole when they have to make room.

A sequence with a state can't leave the cells in pieces, as spill.py has it. So it is copied out
with all that it holds when it must go, and keeps its checkpoints. A prompt that goes on from it, or
parts from it at one of its checkpoints, brings it back. A copy takes the time of a few tokens, and
saves computing the whole conversation.

All copies together take at most half of the budget; the rest is for checkpoints, where there are
any. The copy that nobody has used for the longest goes first. While somebody's answer is being
written, nothing is copied that would take longer than a prompt's part of a step.

Two kinds copy nothing: recurrent models, whose checkpoints are in host memory anyway, and
batch-invariant ones, where no prompt goes on from another's end.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgellm.chat.messages import AdapterSet
from edgellm.runner.batch import Discard, Op, SaveAll
from edgellm.runner.kv.archived import ArchivedMemory
from edgellm.runner.kv.carrying import LEAST_CARRIED, Carried
from edgellm.runner.kv.cells import Lease
from edgellm.runner.kv.copying import EVICTED_RATIO
from edgellm.runner.kv.memory import WORTH_SHARING, Limits, PartialState
from edgellm.runner.kv.prefix import Match, Retained, Source
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.sequence import Sequence

_BUDGET_RATIO = 0.5
_MOST = 256  # copies: each is compared with each prompt that waits
_BYTE_S = 1e-9  # to copy one byte, until that was measured


@dataclass(frozen=True, slots=True)
class Copied:
    kept: Retained  # without cells, on an id below -1 that llama.cpp doesn't know
    blob: int
    n_bytes: int


class AwayMemory(ArchivedMemory):
    def __init__(self, limits: Limits, state: PartialState, ops: list[Op], pace: Pace) -> None:
        super().__init__(limits, state, ops, pace)
        self._away: OrderedDict[int, Copied] = OrderedDict()  # by id, least recently used first
        self._away_bytes = 0
        self._away_ids = itertools.count(-2, -1)

    # ── what the scheduler asks ──────────────────────────────────────────────

    def n_coming_back(self, sequence: Sequence, n_here: int) -> int:
        return max(self._n_away(sequence, n_here), super().n_coming_back(sequence, n_here))

    def must_fetch(self, sequence: Sequence, n_here: int) -> bool:
        """Nothing is read from disk that is in host memory."""
        return super().must_fetch(sequence, max(n_here, self._n_away(sequence, n_here)))

    def carry(self) -> Iterator[Carried]:
        """Only of streams without a state: other models keep their layout."""
        if not self._state.is_nothing or not self._room_away_bytes:
            return
        for kept in self.retained.oldest_first()[::-1]:
            if kept.n_computed >= LEAST_CARRIED:
                blob = self._points.new_blob()
                self._ops.append(SaveAll(kept.seq_id, blob))
                yield Carried(kept.tokens, kept.n_prompt, kept.adapters, blob)
        for copied in reversed(self._away.values()):
            there = copied.kept
            yield Carried(there.tokens, there.n_prompt, there.adapters, copied.blob)

    def adopt(self, carried: list[Carried]) -> dict[int, Carried]:
        kept: dict[int, Carried] = {}
        for one in carried:
            n_bytes = self._state.whole_bytes(len(one.tokens))
            if self._away_bytes + n_bytes > self._room_away_bytes or len(self._away) >= _MOST:
                break
            self._points.hold(n_bytes)
            blob = self._points.new_blob()
            self._put_there(one.tokens, one.n_prompt, one.adapters, blob, n_bytes)
            self._away.move_to_end(next(reversed(self._away)), last=False)
            kept[blob] = one
        return kept

    # ── what the policies do ─────────────────────────────────────────────────

    def _evict(self, kept: Retained) -> None:
        self._put_away(kept)
        self._drop(kept)

    def _back(
        self, sequence: Sequence, match: Match | None, running: list[Sequence]
    ) -> Match | None:
        match = super()._back(sequence, match, running)
        found = self._find_away(sequence, match.length if match else 0)
        if found is None or not self._has_place(found.source.n_computed, sequence, running):
            return match
        copied = self._forget_away(found.source.seq_id)
        kept = self._put_back(copied.blob, copied.kept, running)
        self._n_bytes += copied.n_bytes
        sequence.n_restored = found.length
        return Match(kept, found.length)

    def _kept_away(self) -> Iterable[Retained]:
        """Most recently used first."""
        return (copied.kept for copied in reversed(self._away.values()))

    def _check(self, running: list[Sequence]) -> None:
        """Assert what must hold between steps, wherever ended sequences are kept."""
        held: list[Source] = [*running, *self.retained.by_id.values()]
        promised = self._cells.used + sum(s.n_reserved for s in running)
        assert promised <= self._cells.n_cells, f"{promised} of {self._cells.n_cells} cells"
        assert all(s.lease.length == s.n_computed for s in held)
        assert self._away_bytes == sum(copied.n_bytes for copied in self._away.values())
        assert self._away_bytes <= self._points.held_bytes
        assert self._away_bytes <= self._room_away_bytes
        self._points.check({s.seq_id: s.n_computed for s in [*held, *self._kept_away()]})

    def _put_away(self, kept: Retained) -> None:
        n_bytes = self._state.whole_bytes(kept.n_computed)
        is_worth_it = kept.n_computed >= 2 * WORTH_SHARING and self._state.has_cells
        if not is_worth_it or self._limits.n_chunk or not self._is_quick_enough(n_bytes):
            return
        if not self._make_room_away(n_bytes):
            return
        source = self._lend(kept, kept.n_computed)
        if source is None:
            return
        self._points.hold(n_bytes)
        blob = self._points.new_blob()
        self._ops.append(SaveAll(source, blob))
        self._give_back(source)
        seq_id = self._put_there(kept.tokens, kept.n_prompt, kept.adapters, blob, n_bytes)
        self._points.move(kept.seq_id, seq_id)
        self._n_bytes += n_bytes

    def _put_there(
        self, tokens: list[int], n_prompt: int, adapters: AdapterSet, blob: int, n_bytes: int
    ) -> int:
        """Counts as used just now. Returns the id by which it is known."""
        seq_id = next(self._away_ids)
        there = Retained(seq_id, tokens, Lease(), n_prompt, adapters)
        self._away[seq_id] = Copied(there, blob, n_bytes)
        self._away_bytes += n_bytes
        return seq_id

    @property
    def _room_away_bytes(self) -> int:
        return int(self._state.budget_bytes * _BUDGET_RATIO)

    def _make_room_away(self, n_bytes: int) -> bool:
        """By dropping other copies only: no checkpoint is evicted for one."""
        room_bytes = self._room_away_bytes - n_bytes
        if room_bytes < 0:
            return False
        while self._away and (self._away_bytes > room_bytes or len(self._away) >= _MOST):
            self._drop_away(next(iter(self._away)))
        while self._away and not self._points.has_room(n_bytes):
            self._drop_away(next(iter(self._away)))
        return self._points.has_room(n_bytes)

    def _drop_away(self, seq_id: int) -> None:
        copied = self._forget_away(seq_id)
        self._points.drop(seq_id)
        self._ops.append(Discard(copied.blob))

    def _forget_away(self, seq_id: int) -> Copied:
        """No longer count it. Its blob and its checkpoints are the caller's to take care of."""
        copied = self._away.pop(seq_id)
        self._away_bytes -= copied.n_bytes
        self._points.let_go(copied.n_bytes)
        return copied

    def _n_away(self, sequence: Sequence, n_here: int) -> int:
        found = self._find_away(sequence, n_here)
        return found.length if found else 0

    def _find_away(self, sequence: Sequence, n_here: int) -> Match | None:
        """The copy that goes furthest along its prompt, if that is far beyond `n_here` tokens."""
        if not self._away or not sequence.params.cache_prompt:
            return None
        like = (kept for kept in self._kept_away() if kept.adapters == sequence.adapters)
        found = self.match(sequence.tokens, like, sequence.pictures)
        if found is None or found.length - n_here < WORTH_SHARING:
            return None
        n_bytes = self._away[found.source.seq_id].n_bytes
        return found if self._is_quick_enough(n_bytes) else None

    def _is_quick_enough(self, n_bytes: int) -> bool:
        return not self._is_decoding or self._is_quick(n_bytes, EVICTED_RATIO, _BYTE_S)
