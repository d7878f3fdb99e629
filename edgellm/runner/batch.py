"""One step of llama.cpp as a value: memory operations, in order, then the rows to compute."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgspec

from edgellm.chat.events import TokenLogprob
from edgellm.chat.messages import AdapterSet, GenerateParams
from edgellm.runner.intake.pictures import Placed
from edgellm.runner.kv.prefix_file import Stored
from edgellm.runner.pacing.looking_back import NOTHING, Before
from edgellm.values import frozen

DRAFTED = -1  # a token that the draft model is to write; rows that it leaves empty are dropped


class Row(msgspec.Struct, frozen=True, gc=False):
    """One token of a llama_batch, or one row of a picture (pictures.py). If several of a sequence's
    rows want logits, all but the first of these hold guessed tokens (verify.py).

    A msgspec struct, because every step makes some for each sequence: 60 ns instead of a
    dataclass's 1 µs.
    """

    seq_id: int
    pos: int
    token: int
    wants_logits: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """Free all of a sequence's cells."""

    seq_id: int


@dataclass(frozen=True, slots=True)
class Trim:
    """Free all of a sequence's cells but the first `length`."""

    seq_id: int
    length: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Unified KV: the first `length` cells of `source` are the first cells of `target` too."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Copy:
    """Split KV: copy what the first `length` cells of `source` hold into cells of `target`."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Save:
    """Copy out what cells [start, end) of `source` hold, as `blob`. The cells stay."""

    source: int
    start: int
    end: int
    blob: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Copy what `blob` holds into new cells of `target`, behind the `start` cells that it has.

    They are the cells of `tokens`: if llama.cpp refuses a blob that was read from a file, they are
    computed from these.
    """

    blob: int
    target: int
    start: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SaveAll:
    """Copy out, as `blob`, all that `source` holds: cells, window and recurrent state."""

    source: int
    blob: int


@dataclass(frozen=True, slots=True)
class RestoreAll:
    """Put all that a SaveAll copied out into `target`, which is empty; or, for a model without
    cells, the state of a Checkpoint. `tokens` are all of the sequence's, for the same use as in
    Restore."""

    blob: int
    target: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Copy out, as `blob`, what a fork of `source` can't share: its window, its recurrent state."""

    source: int
    blob: int


@dataclass(frozen=True, slots=True)
class Resume:
    """`target` goes on from the window and state of a checkpoint. The blob stays."""

    blob: int
    target: int


@dataclass(frozen=True, slots=True)
class Blank:
    """Empty the window of `source`. Its other cells can still be forked, but nothing goes on from
    there without a Resume."""

    source: int


@dataclass(frozen=True, slots=True)
class Discard:
    """This blob isn't needed any more."""

    blob: int


@dataclass(frozen=True, slots=True)
class Store:
    """Write a blob to disk, on a thread beside the loop."""

    blob: int
    stored: Stored


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read a blob from disk, on a thread beside the loop; a Fetched message tells when it is
    there."""

    blob: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Erase:
    """This file isn't needed any more."""

    key: bytes


class Mask(Protocol):
    """A structure being followed by one sequence: see masks.py."""

    @property
    def complete(self) -> bool: ...

    @property
    def fault(self) -> str | None: ...

    @property
    def took_s(self) -> float:
        """Time that the last mask took, from accepting a token to knowing what may follow it.
        Before that: what the structure's first mask took."""
        ...

    def look_ahead(self) -> None:
        """Compute the next mask now, while the logits are still being computed."""
        ...

    def apply(self, logits: Any) -> None:
        """Forbid, in place, every token that can't come next."""
        ...

    def accept(self, token: int) -> None: ...

    def would_accept(self, tokens: Sequence[int]) -> int:
        """How many of `tokens`, from the first, may come next: a draft is cut there before it is
        computed. Changes nothing, and costs microseconds.

        A draft's rows are then sampled in order (`apply`, draw, `accept`) up to the first token
        that isn't the draft's, so a mask never has to go back. Beyond the end of a stage
        (staged.py) the number is only a guess: one too high costs rows, but never gives a wrong
        token.
        """
        ...


@dataclass(frozen=True, slots=True)
class Start:
    """A new sequence begins on this id: set up its sampler."""

    seq_id: int
    request_id: int
    params: GenerateParams
    prompt: tuple[int, ...]
    mask: Mask | None = None
    pictures: tuple[Placed, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """The sequence on this id has ended; its cells may stay."""

    seq_id: int


Op: TypeAlias = (
    Forget
    | Trim
    | Fork
    | Copy
    | Save
    | Restore
    | SaveAll
    | RestoreAll
    | Checkpoint
    | Resume
    | Blank
    | Discard
    | Store
    | Fetch
    | Erase
    | Start
    | Stop
)


@frozen
class Batch:
    ops: tuple[Op, ...]
    rows: tuple[Row, ...]
    n_prompt_rows: int
    adapters: AdapterSet = ()  # of all its rows
    padding: tuple[Row, ...] = ()  # dummy rows behind the others; their cells are freed at once
    before: Before = NOTHING  # what the prompts' rows look back on
    apart: frozenset[int] = frozenset()  # ids whose rows have another call, behind the others'


class Sampled(msgspec.Struct, frozen=True, gc=False):
    token: int
    ends: bool  # an end-of-generation token, or the last one of a structure
    silent: bool  # not part of the text
    fault: str | None = None  # why the sequence can't go on: its structure grew too complex
    logprob: TokenLogprob | None = None  # if the request asked for it
