"""One request inside the worker, from its prompt to its last token."""

import enum
from dataclasses import dataclass, field

from edgellm.chat.events import FinishReason
from edgellm.chat.messages import AdapterSet, GenerateParams
from edgellm.runner.batch import Mask
from edgellm.runner.drafting.guessing import Guesser
from edgellm.runner.intake.pictures import Placed
from edgellm.runner.kv.cells import Lease
from edgellm.runner.kv.edge import Edge
from edgellm.runner.kv.whole_file import WholeFile


class State(enum.Enum):
    WAITING = enum.auto()
    RUNNING = enum.auto()
    FINISHED = enum.auto()


@dataclass(eq=False, slots=True)
class Sequence:
    """`tokens` is prompt then output; the first `n_computed` of them are in the KV cache."""

    request_id: int
    tokens: list[int]
    n_max: int  # tokens it may grow to, prompt and answer together
    params: GenerateParams = field(default_factory=GenerateParams)
    arrived_s: float = 0.0
    n_passed: int = 0  # times that another one was admitted while this one had no room
    n_prompt: int = field(init=False)
    n_cached: int = 0  # prompt tokens whose KV was found, in cells, memory or on disk
    n_computed: int = 0
    step_share: float = 0.0  # of steps, each divided equally among the sequences in it
    step_share_s: float = 0.0  # the same of their seconds
    seq_id: int = -1  # llama.cpp's; -1 while waiting
    lease: Lease = field(default_factory=Lease)
    state: State = State.WAITING
    finish_reason: FinishReason | None = None
    leader: "Leader | None" = None
    restoring: list[Edge] = field(default_factory=list)  # still to be copied back into its cells
    fetching: list[Edge] = field(default_factory=list)  # to be read from disk before that
    fetching_whole: WholeFile | None = None  # the same, for a model that carries a state
    n_restored: int = 0  # of n_cached, those that were not in the cells
    n_loaded: int = 0  # of n_restored, those that were not in memory either
    mask: Mask | None = None
    guesser: Guesser | None = None  # of its next tokens, see speculation.py
    n_in_flight: int = 0  # guessed tokens in the batch that is being computed
    n_drafted: int = 0  # guessed tokens that were computed
    n_draft_accepted: int = 0  # of these, those that came true
    n_sat_out: int = 0  # steps that it has sat out since its last turn, see mask_turns.py
    pictures: tuple[Placed, ...] = ()

    def __post_init__(self) -> None:
        self.n_prompt = len(self.tokens)

    @property
    def adapters(self) -> AdapterSet:
        return self.params.adapters

    @property
    def awaits_disk(self) -> bool:
        whole = self.fetching_whole
        return any(edge.is_coming for edge in self.fetching) or bool(whole and whole.is_coming)

    @property
    def n_computed_here(self) -> int:
        """Without tokens that were found computed, whether or not they are back already."""
        return max(0, self.n_computed - self.n_cached)

    @property
    def is_decoding(self) -> bool:
        """Its prompt is read, and its answer has begun."""
        return len(self.tokens) > self.n_prompt

    @property
    def n_output(self) -> int:
        return len(self.tokens) - self.n_prompt

    @property
    def n_pending(self) -> int:
        """Tokens known but not yet computed: the rest of a prompt, or the last one sampled."""
        return len(self.tokens) - self.n_computed

    @property
    def n_reserved(self) -> int:
        """KV cells that it may yet take. All are reserved, so decoding never runs out of them.

        The last token of an answer is told but never computed, so it needs no cell.
        """
        return max(self.n_max - 1, self.n_prompt) - self.n_computed


@dataclass(frozen=True, slots=True)
class Leader:
    """The running sequence that computes a waiting one's prefix right now."""

    sequence: Sequence
    length: int  # tokens in common

    @property
    def done(self) -> bool:
        running = self.sequence.state is State.RUNNING
        return not running or self.sequence.n_computed >= self.length
