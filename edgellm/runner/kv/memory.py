"""The KV memory as the scheduler sees it: who gets which id, which cells, and what stays.

llama.cpp either keeps one pool of cells that all sequences share (unified), or gives every sequence
a stream of its own (split). The two differ in what a shared prefix costs, so each has a policy, and
so do models with sliding windows or recurrent layers (checkpointed.py).

    unified  a fork tags cells for one more sequence: no copy, no new cell. But every step looks at
             all cells in use, so idle conversations slow everyone down.
    split    a fork copies. A sequence looks at its own cells only, which lie side by side.

Both keep sequences that have ended, for the next turn of their conversation, until somebody else
needs the place. Source: llama.cpp src/llama-kv-cache.cpp, `seq_cp`, `find_slot`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from edgellm.runner.intake.pictures import Placed
from edgellm.runner.kv.carrying import Carried
from edgellm.runner.kv.edge import BlobSize
from edgellm.runner.kv.prefix import Match, Retained, RetainedStore, Source, best_match
from edgellm.runner.kv.prefix_file import Stored
from edgellm.runner.sequence import Sequence

# Fewer tokens in common than this are simply computed again: that takes less time than to wait for
# another sequence to compute them, or to copy a whole stream.
WORTH_SHARING = 32


@dataclass(frozen=True, slots=True)
class PartialState:
    """The part of a sequence's memory that a fork can't share: its sliding window, its recurrent
    state. What it takes, as the backend has measured it.

    It can be copied out only as it is now (batch.Checkpoint), and only at that length can the
    sequence be forked or cut back later. A stream that has neither a window nor a state is
    described here too: by what a copy of the whole of it takes.
    """

    n_window: int  # tokens in a window; 0: no layer has one
    cell_bytes: int  # copied out for each token in the window
    row_bytes: int  # copied out for the recurrent state and its description
    budget_bytes: int  # host memory for all that is copied out
    fixed_bytes: int = 0  # copied out with a whole sequence, whatever its length
    full_cell_bytes: int = 0  # copied out for each token in layers with full attention
    has_cells: bool = True  # tokens take cells: some layer has full attention or a window
    has_rows: bool = False  # recurrent: an id above n_seq_max can't even be forgotten

    @property
    def is_nothing(self) -> bool:
        """A sequence has cells and nothing else: it can be forked and cut back at any length."""
        return not self.n_window and not self.has_rows

    def checkpoint_bytes(self, length: int) -> int:
        """Size of a checkpoint after `length` tokens."""
        return self.row_bytes + self.cell_bytes * min(length, self.n_window)

    def whole_bytes(self, length: int) -> int:
        """Size of a copy of all that a sequence of `length` tokens holds."""
        window_bytes = self.cell_bytes * min(length, self.n_window)
        return self.fixed_bytes + window_bytes + self.full_cell_bytes * length


# For a model with full attention whose conversations are not copied out: with no budget, even one
# byte a token doesn't fit.
NOTHING_CARRIED = PartialState(
    n_window=0, cell_bytes=0, row_bytes=0, budget_bytes=0, full_cell_bytes=1
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the loaded model and its context offer. Facts from the backend; see llama/limits.py."""

    n_cells: int  # over all sequences
    n_ctx_seq: int  # most tokens of one conversation
    n_batch: int  # most rows of one step
    n_seq_max: int  # ids that may run
    n_ids: int = 0  # ids in all, running and retained; at most llama.cpp's 256
    n_scratch: int = 0  # ids from n_seq_max on that no sequence gets: copies go by way of them
    shelf_bytes: int = 0  # host memory for what leaves the cells; see spill.py
    disk_bytes: int = 0  # disk space for the same
    stored: tuple[Stored, ...] = ()  # an earlier worker's files, least recently used first
    blob: BlobSize | None = None  # of a stretch of cells; None: they can't be copied out
    on_device: bool = False  # the cells are: a step reads one in a thousandth of the time of a copy
    shares_prefixes: bool = False
    unified: bool = True
    masks_cells: bool = True  # passes over those of others; without flash attention it computes all
    n_chunk: int | None = None  # batch-invariant: prompts are computed and shared in such chunks
    n_draft_rows: int = 0  # rows with logits that a step may have beyond one for each sequence
    n_rollback: int | None = None  # tokens that a sequence can be cut back by; None: any number
    has_draft_model: bool = False
    state: PartialState | None = None  # None: full attention; see also PartialState.is_nothing
    turn_ends: frozenset[int] = frozenset()  # tokens that end a message


