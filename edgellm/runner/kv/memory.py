"""The KV memory as the scheduler sees it: who gets which id, which cells, and what stays.

llama.cpp keeps its cells in one pool that all sequences share (unified), or gives every sequence a
stream of its own (split). They differ in what a shared prefix costs, so each is a policy; models
with sliding windows or recurrent layers have policies of their own (checkpointed.py).

    unified  a fork tags cells for one more sequence: no copy, no cell. But every step looks at all
             used cells, so what is idle slows everyone.
    split    a fork copies. A sequence looks at its own cells only, and they lie as if it were
             alone.

Both keep sequences that have ended, for the next turn of their conversation, until someone needs
their place. Source: llama.cpp src/llama-kv-cache.cpp, `seq_cp`, `find_slot`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from edgellm.runner.intake.pictures import Placed
from edgellm.runner.kv.carrying import Carried
from edgellm.runner.kv.prefix import Match, Retained, RetainedStore, Source, best_match
from edgellm.runner.kv.prefix_file import Stored
from edgellm.runner.kv.shelf import BlobSize
from edgellm.runner.sequence import Sequence

# Fewer tokens in common than this are computed again: sooner than one waits for another to compute
# them, or than a whole stream is copied.
WORTH_SHARING = 32


@dataclass(frozen=True, slots=True)
class PartialState:
    """What of a sequence's memory a fork can't share: its sliding window, its recurrent state.

    It can be copied out (batch.Checkpoint) where a sequence stands, and be resumed there; at no
    other length can such a sequence be forked or cut back. Facts from the backend. Of a stream that
    has neither it says what the whole of it takes.
    """

    n_window: int  # tokens that a window holds; 0: no layer slides
    cell_bytes: int  # of one token of it, copied out
    row_bytes: int  # of the recurrent state and what describes it
    budget_bytes: int  # host memory for all that is copied out
    fixed_bytes: int = 0  # of all that a sequence holds, copied out; beside its cells
    full_cell_bytes: int = 0  # of what one token has where layers look at everything
    has_cells: bool = True  # some layers look at everything, or at a window: tokens take cells
    has_rows: bool = False  # recurrent: an id above n_seq_max can't even be forgotten

    @property
    def is_nothing(self) -> bool:
        """Its cells are all that a sequence has: it can be forked and cut back at any length."""
        return not self.n_window and not self.has_rows

    def checkpoint_bytes(self, length: int) -> int:
        """Of what is copied out after `length` tokens."""
        return self.row_bytes + self.cell_bytes * min(length, self.n_window)

    def whole_bytes(self, length: int) -> int:
        """Of all that a sequence of `length` tokens holds, copied out."""
        window_bytes = self.cell_bytes * min(length, self.n_window)
        return self.fixed_bytes + window_bytes + self.full_cell_bytes * length


# Of a model that looks at everything, where no conversation is copied out: there is no room for
# even a byte a token.
NOTHING_CARRIED = PartialState(
    n_window=0, cell_bytes=0, row_bytes=0, budget_bytes=0, full_cell_bytes=1
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the loaded model offers. Facts from the backend; see llama/backend.py."""

    n_cells: int  # over all sequences
    n_ctx_seq: int  # tokens of one conversation
    n_batch: int  # rows of one step
    n_seq_max: int  # ids that may run
    n_ids: int = 0  # ids in all, running and retained; at most llama.cpp's 256
    n_scratch: int = 0  # ids from n_seq_max on that no sequence has: what is copied goes through it
    shelf_bytes: int = 0  # host memory for what leaves the cells; see spill.py
    disk_bytes: int = 0  # and on disk
    stored: tuple[Stored, ...] = ()  # what lies there from before, least recently used first
    blob: BlobSize | None = None  # of a stretch of cells; None: they can't be copied out
    on_device: bool = False  # the cells are; to read one is a thousandth of copying it out
    shares_prefixes: bool = False
    unified: bool = True
    n_chunk: int | None = None  # batch-invariant: prompts are computed, and shared, in such chunks
    n_draft_rows: int = 0  # rows of logits that a step has beyond one for each running sequence
    n_rollback: int | None = None  # tokens that a sequence can be cut by; None: as many as it has
    has_draft_model: bool = False
    state: PartialState | None = None  # None: full attention; see also PartialState.is_nothing
    turn_ends: frozenset[int] = frozenset()  # tokens that end a message


