"""One step of llama.cpp as a value: memory operations in their order, then rows to compute."""

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

DRAFTED = -1  # a row's token that the draft model is to write; a row it doesn't write falls away


class Row(msgspec.Struct, frozen=True, gc=False):
    """One token of a llama_batch, or one row of a picture (pictures.py). Of a sequence's rows that
    want logits, all but the first hold guessed tokens: see verify.py.

    Every step makes some for each sequence: msgspec does in 60 ns what takes a dataclass 1 µs.
    """

    seq_id: int
    pos: int
    token: int
    wants_logits: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """All of a sequence's cells."""

    seq_id: int


@dataclass(frozen=True, slots=True)
class Trim:
    """All of a sequence's cells but the first `length`."""

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
    """Split KV: `target` gets cells of its own with what the first `length` of `source` hold."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Save:
    """Copy out what cells [start, end) of `source` hold, as `blob`. The cells stay as they are."""

    source: int
    start: int
    end: int
    blob: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Cells of its own for `target` with what `blob` holds, after the `start` cells that it has.

    They are those of `tokens`: what llama.cpp doesn't take from a file is computed from these.
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
    """`target`, which is empty, holds what the source of a SaveAll held, in cells of its own; or,
    of a model without cells, the state of a Checkpoint. `tokens` are all, as in Restore."""

    blob: int
    target: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Copy out, as `blob`, what of `source` a fork can't share: its window, its recurrent state."""

    source: int
    blob: int


@dataclass(frozen=True, slots=True)
class Resume:
    """`target` goes on from the window and state of a checkpoint. The blob stays."""

    blob: int
    target: int


@dataclass(frozen=True, slots=True)
class Blank:
    """Empty the window of `source`: what it has beside that can be forked, and nobody goes on from
    it without a Resume."""

    source: int


@dataclass(frozen=True, slots=True)
class Discard:
    """Nobody will ask for this blob again."""

    blob: int


@dataclass(frozen=True, slots=True)
class Store:
    """Write a blob to disk, while other things are done."""

    blob: int
    stored: Stored


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read a blob from disk, while other things are done; Fetched tells when it is there."""

    blob: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Erase:
    """Of a file, nobody will ask for it again."""

    key: bytes


class Mask(Protocol):
    """A structure being followed by one sequence: see masks.py."""

    @property
    def complete(self) -> bool: ...

    @property
    def fault(self) -> str | None: ...

    @property
    def took_s(self) -> float:
        """The last token's, from taking the one before to knowing what may come; before that, what
        the structure's first mask took."""
        ...

    def look_ahead(self) -> None:
        """Find out what may come next, while the logits are still being computed."""
        ...

    def apply(self, logits: Any) -> None:
        """Forbid, in place, every token that can't come next."""
        ...

    def accept(self, token: int) -> None: ...

    def would_accept(self, tokens: Sequence[int]) -> int:
        """How many of `tokens`, from the first, may come next, one after the other: for a draft.

        Changes nothing, costs microseconds. A draft is cut there before it is computed. Then its
        rows are sampled in order, each by `apply`, draw, `accept`, and the first token that is not
        the draft's is the last one sampled: so a mask never has to go back. Where another stage
        begins (staged.py), the number is a guess: too many costs rows, never a wrong token.
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
    padding: tuple[Row, ...] = ()  # nobody's, after the rows; their cells go when it is computed
    before: Before = NOTHING  # the prompts' rows


class Sampled(msgspec.Struct, frozen=True, gc=False):
    token: int
    ends: bool  # an end-of-generation token, or the last one of a structure
    silent: bool  # not part of the text
    fault: str | None = None  # why it can't go on: its structure exploded
    logprob: TokenLogprob | None = None  # if it was asked for