class Memory(Protocol):
    """A policy never touches llama.cpp: it appends to the list of operations it was made with, and
    the backend carries them out in that order before the next batch's rows."""

    retained: RetainedStore

    @property
    def used(self) -> int:
        """Cells in use, by running and retained sequences."""
        ...

    @property
    def n_kv(self) -> int | None:
        """Cells that every row of a step looks at; None where each sequence has its own."""
        ...

    def in_tiles(self, running: Iterable[Sequence]) -> int | None:
        """Cells in those tiles of a unified KV (cells.py) that hold any cell of `running`; None
        where each sequence has its own stream."""
        ...

    @property
    def shelf_bytes(self) -> int:
        """Host memory taken by what has left the cells."""
        ...

    @property
    def disk_bytes(self) -> int:
        """Disk space taken by the same."""
        ...

    @property
    def has_chores(self) -> bool:
        """Something is to be copied in the background."""
        ...

    def match(
        self, tokens: list[int], sources: Iterable[Source], pictures: tuple[Placed, ...] = ()
    ) -> Match | None:
        """The source that can be forked furthest along this prompt, without cutting through a
        picture that has to stay whole."""
        ...

    def plan_fork(self, leader: Sequence, length: int) -> int:
        """A follower shares `length` tokens with a prompt that is being read. Returns the length at
        which it will be able to fork: a checkpoint may have to be planned there, so this is called
        before the leader gets that far."""
        ...

    def next_stop(self, sequence: Sequence) -> int | None:
        """The length at which the next step of this prompt has to end. None: at the prompt's
        end."""
        ...

    def begin(self, running: list[Sequence]) -> None:
        """A new step: work out how much may be copied in it."""

    def n_coming_back(self, sequence: Sequence, n_here: int) -> int:
        """Tokens of its prompt that it will have once its copies are back, counting the first
        `n_here`, which are in the cells already. 0: nothing will be copied back."""
        ...

    def must_fetch(self, sequence: Sequence, n_here: int) -> bool:
        """Whether it must wait for a read from disk, which this starts if need be."""
        ...

    def fetched(self, blob: int, elapsed_s: float | None) -> None:
        """A read from disk is over, after so many seconds. None: it failed."""

    def stop_waiting(self, sequence: Sequence) -> None:
        """It stops waiting for the disk: it has ended, or has what it needs."""

    def copy(self, running: list[Sequence]) -> None:
        """Admission is over: append the copies that are to be made before this step's rows."""

    def observe(self, elapsed_s: float) -> None:
        """The operations of a step have taken so long."""

    def admit(self, sequence: Sequence, match: Match | None, running: list[Sequence]) -> bool:
        """Give it an id, and the cells that it shares with its match. False: no room yet."""
        ...

    def grow(self, sequence: Sequence, count: int) -> None:
        """It has computed `count` more tokens."""

    def leave(self, sequence: Sequence) -> None:
        """It has ended: retain it, or free its cells."""

    def forget_retained(self) -> None:
        """Forget all retained sequences."""

    def carry(self) -> Iterator[Carried]:
        """The retained conversations, most recently used first, for a memory with another layout.
        Called while nobody runs or waits. The operations appended so far have to be carried out
        before the next item is asked for. This memory can't be used afterwards."""
        ...

    def adopt(self, carried: list[Carried]) -> dict[int, Carried]:
        """Keep what another memory carried, in that order, as far as there is room. Returns what is
        kept, by the number that its blob has here."""
        ...

    def check(self, running: list[Sequence]) -> None:
        """Assert what must hold between steps."""


def used_by(match: Match | None) -> Retained | None:
    """The retained sequence that a match counts as a use of. A few tokens in common, as all prompts
    of a template have, don't count."""
    is_much = match is not None and match.length >= WORTH_SHARING
    return match.source if match and is_much and isinstance(match.source, Retained) else None


class CopiesNothing:
    """The answers of a policy that copies nothing out of the cells; those that do override them."""

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

    def n_coming_back(self, sequence: Sequence, n_here: int) -> int:
        return 0

    def must_fetch(self, sequence: Sequence, n_here: int) -> bool:
        return False

    def fetched(self, blob: int, elapsed_s: float | None) -> None:
        pass

    def stop_waiting(self, sequence: Sequence) -> None:
        pass

    def copy(self, running: list[Sequence]) -> None:
        pass

    def observe(self, elapsed_s: float) -> None:
        pass

    def carry(self) -> Iterator[Carried]:
        yield from ()

    def adopt(self, carried: list[Carried]) -> dict[int, Carried]:
        return {}


class SharedAnywhere:
    """Full attention: a prefix can be forked at any length, without a checkpoint."""

    _limits: Limits

    def match(
        self, tokens: list[int], sources: Iterable[Source], pictures: tuple[Placed, ...] = ()
    ) -> Match | None:
        return best_match(tokens, sources, self._limits.n_chunk, pictures)

    def plan_fork(self, leader: Sequence, length: int) -> int:
        return length

    def next_stop(self, sequence: Sequence) -> int | None:
        return None
