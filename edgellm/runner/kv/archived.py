"""Checkpointed memory whose conversations outlive the worker: between it and the files on disk.

A file holds all that a sequence held after so many tokens, and only a prompt that goes on from
there can use it. So an ended sequence is written at several lengths: at its end; at the end of what
was asked, since an answer may come back without its thoughts; where others have parted from it; and
at the first message's end, where others will. What several conversations begin with is written
once.

A recurrent state is a conversation's whole memory, and its checkpoints are in host memory anyway:
these are written as soon as it ends.

Where tokens have cells too, cells and state are copied out together, in one piece: while nobody
runs, or if it takes hardly any of the running streams' time. Until then the sequence is `unsaved`,
and not written at all if it has to make room before. The length at its end is written first.

What was read for a prompt is retained as if it had just ended here, and the prompt goes on from it.
"""

from abc import abstractmethod
from math import inf

from edgellm.runner.batch import Discard, Op, SaveAll, Store
from edgellm.runner.kv.archive import Archive
from edgellm.runner.kv.cells import Lease
from edgellm.runner.kv.checkpointed import CheckpointedMemory
from edgellm.runner.kv.copying import AWAITED_RATIO, WHOLE_RATIO
from edgellm.runner.kv.memory import Limits, PartialState
from edgellm.runner.kv.prefix import Match, Retained
from edgellm.runner.kv.stops import first_end
from edgellm.runner.kv.whole_file import WholeFile
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.pacing.smoothing import smoothed
from edgellm.runner.sequence import Sequence


