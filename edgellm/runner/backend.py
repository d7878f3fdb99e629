"""What the worker's loop needs of a model. LlamaBackend is one, the tests' FakeBackend another."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest
from edgellm.runner.batch import Batch, Mask, Sampled
from edgellm.runner.intake.infill import FillMarks
from edgellm.runner.intake.pictures import Piece
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.recorder import NativeTimes
from edgellm.values import frozen

# More text than that for each token of context can't be a prompt, and would stall everyone's step.
MAX_TOKEN_BYTES = 64


@frozen
class Step:
    """What a batch gave: the new tokens of each seq_id that wanted some."""

    sampled: Mapping[int, tuple[Sampled, ...]]
    times: NativeTimes = field(default_factory=NativeTimes)
    n_drafted: Mapping[int, int] | None = None  # guesses that the draft model made for each
    draft_s: float = 0.0  # of the step, what the draft model took
    n_threads: int | None = None  # of the CPU, that computed it


@dataclass(frozen=True, slots=True)
class Input:
    """What is to become a vector. `norm` as in messages.Embed."""

    tokens: list[int]
    norm: int = 2


@dataclass(frozen=True, slots=True)
class Known:
    """A request needs no more preparing."""

    mask: Mask | None  # of its structure, if it has one


class NoKVSlot(Exception):
    """llama.cpp found no place for a batch that the scheduler had counted room for."""


class Backend(Protocol):
    limits: Limits
    n_embd: int
    n_vocab: int
    pooling: str | None  # of an embedding model; None: it generates
    n_input: int  # tokens of one input that is embedded
    score_at: int  # which number of a ranked pair's vector is its score
    overlaps: bool  # a device computes by itself, and there is time to do something meanwhile

    def tokenize(self, text: str, add_special: bool, parse_special: bool = True) -> list[int]: ...

    def piece(self, token: int) -> bytes: ...

    def letters(self, token: int) -> bytes:
        """As `piece`, and special tokens are spelled out."""
        ...

    def pairs(
        self, query: str, documents: Sequence[str], max_doc_tokens: int | None
    ) -> Iterator[list[int]]:
        """The query with each document, as the model wants them to stand together. Each is made
        when it is asked for."""
        ...

    def fill_marks(self) -> FillMarks | None:
        """None: the vocabulary can't ask for what stands in the middle."""
        ...

    def load_adapter(self, adapter_id: int, path: bytes) -> None:
        """May take seconds; called off the loop's thread. Raises BadGGUF."""
        ...

    def free_adapter(self, adapter_id: int) -> None: ...

    def marks(self, markers: tuple[str, ...]) -> Mapping[int, bytes]:
        """The special tokens in these texts: `piece` has no letters for them."""
        ...

    def prepare(self, params: GenerateParams) -> Mask | None:
        """Compile its structure, look for DRY's breakers. May take seconds; called off the loop's
        thread. Raises BadRequest."""
        ...

    def prepared(self, params: GenerateParams) -> Known | None:
        """The same where it takes microseconds; None where it takes longer. Called on the loop's
        thread."""
        ...

    def is_prepared(self, params: GenerateParams) -> bool:
        """That would take no time now; in a moment it may. Called on any thread."""
        ...

    def see(self, file: bytes, is_wanted: Callable[[], bool]) -> tuple[Piece, ...] | None:
        """May take seconds; called off the loop's thread. None: it is wanted no more. Raises
        BadRequest."""
        ...

    def decode(self, batch: Batch) -> Step:
        """Raises NoKVSlot, with the memory as it was before the rows. Of some sequences they may be
        computed by then, whole: the same rows, tried again, are those of the others, and what is
        returned tells of all."""
        ...

    def while_computing(self, do: Callable[[], None]) -> None:
        """`do` is called in every `decode` from here on, when the device has its work."""
        ...

    def embed(self, inputs: list[Input]) -> list[bytes]:
        """One call: together they fit n_batch, unless there is one only. Raises EdgellmError,
        NoKVSlot."""
        ...


def tokens_of(backend: Backend, words: str | tuple[int, ...], param: str) -> list[int]:
    """Text, or token ids taken as they are. Raises BadRequest.

    An id outside the vocabulary would fail the whole batch, and with it everyone's request.
    """
    tokens = backend.tokenize(words, True) if isinstance(words, str) else [*words]
    if not tokens:
        raise BadRequest(f"the {param} is empty: it has no token", param=param)
    check_tokens(backend, tokens, param)
    return tokens


def check_tokens(backend: Backend, tokens: Iterable[int], param: str) -> None:
    """Raises BadRequest."""
    strange = next((token for token in tokens if not 0 <= token < backend.n_vocab), None)
    if strange is not None:
        raise BadRequest(
            f"token {strange} is not in the vocabulary of {backend.n_vocab} tokens", param=param
        )
