"""All that goes through the pipe between the gateway and the worker.

Frozen values, tagged by name, as msgpack (frames.py). They are named for what they say, not for who
reads them; ToWorker goes down, FromWorker comes up.
"""

from typing import TypeAlias

import msgspec

from edgellm.chat.events import FinishReason, Note, Timings, TokenLogprob
from edgellm.chat.messages import GenerateParams
from edgellm.runner.loadlog import DeviceMemory
from edgellm.runner.pacing.recorder import StepRecord
from edgellm.runner.pacing.rehearsal import Rehearsed
from edgellm.runner.sandbox.rules import USUAL, Wish
from edgellm.selector.plan import Plan


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pass


class Load(Message, frozen=True):
    """The first message. `path` is the model's first file on this disk, as the system spells it."""

    path: bytes
    plan: Plan
    adapters: tuple[tuple[int, bytes], ...] = ()  # (adapter id, path)
    later_adapters: tuple[tuple[int, bytes], ...] = ()  # left out if they can't be loaded
    rehearsed: Rehearsed | None = None  # measured by an earlier worker with this plan
    sandbox: Wish = USUAL


class Generate(Message, frozen=True):
    """`prompt` is text, or token ids taken as they are (then no BOS is added)."""

    request_id: int
    prompt: str | tuple[int, ...]
    params: GenerateParams


class Embed(Message, frozen=True):
    """`norm` is llama-server's `embd_normalize`: 2 for length 1, -1 for the vectors as they are."""

    request_id: int
    inputs: tuple[str | tuple[int, ...], ...]
    norm: int = 2


class Rerank(Message, frozen=True):
    """How well does each document answer the query? `max_doc_tokens` cuts the longer ones."""

    request_id: int
    query: str
    documents: tuple[str, ...]
    max_doc_tokens: int | None = None


class Tokenize(Message, frozen=True):
    """With `parse_special`, the text of a special token is that token."""

    request_id: int
    text: str
    add_special: bool
    parse_special: bool = True
    with_pieces: bool = False


class Detokenize(Message, frozen=True):
    request_id: int
    tokens: tuple[int, ...]


class Infill(Message, frozen=True):
    """The prompt that asks for what stands between prefix and suffix: see infill.py."""

    request_id: int
    prefix: str
    suffix: str
    extra: tuple[tuple[str, str], ...] = ()  # (file name, text) of what else there is
    prompt: str = ""  # how the middle begins
    max_tokens: int | None = None


class LoadAdapter(Message, frozen=True):
    """Its header has been read and agrees with the model's: see models/anatomy/adapters.py."""

    request_id: int
    adapter_id: int
    path: bytes


class UnloadAdapter(Message, frozen=True):
    """Nobody will ask for it again. It goes when the last answer that uses it has ended."""

    request_id: int
    adapter_id: int


class ReadSteps(Message, frozen=True):
    """Asks for the flight recorder's last `n` steps."""

    request_id: int
    n: int


class Cancel(Message, frozen=True):
    request_id: int


class Shutdown(Message, frozen=True):
    pass


class Loading(Message, frozen=True):
    """How far the load is, 0.0 to 1.0."""

    progress_ratio: float


class Ready(Message, frozen=True):
    n_ctx: int
    n_ctx_seq: int
    n_vocab: int
    load_s: float
    shares_prefixes: bool
    embedding: bool
    n_embd: int
    n_ctx_train: int
    memory: tuple[DeviceMemory, ...] = ()
    pooling: str | None = None  # of an embedding model; "rank" scores pairs
    lost_adapters: tuple[int, ...] = ()  # those of Load.later_adapters that were left out
    rehearsed: Rehearsed | None = None  # None: an embedding model, whose steps aren't measured
    landlock: int | None = None  # the ABI of its sandbox; None: it has none


class LoadFailed(Message, frozen=True):
    """`kind`: "memory" asks for a smaller plan, "device" for one without what is missing; "file",
    "draft" (it can't guess for this model), "sandbox" (it is insisted on, and can't be had) and
    "other" don't get better by another plan."""

    kind: str
    message: str