class ArchivedMemory(CheckpointedMemory):
    def __init__(self, limits: Limits, state: PartialState, ops: list[Op], pace: Pace) -> None:
        super().__init__(limits, state, ops)
        self._pace = pace
        self._archive: Archive | None = None
        if limits.disk_bytes:
            self._archive = Archive(
                limits,
                ops,
                new_blob=self._points.new_blob,
                hold=self._hold,
                let_go=self._points.let_go,
            )
        # By seq_id, oldest first. Each with the lengths to be written, ascending, and for each of
        # these the length down to which its file replaces shorter ones.
        self._unsaved: dict[int, tuple[Retained, list[tuple[int, int]]]] = {}
        self._is_decoding = False
        self._byte_s: float | None = None  # what copying a byte takes
        self._n_bytes = 0  # copied since the operations were last observed

    @property
    def disk_bytes(self) -> int:
        return self._archive.used_bytes if self._archive else 0

    @property
    def has_chores(self) -> bool:
        stores = any(isinstance(op, Store) for op in self._ops)
        return bool(self._unsaved) or stores or super().has_chores

    # ── what the scheduler asks ──────────────────────────────────────────────

    def begin(self, running: list[Sequence]) -> None:
        self._is_decoding = any(s.n_output for s in running)

    def n_coming_back(self, sequence: Sequence, n_here: int) -> int:
        file = self._find(sequence, n_here)
        return file.length if file else 0

    def must_fetch(self, sequence: Sequence, n_here: int) -> bool:
        if self._archive is None or not (sequence.fetching_whole or self._find(sequence, n_here)):
            return False
        return self._archive.must_fetch(sequence, n_here)

    def fetched(self, blob: int, elapsed_s: float | None) -> None:
        if self._archive:
            self._archive.fetched(blob, ok=elapsed_s is not None)

    def stop_waiting(self, sequence: Sequence) -> None:
        if self._archive:
            self._archive.stop_waiting(sequence)

    def copy(self, running: list[Sequence]) -> None:
        """Writes one at most, as somebody may come meanwhile."""
        kept, lengths = next(iter(self._unsaved.values()), (None, []))
        if kept is None or self._archive is None:
            return
        length, spared = lengths[-1]
        n_bytes = self._state.whole_bytes(length)
        if running and not self._is_quick(n_bytes, WHOLE_RATIO):
            return
        tokens = kept.tokens[:length]
        if n_bytes > self._state.budget_bytes or self._archive.has(tokens):
            self._done_with_longest(kept)
            return
        source = self._lend(kept, length)
        if source is None and length == kept.n_computed:
            return  # for want of an id; there will be one
        self._done_with_longest(kept)
        if source is None:
            return
        blob = self._points.new_blob()
        self._ops.append(SaveAll(source, blob))
        self._archive.put(tokens, blob, n_bytes, spared=spared)
        self._ops.append(Discard(blob))
        self._n_bytes += n_bytes
        self._give_back(source)

    def _done_with_longest(self, kept: Retained) -> None:
        """Its shorter lengths come after the ends of the other sequences."""
        _, lengths = self._unsaved.pop(kept.seq_id)
        lengths.pop()
        if lengths:
            self._unsaved[kept.seq_id] = (kept, lengths)

    def observe(self, elapsed_s: float) -> None:
        """The operations of a step took so long; it counts if they copied."""
        if self._n_bytes:
            self._byte_s = smoothed(self._byte_s, elapsed_s / self._n_bytes)
        self._n_bytes = 0

    # ── what the policies do ─────────────────────────────────────────────────

    @abstractmethod
    def _lend(self, kept: Retained, length: int) -> int | None:
        """Bring what it held after so many tokens onto some id, to be copied out from there.
        Returns that id. None: none is free, or that length can't be restored any more."""

    @abstractmethod
    def _give_back(self, seq_id: int) -> None:
        """The id that _lend returned is used no longer."""

    @abstractmethod
    def _has_id(self) -> bool:
        """There is an id for what comes back, or a retained sequence that can give up its own."""

    @abstractmethod
    def _put_back(self, blob: int, held: Retained, running: list[Sequence]) -> Retained:
        """Retain a conversation from a blob, as if it had just ended. It takes over the checkpoints
        that it has under `held`'s id. There must be room, see _has_place."""

    def _has_place(self, length: int, sequence: Sequence, running: list[Sequence]) -> bool:
        """Room for `length` tokens that come back, beside those who run and all they may need; and
        then for `sequence`, which wants them: otherwise they would come back in vain in every step.
        """
        need = max(length, sequence.n_reserved) + sum(s.n_reserved for s in running)
        fits = self._cells.held_by(s.lease for s in running) + need <= self._cells.n_cells
        return fits and self._has_id()

    def _lease_of(self, length: int, running: list[Sequence]) -> Lease:
        self._make_room(length + sum(s.n_reserved for s in running))
        lease = Lease()
        self._cells.append(lease, length)
        return lease

    def _ended(self, kept: Retained) -> None:
        """It is retained from here on, and should outlive the worker."""
        if self._archive is None or kept.adapters or min(kept.tokens) < 0:
            return  # the next worker may give an adapter's number to another one
        lengths = self._lengths(kept)
        if self._state.has_cells:
            if lengths and not self._limits.n_chunk:  # with chunks, no prompt goes on from an end
                self._unsaved[kept.seq_id] = (kept, lengths)
            return
        for length, spared in lengths:
            if point := self._points.last(kept.seq_id, length):
                tokens = kept.tokens[:length]
                self._archive.put(tokens, point.blob, point.n_bytes, spared=spared)

    def _lengths(self, kept: Retained) -> list[tuple[int, int]]:
        """The lengths at which it should be written, ascending, each with the one before it."""
        seq_id, first = kept.seq_id, first_end(kept.tokens, self._limits.turn_ends)
        limits = (first, self._points.shared(seq_id), kept.n_prompt, kept.n_computed)
        points = [self._points.last(seq_id, limit) for limit in limits]
        lengths = {point.length for point in points if point}
        if self._state.has_cells:
            lengths.add(kept.n_computed)
        found = sorted(lengths)
        return list(zip(found, [0, *found[:-1]], strict=True))

    def _back(
        self, sequence: Sequence, match: Match | None, running: list[Sequence]
    ) -> Match | None:
        """What it goes on from: the file that was read for it, if that goes further than
        `match`."""
        if self._archive is None:
            return match
        file = self._archive.arrived(sequence, match.length if match else 0)
        if file is None or not self._may_restore(file):
            return match
        if not self._has_place(file.length, sequence, running):
            return match  # the file stays in memory until there is room
        held = Retained(-1, sequence.tokens[: file.length], Lease(), file.length)
        kept = self._put_back(self._archive.hand_over(file), held, running)
        sequence.n_restored = sequence.n_loaded = file.length
        return Match(kept, file.length)

    def _enter_loaded(self, sequence: Sequence) -> None:
        """It runs now: what it waited for has come, or isn't needed."""
        self.stop_waiting(sequence)
        sequence.n_loaded = min(sequence.n_loaded, sequence.n_cached)
        sequence.n_restored = min(sequence.n_restored, sequence.n_cached)

    def _find(self, sequence: Sequence, n_here: int) -> WholeFile | None:
        file = self._archive.find(sequence, n_here) if self._archive else None
        return file if file and self._may_restore(file) else None

    def _may_restore(self, file: WholeFile) -> bool:
        if not self._is_decoding or not self._state.has_cells:
            return True  # a bare state is no more to put back than any checkpoint
        return self._is_quick(file.n_bytes, AWAITED_RATIO)

    def _is_quick(self, n_bytes: int, part: float, unmeasured_byte_s: float = inf) -> bool:
        """Whether copying so much takes at most that part of the time between two tokens.
        `unmeasured_byte_s`: what a byte is believed to take until one was copied."""
        target_s = self._pace.itl_target_s
        if target_s is None:  # nobody counts that time
            return True
        byte_s = unmeasured_byte_s if self._byte_s is None else self._byte_s
        return n_bytes * byte_s <= part * target_s

    def _hold(self, n_bytes: int) -> bool:
        evicts = self._points.hold(n_bytes)
        if evicts:
            self._lost()
        return evicts is not None
