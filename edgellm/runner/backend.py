"""What the worker's loop needs of a model. LlamaBackend is one, the tests' FakeBackend is
another."""

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

# A text with more bytes than this for each token of context can't fit, and to tokenize it would
# stall everyone's step.
MAX_TOKEN_BYTES = 64


@frozen
class Step:
    """What a batch gave: the new tokens of each seq_id that wanted some, and what it took."""

    sampled: Mapping[int, tuple[Sampled, ...]]
    times: NativeTimes = field(default_factory=NativeTimes)
    n_drafted: Mapping[int, int] | None = None  # guesses that the draft model made for each
    draft_s: float = 0.0  # of the step, what the draft model took
    n_threads: int | None = None  # CPU threads that computed it


@dataclass(frozen=True, slots=True)
class Input:
    """What is to become a vector. `norm` as in messages.Embed."""

    tokens: list[int]
    norm: int = 2


@dataclass(frozen=True, slots=True)
class Known:
    """A request is ready to be queued."""

    mask: Mask | None  # of its structure, if it has one


class NoKVSlot(Exception):
    """llama.cpp found no cells for a batch, though the scheduler had counted on them."""


class Backend(Protocol):
    limits: Limits
    n_embd: int
    n_vocab: int
    pooling: str | None  # of an embedding model; None: it generates
    n_input: int  # tokens of one input that is embedded
    score_at: int  # which number of a ranked pair's vector is its score
    overlaps: bool  # a device computes, and this process has time for something else meanwhile

    def tokenize(self, text: str, add_special: bool, parse_special: bool = True) -> list[int]: ...

    def piece(self, token: int) -> bytes: ...

    def letters(self, token: int) -> bytes:
        """As `piece`, but special tokens are spelled out."""
        ...

    def pairs(
        self, query: str, documents: Sequence[str], max_doc_tokens: int | None
    ) -> Iterator[list[int]]:
        """The query joined with each document, as this model expects it. Lazy: each is made when it
        is asked for."""
        ...

    def fill_marks(self) -> FillMarks | None:
        """None: the vocabulary has no tokens for filling in the middle."""
        ...

    def load_adapter(self, adapter_id: int, path: bytes) -> None:
        """May take seconds; called off the loop's thread. Raises BadGGUF."""
        ...

    def free_adapter(self, adapter_id: int) -> None: ...

    def marks(self, markers: tuple[str, ...]) -> Mapping[int, bytes]:
        """The special tokens in these texts, with their letters, which `piece` doesn't give."""
        ...

    def prepare(self, params: GenerateParams) -> Mask | None:
        """Compile its structure, find DRY's breakers in the vocabulary. May take seconds; called
        off the loop's thread. Raises BadRequest."""
        ...

    def prepared(self, params: GenerateParams) -> Known | None:
        """The same where it takes microseconds; None where it takes longer. Called on the loop's
        thread."""
        ...

    def is_prepared(self, params: GenerateParams) -> bool:
        """Whether `prepare` would take no time now; a moment later it might. Called on any
        thread."""
        ...

    def see(self, file: bytes, is_wanted: Callable[[], bool]) -> tuple[Piece, ...] | None:
        """May take seconds; called off the loop's thread. None: it is wanted no more. Raises
        BadRequest."""
        ...

    def decode(self, batch: Batch) -> Step:
        """Raises NoKVSlot, with the memory as it was before the call that found no place
        (calls.py). The same rows may then be tried again: sequences that are computed already are
        not computed twice, and what is returned covers all of them."""
        ...

    def while_computing(self, do: Callable[[], None]) -> None:
        """From here on call `do` in every `decode`, as soon as the device has its work."""
        ...

    def embed(self, inputs: list[Input]) -> list[bytes]:
        """One call for all. They must fit n_batch together, unless it is a single one. Raises
        EdgellmError, NoKVSlot."""
        ...


def tokens_of(backend: Backend, words: str | tuple[int, ...], param: str) -> list[int]:
    """Text, or token ids taken as they are. Raises BadRequest.

    An id outside the vocabulary would fail the whole batch, and everyone's request with it.
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