class Memory(Protocol):
    """What a policy does to llama.cpp's memory, it appends to the list of ops it was made with."""

    retained: RetainedStore

    @property
    def used(self) -> int:
        """Cells taken, running and retained."""
        ...

    @property
    def n_kv(self) -> int | None:
        """Cells that every row of a step looks at; None where each sequence has its own."""
        ...

    def in_tiles(self, running: Iterable[Sequence]) -> int | None:
        """Cells in all the tiles of a unified KV (cells.py) that hold any of theirs; None where
        each sequence has its own."""
        ...

    @property
    def shelf_bytes(self) -> int:
        """Host memory taken by what left the cells."""
        ...

    @property
    def disk_bytes(self) -> int:
        """The same on disk."""
        ...

    @property
    def has_chores(self) -> bool:
        """There is something to copy that nobody waits for."""
        ...

    def match(
        self, tokens: list[int], sources: Iterable[Source], pictures: tuple[Placed, ...] = ()
    ) -> Match | None:
        """The source that can be forked furthest along this prompt, in none of its pictures that
        must be whole."""
        ...

    def meet(self, leader: Sequence, length: int) -> int:
        """Where who shares so much with a running prompt can be forked from it. It is told before
        the leader gets there."""
        ...

    def next_stop(self, sequence: Sequence) -> int | None:
        """The length at which a step of this prompt has to end, if not at its own."""
        ...

    def begin(self, running: list[Sequence]) -> None:
        """A step begins: how much may be copied in it?"""

    def shelved(self, sequence: Sequence, n_here: int) -> int:
        """Tokens of its prompt that will be copied back, the first `n_here` in the cells already
        included; 0: none."""
        ...

    def fetches(self, sequence: Sequence, n_here: int) -> bool:
        """It has to wait until what it needs was read from disk."""
        ...

    def fetched(self, blob: int, elapsed_s: float | None) -> None:
        """It was read in so many seconds, or couldn't be."""

    def abandon(self, sequence: Sequence) -> None:
        """It waits no longer, for whatever it was."""

    def work(self, running: list[Sequence]) -> None:
        """All are admitted: copy what is to be copied before the rows of this step."""

    def observe(self, elapsed_s: float) -> None:
        """What the operations of this step took."""

    def admit(self, sequence: Sequence, match: Match | None, running: list[Sequence]) -> bool:
        """Give it an id, and the cells it shares with its match. False: there is no room yet."""
        ...

    def grow(self, sequence: Sequence, count: int) -> None:
        """It has computed `count` more tokens."""

    def leave(self, sequence: Sequence) -> None:
        """It has ended: retain it, or give its cells back."""

    def relieve(self) -> None:
        """Forget all that is retained."""

    def carry(self) -> Iterator[Carried]:
        """What is kept of past conversations, for a memory of another layout, while nobody runs or
        waits: most recently used first. What the operations so far do has to be done before the
        next one is asked for. Then this memory is of no use any more."""
        ...

    def adopt(self, carried: list[Carried]) -> dict[int, Carried]:
        """Keep what another memory carried, in that order: what there is room for, by the number
        that its blob has here."""
        ...

    def check(self, running: list[Sequence]) -> None:
        """Assert what must hold between steps."""


def used_by(match: Match | None) -> Retained | None:
    """Whom a match makes recently used. A few tokens in common, as all prompts of a template have,
    make nobody so."""
    is_much = match is not None and match.length >= WORTH_SHARING
    return match.source if match and is_much and isinstance(match.source, Retained) else None


class Still:
    """What a policy says that copies nothing out. Whoever copies says otherwise, where it does."""

    @property
    def shelf_bytes(self) -> int:
        return 0

    @property
    def disk_bytes(self) -> int:
        return 0

    @property
    def has_chores(self) -> bool:
        return False

    @property
    def n_kv(self) -> int | None:
        return None

    def in_tiles(self, running: Iterable[Sequence]) -> int | None:
        return None

    def begin(self, running: list[Sequence]) -> None:
        pass

    def shelved(self, sequence: Sequence, n_here: int) -> int:
        return 0

    def fetches(self, sequence: Sequence, n_here: int) -> bool:
        return False

    def fetched(self, blob: int, elapsed_s: float | None) -> None:
        pass

    def abandon(self, sequence: Sequence) -> None:
        pass

    def work(self, running: list[Sequence]) -> None:
        pass

    def observe(self, elapsed_s: float) -> None:
        pass

    def carry(self) -> Iterator[Carried]:
        yield from ()

    def adopt(self, carried: list[Carried]) -> dict[int, Carried]:
        return {}


class SharedAnywhere:
    """Full attention: a prefix can be forked at any length, and nothing is prepared for it."""

    _limits: Limits

    def match(
        self, tokens: list[int], sources: Iterable[Source], pictures: tuple[Placed, ...] = ()
    ) -> Match | None:
        return best_match(tokens, sources, self._limits.n_chunk, pictures)

    def meet(self, leader: Sequence, length: int) -> int:
        return length

    def next_stop(self, sequence: Sequence) -> int | None:
        return None
