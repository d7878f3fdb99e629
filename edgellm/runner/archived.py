"""Checkpointed memory whose conversations outlive the worker: between it and the files on disk.

A recurrent state is a conversation's whole memory, and its checkpoints lie in host memory anyway:
they are written as soon as it ends, at the end of the answer and of what was asked, since an answer
may come back without its thoughts.

Where tokens have cells too, the end of a conversation is copied out with all of them, in one piece:
that is done while nobody runs, or where it takes hardly any of the running streams' time. Until
then it is `unsaved`, and lost to the disk if it has to make place before.

What was read for a prompt is kept as if it had just ended here, and the prompt goes on from that.
"""

from abc import abstractmethod

from edgellm.runner.archive import Archive
from edgellm.runner.batch import Discard, Op, SaveAll, Store
from edgellm.runner.cells import Lease
from edgellm.runner.checkpointed import CheckpointedMemory
from edgellm.runner.copying import AWAITED_RATIO, UNNOTICED_RATIO, smoothed
from edgellm.runner.memory import Limits, PartialState
from edgellm.runner.pace import Pace
from edgellm.runner.prefix import Match, Retained
from edgellm.runner.sequence import Sequence
from edgellm.runner.shelf import Edge


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
        self._unsaved: dict[int, Retained] = {}  # by seq_id, oldest first
        self._is_decoding = False
        self._byte_s: float | None = None  # what copying a byte takes
        self._n_bytes = 0  # copied since the operations were last observed

    @property
    def disk_bytes(self) -> int:
        return self._archive.used_bytes if self._archive else 0

    @property
    def has_chores(self) -> bool:
        return (
            bool(self._unsaved)
            or any(isinstance(op, Store) for op in self._ops)
            or (super().has_chores)
        )

    # ── what the scheduler asks ──────────────────────────────────────────────

    def begin(self, running: list[Sequence]) -> None:
        self._is_decoding = any(s.n_output for s in running)

    def shelved(self, sequence: Sequence, n_here: int) -> int:
        edge = self._find(sequence, n_here)
        return edge.start if edge else 0

    def fetches(self, sequence: Sequence, n_here: int) -> bool:
        if self._archive is None or not (sequence.fetching or self._find(sequence, n_here)):
            return False
        return self._archive.fetches(sequence, n_here)

    def fetched(self, blob: int, elapsed_s: float | None) -> None:
        if self._archive:
            self._archive.fetched(blob, ok=elapsed_s is not None)

    def abandon(self, sequence: Sequence) -> None:
        if self._archive:
            self._archive.abandon(sequence)

    def work(self, running: list[Sequence]) -> None:
        """One at most: somebody may come."""
        kept = next(iter(self._unsaved.values()), None)
        if kept is None or self._archive is None:
            return
        n_bytes = self._state.whole_bytes(kept.n_computed)
        if running and not self._is_quick(n_bytes, UNNOTICED_RATIO):
            return
        source = self._lend(kept)
        if source is None:
            return
        del self._unsaved[kept.seq_id]
        if n_bytes <= self._state.budget_bytes and not self._archive.has(kept.tokens):
            blob = self._points.new_blob()
            self._ops.append(SaveAll(source, blob))
            self._archive.put(kept.tokens, blob, n_bytes)
            self._ops.append(Discard(blob))
            self._n_bytes += n_bytes
        self._give_back(source)

    def observe(self, elapsed_s: float) -> None:
        """What the operations of a step took, if they copied."""
        if self._n_bytes:
            self._byte_s = smoothed(self._byte_s, elapsed_s / self._n_bytes)
        self._n_bytes = 0

    # ── what the policies do ─────────────────────────────────────────────────

    def _lend(self, kept: Retained) -> int | None:
        """An id on which all of it can be copied out now. None: there is none."""
        return kept.seq_id

    def _give_back(self, seq_id: int) -> None:
        """What _lend gave."""

    @abstractmethod
    def _put_back(self, blob: int, tokens: list[int], running: list[Sequence]) -> Retained | None:
        """A conversation that was read is kept as if it had just ended. None: there is no place.

        Either way the blob is done with.
        """

    def _fits(self, length: int, running: list[Sequence]) -> bool:
        """There are cells for what comes back, beside those that who runs may yet need."""
        need = length + sum(s.n_reserved for s in running)
        return self._cells.held_by(s.lease for s in running) + need <= self._cells.n_cells

    def _lease_of(self, length: int, running: list[Sequence]) -> Lease:
        self._make_room(length + sum(s.n_reserved for s in running))
        lease = Lease()
        self._cells.append(lease, length)
        return lease

    def _is_there(self, match: Match) -> bool:
        source = match.source
        gone = isinstance(source, Retained) and self.retained.by_id.get(source.seq_id) != source
        return not gone

    def _ended(self, kept: Retained) -> None:
        """It is kept from here on: it should outlive the worker."""
        if self._archive is None or kept.adapters or min(kept.tokens) < 0:
            return  # adapters are known by numbers that the next worker gives to others
        if self._state.has_cells:
            if not self._limits.n_chunk:  # whose ends nobody goes on from
                self._unsaved[kept.seq_id] = kept
            return
        spared = self._points.shared(kept.seq_id)
        for limit in (kept.n_prompt, kept.n_computed):
            if point := self._points.last(kept.seq_id, limit):
                tokens = kept.tokens[: point.length]
                self._archive.put(tokens, point.blob, point.n_bytes, spared=spared)
                spared = max(spared, point.length)

    def _back(
        self, sequence: Sequence, match: Match | None, running: list[Sequence]
    ) -> Match | None:
        """Where it goes on: from what was read for it, if that goes further than `match`."""
        if self._archive is None:
            return match
        edge = self._archive.arrived(sequence, match.length if match else 0)
        if edge is None or not self._may_restore(edge):
            return match
        tokens = sequence.tokens[: edge.start]
        kept = self._put_back(self._archive.hand_over(edge), tokens, running)
        if kept is None:
            return match if match and self._is_there(match) else None
        sequence.n_restored = sequence.n_loaded = edge.start
        return Match(kept, edge.start)

    def _enter_loaded(self, sequence: Sequence) -> None:
        """It runs: what it waited for has come, or isn't needed."""
        self.abandon(sequence)
        sequence.n_loaded = sequence.n_restored = min(sequence.n_loaded, sequence.n_cached)

    def _find(self, sequence: Sequence, n_here: int) -> Edge | None:
        edge = self._archive.find(sequence, n_here) if self._archive else None
        return edge if edge and self._may_restore(edge) else None

    def _may_restore(self, edge: Edge) -> bool:
        if not self._is_decoding or not self._state.has_cells:
            return True  # a state alone is put back as every checkpoint is
        return self._is_quick(edge.n_bytes, AWAITED_RATIO)

    def _is_quick(self, n_bytes: int, part: float) -> bool:
        """To copy so much takes no larger part of the time between two tokens."""
        target_s = self._pace.itl_target_s
        if target_s is None:  # nobody counts it
            return True
        return self._byte_s is not None and n_bytes * self._byte_s <= part * target_s

    def _hold(self, n_bytes: int) -> bool:
        evicts = self._points.hold(n_bytes)
        if evicts:
            self._lost()
        return evicts is not None
