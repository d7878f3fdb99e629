"""How many cells a step may copy out and back, by what copying and computing have taken. Pure.

Out: nobody waits for it, so it takes a thirtieth of a step at most. It goes on beside prompts, too:
the next turn of a conversation often comes while the last one is still being saved. Where so little
is less than a piece, several steps save up for one. When somebody is kept out for want of cells, or
has a long prompt that would pass over them, it may take as long as a wait is worth: up to a second
while no stream runs, for he would wait for all that the next step reads of others' prompts, and
then for streams. While nothing runs it costs nobody anything, and is done wherever copying back
would pay.

Back: somebody waits for it. While no stream runs it takes as long as it takes.

The first copy back touches memory that later ones find ready, so its time isn't counted: what is
believed to be too slow would never be tried again.
"""

from edgellm.runner.kv.copying import AWAITED_RATIO, UNNOTICED_RATIO
from edgellm.runner.pacing.looking_back import NOTHING, Before
from edgellm.runner.pacing.pace import UNREAD_S, Pace
from edgellm.runner.pacing.smoothing import smoothed

_PIECE = 256  # cells: the most that one operation copies
_LEAST_PIECE = 16  # cells: fewer are hardly worth an operation
_FIRST_PIECE = 64  # cells: while nobody knows what copying costs


class CopyBudget:
    def __init__(self, pace: Pace, n_cells: int) -> None:
        """`n_cells`: of the whole memory."""
        self._pace, self._n_cells = pace, n_cells
        self.is_awaited = False  # somebody waits for this step
        # What one cell takes; None: it isn't known yet.
        self._out_s: float | None = None
        self._back_s: float | None = None  # less than out: its memory has been touched already
        self._load_cell_s: float | None = None  # to read from disk
        self._has_come_back = False  # the first copy back is done
        # Cells that may yet be copied in this step:
        self._left_out, self._left_back = 0.0, 0
        self._left_hurried = 0  # beside these, if somebody needs the room
        self._saved_up = 0.0  # what earlier steps left because it was too little for a piece
        self._n_out = self._n_back = 0  # cells copied since the operations were last observed

    # ── this step ────────────────────────────────────────────────────────────

    def begin(self, n_decoding: int) -> None:
        """A step begins, with so many streams that wait for their next token."""
        self.is_awaited = bool(n_decoding)
        target_s = self._pace.itl_target_s
        if target_s is None:  # nobody counts the time between tokens
            self._left_out = self._left_back = self._n_cells
            return
        awaited_s = AWAITED_RATIO * target_s
        step_s = self._pace.costs.step_s(n_decoding) if n_decoding else None
        if step_s is None:
            self._left_out = _n_cells(UNNOTICED_RATIO * target_s, self._out_s)
        else:
            self._go_unnoticed(min(target_s, step_s))
        hurried_s = awaited_s if n_decoding else max(awaited_s, UNREAD_S)
        self._left_hurried = _n_cells(hurried_s, self._out_s)
        self._left_back = _n_cells(awaited_s, self._back_s or self._out_s)
        if not n_decoding:
            self._left_back = self._n_cells

    def beside_prompt(self, n_rows: int, before: Before = NOTHING) -> None:
        """The step computes so many rows of prompts, and nothing else that somebody waits for."""
        self.is_awaited = True
        step_s = self._pace.costs.mixed_s(0, n_rows, before)
        if step_s is not None and self._pace.itl_target_s is not None:
            self._go_unnoticed(step_s)

    def is_worth_hurrying(self, n_rows: int) -> bool:
        """Whether copying a cell out takes less time than so many rows of prompts take to pass over
        it."""
        return self._out_s is not None and self._out_s < self._pace.costs.passing_s(n_rows)

    def hurry(self) -> None:
        """Somebody waits for the cells of what goes out next."""
        self.is_awaited = True
        self._left_out += self._left_hurried
        self._left_hurried = 0

    def piece(self) -> int:
        """Cells that may go out at once. 0: what is left is saved up for a later step."""
        if self._left_out < _LEAST_PIECE:
            self._saved_up = self._left_out
            return 0
        return min(_PIECE, int(self._left_out))

    def went_out(self, n_cells: int) -> None:
        self._left_out -= n_cells
        self._n_out += n_cells

    @property
    def may_come_back(self) -> bool:
        """One more stretch, however long it is."""
        return self._left_back > 0

    def came_back(self, n_cells: int) -> None:
        self._left_back -= n_cells
        self._n_back += n_cells

    def _go_unnoticed(self, step_s: float) -> None:
        part = UNNOTICED_RATIO * step_s / self._out_s if self._out_s else _FIRST_PIECE
        self._left_out, self._saved_up = self._saved_up + part, 0.0

    # ── what it takes ────────────────────────────────────────────────────────

    def observe(self, elapsed_s: float) -> None:
        """The operations of a step took so long. If they copied both ways, as in each admission to
        a full memory, the way back is what remains after what the way out usually takes."""
        n_out, n_back = self._n_out, self._n_back
        self._n_out = self._n_back = 0
        if n_out and not n_back:
            self._out_s = smoothed(self._out_s, elapsed_s / n_out)
        if not n_back or (n_out and self._out_s is None):
            return
        if self._has_come_back:
            back_s = max(0.0, elapsed_s - n_out * (self._out_s or 0.0))
            self._back_s = smoothed(self._back_s, back_s / n_back)
        self._has_come_back = True

    def loaded(self, n_cells: int, elapsed_s: float) -> None:
        """So many cells were read from disk."""
        self._load_cell_s = smoothed(self._load_cell_s, elapsed_s / n_cells)

    def is_worth_saving(self, tokens: range) -> bool:
        """Whether copying these back, one day, takes less time than computing them again; and, if
        somebody waits meanwhile, copying them out as well."""
        if not self.is_awaited:
            return self._is_worth(len(tokens), self._back_s, tokens)
        cell_s = None if self._out_s is None else self._out_s + (self._back_s or self._out_s)
        return self._is_worth(len(tokens), cell_s, tokens)

    def is_worth_restoring(self, n_cells: int, tokens: range, *, on_disk: bool) -> bool:
        """Whether copying so many cells back takes less time than computing `tokens`, which are
        those of them that are wanted."""
        cell_s = self._back_s  # None: it is tried; what the slower way out takes says little
        if on_disk and self._load_cell_s is not None:
            cell_s = (cell_s or 0.0) + self._load_cell_s
        return self._is_worth(n_cells, cell_s, tokens)

    def _is_worth(self, n_cells: int, cell_s: float | None, tokens: range) -> bool:
        """`tokens`: their positions in the conversation."""
        middle = (tokens.start + tokens.stop) / 2
        computing_s = self._pace.costs.mixed_s(0, len(tokens), Before(middle, middle, middle))
        if cell_s is None or computing_s is None:
            return True  # very likely: a row reads all weights, a copy only its own cells
        return n_cells * cell_s < computing_s


def _n_cells(seconds: float, cell_s: float | None) -> int:
    """Cells that are copied in that time, if one takes `cell_s`."""
    return max(_LEAST_PIECE, int(seconds / cell_s)) if cell_s else _FIRST_PIECE
