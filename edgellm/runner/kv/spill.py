"""Between the KV cells and the shelf: what ended is copied out, what is asked for again comes back.

Copying takes time that others would have to wait, so it goes in pieces. What ended is copied out
before anybody needs its cells, and then it can leave them at once: nothing but tags changes. Nobody
waits for that, so it takes a thirtieth of a step, of a prompt's too: the next turn of a
conversation comes when the last one is just being saved. Where that is less than a piece, several
steps save up for one. Only when somebody is kept out for want of cells it may take what a wait is
worth.

Copying back is worth it where it takes less time than computing again; both are measured. Somebody
waits for it, so while no stream runs it takes as long as it takes.
"""

from edgellm.runner.batch import Op, Restore, Save, Trim
from edgellm.runner.kv.cells import Cells
from edgellm.runner.kv.copying import AWAITED_RATIO, UNNOTICED_RATIO
from edgellm.runner.kv.memory import WORTH_SHARING, Limits
from edgellm.runner.kv.prefix import Retained
from edgellm.runner.kv.shelf import Found, Shelf
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.pacing.smoothing import smoothed
from edgellm.runner.sequence import Sequence

_PIECE = 256  # cells: the most that one operation copies
_LEAST_PIECE = 16  # cells: fewer are hardly worth an operation
_FIRST_PIECE = 64  # cells: while nobody knows what copying costs


class Spill:
    def __init__(self, limits: Limits, cells: Cells, pace: Pace, ops: list[Op]) -> None:
        assert limits.blob is not None
        self.shelf = Shelf(limits.shelf_bytes, limits.blob, ops, limits.disk_bytes)
        self.shelf.adopt(limits.stored)
        self._cells, self._pace, self._ops = cells, pace, ops
        self._out_s: float | None = None  # what copying a cell out takes
        self._back_s: float | None = None  # and back: it is faster, the memory is there already
        self._waiting: list[Sequence] = []  # for the disk
        self._load_cell_s: float | None = None  # what reading one from disk takes
        self._left_out, self._left_back = 0.0, 0  # cells that may yet be copied in this step
        self._saved_up = 0.0  # and in a later one, because they were too few for a piece
        self._left_hurried = 0  # and those that may go out beside, for who needs their room
        self._n_out = self._n_back = 0  # cells copied since the operations were last observed

    # ── pace ─────────────────────────────────────────────────────────────────

    def begin(self, n_decoding: int) -> None:
        """A step begins, with so many streams in it that wait for their next token."""
        target_s = self._pace.itl_target_s
        if target_s is None:  # nobody counts the time between tokens
            self._left_out = self._left_back = self._cells.n_cells
            return
        awaited_s = AWAITED_RATIO * target_s
        step_s = self._pace.costs.step_s(n_decoding) if n_decoding else None
        if step_s is None:
            self._left_out = _n_cells(UNNOTICED_RATIO * target_s, self._out_s)
        else:
            self._go_unnoticed(min(target_s, step_s))
        self._left_hurried = _n_cells(awaited_s, self._out_s)
        self._left_back = _n_cells(awaited_s, self._back_s or self._out_s)
        if not n_decoding:
            self._left_back = self._cells.n_cells

    def beside_prompt(self, n_rows: int) -> None:
        """This step computes so many rows of prompts, and nobody else waits for it."""
        step_s = self._pace.costs.mixed_s(0, n_rows)
        if step_s is not None and self._pace.itl_target_s is not None:
            self._go_unnoticed(step_s)

    def _go_unnoticed(self, step_s: float) -> None:
        part = UNNOTICED_RATIO * step_s / self._out_s if self._out_s else _FIRST_PIECE
        self._left_out, self._saved_up = self._saved_up + part, 0.0

    def hurry(self) -> None:
        """Somebody waits for the room of what is saved next."""
        self._left_out += self._left_hurried
        self._left_hurried = 0

    def observe(self, elapsed_s: float) -> None:
        """What the operations of a step took: it teaches if they copied, and only one way."""
        if self._n_out and not self._n_back:
            self._out_s = smoothed(self._out_s, elapsed_s / self._n_out)
        elif self._n_back and not self._n_out:
            self._back_s = smoothed(self._back_s, elapsed_s / self._n_back)
        self._n_out = self._n_back = 0

    def _is_worth(self, copying_s: float | None, n_tokens: int) -> bool:
        computing_s = self._pace.costs.mixed_s(0, n_tokens)
        if copying_s is None or computing_s is None:
            return True  # a row reads all weights, a copy its own cells
        return copying_s < computing_s

    def _saving_s(self, n_cells: int) -> float | None:
        """To copy them out and, one day, back."""
        if self._out_s is None:
            return None
        return n_cells * (self._out_s + (self._back_s or self._out_s))

    def _restoring_s(self, n_cells: int, *, on_disk: bool) -> float | None:
        cell_s = self._back_s or self._out_s
        if cell_s is None:
            return None
        return n_cells * (cell_s + ((self._load_cell_s or 0.0) if on_disk else 0.0))

    # ── out of the cells ─────────────────────────────────────────────────────

    def save(self, kept: Retained) -> bool:
        """As much of it as this step may copy. False: the rest is for later steps.

        A piece ends where somebody has forked off: what is shared is then one edge.
        """
        if not _can_move(kept.tokens):
            return True
        n_tokens, ends = len(kept.tokens), self._cells.ends(kept.lease)
        while (start := self.shelf.covered(kept.tokens, kept.adapters)) < n_tokens:
            left = n_tokens - start
            if not self._is_worth(self._saving_s(left), left):
                return True
            if self._left_out < _LEAST_PIECE:
                self._saved_up = self._left_out
                return False
            fork = next(end for end in ends if end > start)
            end = min(fork, start + min(_PIECE, int(self._left_out)))
            edge = self.shelf.put(kept.tokens, end, kept.adapters)
            if edge is None:
                return True
            self._ops.append(Save(kept.seq_id, start, end, edge.blob))
            self.shelf.store(edge)
            self._left_out -= end - start
            self._n_out += end - start
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
            copying_s = self._restoring_s(len(last.tokens), on_disk=not last.in_ram)
            if last.end <= room and self._is_worth(copying_s, length - begins):
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
            self._load_cell_s = smoothed(self._load_cell_s, elapsed_s / len(edge.tokens))

    def restore(self, sequence: Sequence) -> None:
        """As much of what it waits for as this step may copy."""
        while sequence.restoring and self._left_back > 0:
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
            self._left_back -= len(edge.tokens)
            self._n_back += len(edge.tokens)

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
            self.shelf.let_go(edge)
        sequence.restoring = []

    def abandon(self, sequence: Sequence) -> None:
        """It doesn't wait for the disk any longer."""
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        for edge in sequence.fetching:
            self.shelf.let_go(edge)
        sequence.fetching = []

    def check(self, running: list[Sequence]) -> None:
        promised = [edge for sequence in running for edge in sequence.restoring]
        awaited = [edge for sequence in self._waiting for edge in sequence.fetching]
        self.shelf.check([*promised, *awaited])


def _n_cells(seconds: float, cell_s: float | None) -> int:
    """So many are copied in that time, a cell taking `cell_s`."""
    return max(_LEAST_PIECE, int(seconds / cell_s)) if cell_s else _FIRST_PIECE


def _can_move(tokens: list[int]) -> bool:
    """A picture's rows, numbers below zero, may have positions other than their own."""
    return min(tokens) >= 0