class Delta(Message, frozen=True):
    """`text` is whole characters; a token that ends inside one is held back."""

    request_id: int
    text: str
    n_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


class Noted(Message, frozen=True):
    """For a request that asked for such notes: see GenerateParams."""

    request_id: int
    note: Note


class Done(Message, frozen=True):
    request_id: int
    reason: FinishReason
    n_prompt: int
    n_cached: int
    n_output: int
    timings: Timings
    step_share: float = 0.0  # of steps, each divided equally among the sequences in it
    n_computed: int = 0  # tokens that were computed for it
    n_drafted: int = 0
    n_draft_accepted: int = 0
    step_share_s: float = 0.0  # the same of the steps' seconds
    stop_word: str | None = None  # the stop string that ended it


class Embedded(Message, frozen=True):
    request_id: int
    vectors: tuple[bytes, ...]  # float32, little-endian; without pooling, of all tokens
    n_tokens: int
    step_share: float = 0.0  # as Done's; of a step, by tokens
    step_share_s: float = 0.0


class Scored(Message, frozen=True):
    """What the classifier says of each document: the higher, the better. Not a probability."""

    request_id: int
    scores: tuple[float, ...]
    n_tokens: int
    step_share: float = 0.0  # as Done's; of a step, by tokens
    step_share_s: float = 0.0


class Tokenized(Message, frozen=True):
    request_id: int
    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()  # the bytes of each, special tokens spelled out


class Obeyed(Message, frozen=True):
    """It is done, and there is nothing else to tell."""

    request_id: int


class Steps(Message, frozen=True):
    request_id: int
    steps: tuple[StepRecord, ...]  # oldest first


class Rejected(Message, frozen=True):
    request_id: int
    message: str
    http_status: int
    param: str | None = None
    kind: str = "EdgellmError"  # the name of the error's class in errors.py
    sizes: tuple[int, int] | None = None  # a ContextTooLong's


WorkRow: TypeAlias = tuple[int, float, int, float]
# Of a request: its id, step_share, n_computed, step_share_s, as in Done.


class Gauge(Message, frozen=True):
    """The worker's state: ten times a second at most while it computes, and when all is done."""

    n_waiting: int
    n_running: int
    n_retained: int
    n_cells: int
    n_cells_used: int
    n_decoded: int  # output tokens since start
    n_prefilled: int  # prompt tokens computed since start
    n_cached: int  # prompt tokens that were found since start
    n_prompt: int  # prompt tokens of all requests begun since start
    n_steps: int
    sequences: tuple[
        tuple[int, int, int, int], ...
    ] = ()  # request_id, n_prompt, n_computed, n_output
    work: tuple[WorkRow, ...] = ()  # of those that run
    n_drafted: int = 0  # guessed tokens computed since start
    n_draft_accepted: int = 0  # of these, those that came true
    n_kv: int | None = None  # cells that every row looks at; None: each sequence has its own
    prefix_ram_bytes: int = 0  # host memory taken by what has left the cells
    prefix_disk_bytes: int = 0  # disk space taken by the same
    n_restored: int = 0  # of n_cached, tokens that came back from host memory
    n_loaded: int = 0  # and from disk
    n_alone: int = 0  # output tokens of steps that continued the only running answer
    alone_s: float = 0.0  # seconds of those steps, counted as the flight recorder's wall_s


Question: TypeAlias = Tokenize | Detokenize | Infill | LoadAdapter | UnloadAdapter
ToWorker: TypeAlias = Load | Generate | Embed | Rerank | Question | ReadSteps | Cancel | Shutdown
FromWorker: TypeAlias = (
    Loading
    | Ready
    | LoadFailed
    | Delta
    | Noted
    | Done
    | Embedded
    | Scored
    | Tokenized
    | Obeyed
    | Steps
    | Rejected
    | Gauge
)
