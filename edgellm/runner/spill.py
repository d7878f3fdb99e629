"""Between the KV cells and the shelf: what ended is copied out, what is asked for again comes back.

Copying takes time that running streams would have to wait: so it goes in pieces, as many in a step
as a tenth of the pace allows, and what ended is copied before anybody needs its cells. Then it can
leave them at once: nothing but tags changes.

Copying back is worth it where it takes less time than computing again; both are measured.
"""

from edgellm.runner.batch import Op, Restore, Save, Trim
from edgellm.runner.cells import Cells
from edgellm.runner.memory import WORTH_SHARING, Limits
from edgellm.runner.pace import Pace
from edgellm.runner.prefix import Retained
from edgellm.runner.sequence import Sequence
from edgellm.runner.shelf import Found, Shelf

PIECE = 256  # cells: the most that one operation copies
_LEAST_PIECE = 16  # cells: fewer are hardly worth an operation
_PART_OF_PACE = 0.1  # of the inter-token target, for copying beside running streams
_FIRST_PIECE = 64  # cells: while nobody knows what copying costs
_SMOOTHING = 0.3  # weight of the newest measurement


class Spill:
    def __init__(self, limits: Limits, cells: Cells, pace: Pace, ops: list[Op]) -> None:
        assert limits.blob is not None
        self.shelf = Shelf(limits.shelf_bytes, limits.blob, ops, limits.disk_bytes)
        self.shelf.adopt(limits.stored)
        self._cells, self._pace, self._ops = cells, pace, ops
        self._cell_s: float | None = None  # what copying a cell takes, either way
        self._waiting: list[Sequence] = []  # for the disk
        self._load_cell_s: float | None = None  # what reading one from disk takes
        self._left = 0  # cells that may yet be copied in this step
        self._n_copied = 0  # cells copied by the operations since they were last observed

    # ── pace ─────────────────────────────────────────────────────────────────

    def begin(self, n_decoding: int, *, idle: bool) -> None:
        """A step begins. Where no stream waits all may be copied; where nobody does, a piece:
        somebody may come."""
        target_s = self._pace.itl_target_s
        if idle:
            self._left = PIECE
        elif not n_decoding or target_s is None:
            self._left = self._cells.n_cells
        elif self._cell_s is None:
            self._left = _FIRST_PIECE
        else:
            self._left = max(_LEAST_PIECE, int(_PART_OF_PACE * target_s / self._cell_s))

    def observe(self, elapsed_s: float) -> None:
        """What the operations of a step took, if they copied."""
        if self._n_copied:
            self._cell_s = _mixed(self._cell_s, elapsed_s / self._n_copied)
            self._n_copied = 0

    def _is_worth(self, n_cells: int, n_tokens: int, *, on_disk: bool = False) -> bool:
        computing_s = self._pace.costs.mixed_s(0, n_tokens)
        cell_s = self._cell_s
        if on_disk and cell_s is not None and self._load_cell_s is not None:
            cell_s += self._load_cell_s
        if cell_s is None or computing_s is None:
            return True  # a row reads all weights, a copy its own cells
        return n_cells * cell_s < computing_s

    def _copied(self, n_cells: int) -> None:
        self._left -= n_cells
        self._n_copied += n_cells

    # ── out of the cells ─────────────────────────────────────────────────────

    def save(self, kept: Retained) -> bool:
        """As much of it as this step may copy. False: the rest is for later steps.

        A piece ends where somebody has forked off: what is shared is then one edge.
        """
        if not _can_move(kept.tokens):
            return True
        n_tokens, ends = len(kept.tokens), self._cells.ends(kept.lease)
        while (start := self.shelf.covered(kept.tokens, kept.adapters)) < n_tokens:
            if not self._is_worth(2 * (n_tokens - start), n_tokens - start):
                return True
            if self._left <= 0:
                return False
            fork = next(end for end in ends if end > start)
            end = min(fork, start + min(PIECE, max(_LEAST_PIECE, self._left)))
            edge = self.shelf.put(kept.tokens, end, kept.adapters)
            if edge is None:
                return True
            self._ops.append(Save(kept.seq_id, start, end, edge.blob))
            self.shelf.store(edge)
            self._copied(end - start)
        return True

    def is_saved(self, kept: Retained) -> bool:
        return self.shelf.covered(kept.tokens, kept.adapters) == len(kept.tokens)

    # ── and back ─────────────────────────────────────────────────────────────

    def find(self, sequence: Sequence, n_here: int) -> Found:
        """What is worth copying back, where the first `n_here` tokens are in the cells already.

        The last edge may hold more than is asked for: then there must be cells for all of it.
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
            if last.end <= room and self._is_worth(n_cells, length - begins, on_disk=on_disk):
                break
            edges.pop()
            length = last.start
        if length - n_here < WORTH_SHARING:
            return Found()
        return Found(tuple(edges), length)

    def fetches(self, sequence: Sequence, n_here: int) -> bool:
        """What it will get back has yet to be read from disk; that is under way."""
        if not sequence.fetching:
            self._fetch(sequence, self.find(sequence, n_here))
        return sequence.awaits_disk

    def _fetch(self, sequence: Sequence, found: Found) -> None:
        """As much of the way as there is room for in memory; the whole of it stays meanwhile."""
        missing = {edge.blob for edge in found.edges if not edge.in_ram}
        if not missing:
            return
        for edge in found.edges:
            if not self.shelf.fetch(edge):
                break
            edge.n_pins += 1
            sequence.fetching.append(edge)
            sequence.n_loaded += len(edge.tokens) if edge.blob in missing else 0
        if sequence.fetching:  # else it asks again in the next step
            self._waiting.append(sequence)

    def fetched(self, blob: int, elapsed_s: float | None) -> None:
        """`elapsed_s`: what reading took; None: it couldn't be read."""
        edge = self.shelf.fetched(blob, ok=elapsed_s is not None)
        if elapsed_s is not None:
            self._load_cell_s = _mixed(self._load_cell_s, elapsed_s / len(edge.tokens))

    def restore(self, sequence: Sequence) -> None:
        """As much of what it waits for as this step may copy."""
        while sequence.restoring and self._left > 0:
            edge = sequence.restoring.pop(0)
            edge.n_pins -= 1
            self.shelf.touch(edge)
            self._ops.append(Restore(edge.blob, sequence.seq_id))
            self._cells.append(sequence.lease, len(edge.tokens))
            sequence.n_computed = min(edge.end, sequence.n_cached)
            if edge.end > sequence.n_cached:
                self._ops.append(Trim(sequence.seq_id, sequence.n_cached))
                self._cells.trim(sequence.lease, sequence.n_cached)
            self._copied(len(edge.tokens))

    def promise(self, sequence: Sequence, n_here: int) -> Found | None:
        """It will get what find() says, as far as that is in memory; until then it stays there."""
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
        """What it was promised."""
        for edge in sequence.restoring:
            edge.n_pins -= 1
        sequence.restoring = []

    def abandon(self, sequence: Sequence) -> None:
        """It doesn't wait for the disk any longer."""
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        for edge in sequence.fetching:
            edge.n_pins -= 1
        sequence.fetching = []

    def check(self, running: list[Sequence]) -> None:
        promised = [edge for sequence in running for edge in sequence.restoring]
        awaited = [edge for sequence in self._waiting for edge in sequence.fetching]
        self.shelf.check([*promised, *awaited])


def _mixed(old: float | None, new: float) -> float:
    return new if old is None else old + _SMOOTHING * (new - old)


def _can_move(tokens: list[int]) -> bool:
    """A picture's rows, numbers below zero, may have positions other than their own."""
    return min(tokens) >= 0
