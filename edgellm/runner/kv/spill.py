"""Between the KV cells and the shelf: what has ended is copied out, what is wanted again comes
back.

Others have to wait while something is copied, so it goes in pieces (copy_budget.py). Sequences are
copied out before anybody needs their cells; so when somebody does, the cells are free at once.
Copying back pays where it takes less time than computing again; both are measured.
"""

from collections.abc import Iterator

from edgellm.runner.batch import Forget, Op, Restore, Save, Trim
from edgellm.runner.kv.carrying import LEAST_CARRIED, Carried, is_in
from edgellm.runner.kv.cells import Cells
from edgellm.runner.kv.copy_budget import CopyBudget
from edgellm.runner.kv.edge import Found
from edgellm.runner.kv.memory import WORTH_SHARING, Limits
from edgellm.runner.kv.prefix import Retained
from edgellm.runner.kv.shelf import Shelf
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.sequence import Sequence


class Spill:
    def __init__(self, limits: Limits, cells: Cells, pace: Pace, ops: list[Op]) -> None:
        assert limits.blob is not None
        self.shelf = Shelf(limits.shelf_bytes, limits.blob, ops, limits.disk_bytes)
        self.shelf.adopt(limits.stored)
        self.budget = CopyBudget(pace, cells.n_cells)
        self._cells, self._ops = cells, ops
        self._waiting: list[Sequence] = []  # those that wait for the disk

    # ── out of the cells ─────────────────────────────────────────────────────

    def save(self, kept: Retained) -> bool:
        """Copy out as much of it as this step may. False: the rest is for later steps.

        A piece ends where another sequence has forked off, so that what they share is on one edge.
        """
        if not _can_move(kept.tokens):
            return True
        n_tokens, ends = len(kept.tokens), self._cells.ends(kept.lease)
        while (start := self.shelf.covered(kept.tokens, kept.adapters)) < n_tokens:
            if not self.budget.is_worth_saving(range(start, n_tokens)):
                return True
            n_most = self.budget.piece()
            if not n_most:
                return False
            fork = next(end for end in ends if end > start)
            end = min(fork, start + n_most)
            edge = self.shelf.put(kept.tokens, end, kept.adapters)
            if edge is None:
                return True
            self._ops.append(Save(kept.seq_id, start, end, edge.blob))
            self.shelf.store(edge)
            self.budget.went_out(end - start)
        return True

    def is_saved(self, kept: Retained) -> bool:
        return self.shelf.covered(kept.tokens, kept.adapters) == len(kept.tokens)

    # ── to a memory of another layout ────────────────────────────────────────

    def whole(self, kept: Retained) -> Carried | None:
        """All of it in one new copy, whatever pieces are on the shelf. None: it isn't worth one."""
        if len(kept.tokens) < LEAST_CARRIED or not _can_move(kept.tokens):
            return None
        blob, n_tokens = self.shelf.new_blob(), len(kept.tokens)
        self._ops.append(Save(kept.seq_id, 0, n_tokens, blob))
        there = self.shelf.find(kept.tokens, n_tokens, kept.adapters)
        self.shelf.give_up([edge for edge in there.edges if edge.end <= there.length])
        return Carried(kept.tokens, kept.n_prompt, kept.adapters, blob)

    def carry(self, carried: list[Carried]) -> Iterator[Carried]:
        """The shelf's conversations that aren't among `carried`, most recently used first. Pieces
        are put together in the cells, all of which are free, and copied out as one."""
        for adapters, way in self.shelf.ways():
            tokens = [token for edge in way for token in edge.tokens]
            if len(tokens) < LEAST_CARRIED or is_in(tokens, adapters, carried):
                continue
            blob = way[0].blob
            if len(way) > 1:
                blob = self.shelf.new_blob()
                for edge in way:
                    self._ops.append(Restore(edge.blob, 0, edge.start, tuple(edge.tokens)))
                self._ops += [Save(0, 0, len(tokens), blob), Forget(0)]
                self.shelf.give_up(way)
            yield Carried(tokens, len(tokens), adapters, blob)

    # ── and back ─────────────────────────────────────────────────────────────

    def find(self, sequence: Sequence, n_here: int) -> Found:
        """What is worth copying back, if the first `n_here` tokens are in the cells already.

        The last edge may hold more than is wanted; even so there must be cells for all of it.
        """
        if not sequence.params.cache_prompt or sequence.pictures:
            return Found()
        found = self.shelf.find(sequence.tokens, sequence.n_prompt - 1, sequence.adapters)
        room = max(sequence.n_max - 1, sequence.n_prompt)
        edges = [edge for edge in found.edges if edge.end > n_here]
        length = found.length
        while edges:
            last = edges[-1]
            begins = max(n_here, last.start)
            n_cells, on_disk = len(last.tokens), not last.in_ram
            saved = range(begins, length)
            is_worth_it = self.budget.is_worth_restoring(n_cells, saved, on_disk=on_disk)
            if last.end <= room and is_worth_it:
                break
            edges.pop()
            length = last.start
        if length - n_here < WORTH_SHARING:
            return Found()
        return Found(tuple(edges), length)

    def must_fetch(self, sequence: Sequence, n_here: int) -> bool:
        """Whether part of what it will get back is still being read from disk. Starts to read."""
        if not sequence.fetching:
            self._fetch(sequence, self.find(sequence, n_here))
        return sequence.awaits_disk

    def _fetch(self, sequence: Sequence, found: Found) -> None:
        """Read what is missing of these edges, as far as there is room in memory, and keep all of
        them there meanwhile."""
        missing = {edge.blob for edge in found.edges if not edge.in_ram}
        if not missing:
            return
        for edge in found.edges:
            if not self.shelf.fetch(edge):
                break
            edge.n_pins += 1
            sequence.fetching.append(edge)
            sequence.n_loaded += len(edge.tokens) if edge.blob in missing else 0
        if sequence.fetching:  # otherwise it asks again in the next step
            self._waiting.append(sequence)

    def fetched(self, blob: int, elapsed_s: float | None) -> None:
        """Reading took `elapsed_s`. None: it failed."""
        edge = self.shelf.fetched(blob, ok=elapsed_s is not None)
        if elapsed_s is not None:
            self.budget.loaded(len(edge.tokens), elapsed_s)

    def restore(self, sequence: Sequence) -> None:
        """Copy back as much of what it was promised as this step may."""
        while sequence.restoring and self.budget.may_come_back:
            edge = sequence.restoring.pop(0)
            self.shelf.touch(edge)
            tokens = tuple(edge.tokens)
            self._ops.append(Restore(edge.blob, sequence.seq_id, edge.start, tokens))
            self.shelf.let_go(edge)
            self._cells.append(sequence.lease, len(edge.tokens))
            sequence.n_computed = min(edge.end, sequence.n_cached)
            if edge.end > sequence.n_cached:
                self._ops.append(Trim(sequence.seq_id, sequence.n_cached))
                self._cells.trim(sequence.lease, sequence.n_cached)
            self.budget.came_back(len(edge.tokens))

    def promise(self, sequence: Sequence, n_here: int) -> Found | None:
        """Promise it what find() says, as far as that is in memory, and keep it there until
        then."""
        found = self.find(sequence, n_here)
        away = next((edge for edge in found.edges if not edge.in_ram), None)
        if away:
            edges = found.edges[: found.edges.index(away)]
            found = Found(edges, away.start) if away.start - n_here >= WORTH_SHARING else Found()
        sequence.restoring = list(found.edges)
        for edge in found.edges:
            edge.n_pins += 1
        return found if found.edges else None

    def give_up(self, sequence: Sequence) -> None:
        """Release what it was promised and hasn't got."""
        for edge in sequence.restoring:
            self.shelf.let_go(edge)
        sequence.restoring = []

    def stop_waiting(self, sequence: Sequence) -> None:
        """It stops waiting for the disk."""
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        for edge in sequence.fetching:
            self.shelf.let_go(edge)
        sequence.fetching = []

    def check(self, running: list[Sequence]) -> None:
        promised = [edge for sequence in running for edge in sequence.restoring]
        awaited = [edge for sequence in self._waiting for edge in sequence.fetching]
        self.shelf.check([*promised, *awaited])


def _can_move(tokens: list[int]) -> bool:
    """Not with pictures, whose rows are numbers below zero: their positions may not be the indexes
    of their tokens."""
    return min(tokens) >= 0
