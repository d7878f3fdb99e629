"""All that goes through the pipe between the gateway and the worker.

Frozen values, tagged by name, as msgpack (see frames.py). Named for what they say, not for who
reads them: ToWorker goes down, FromWorker comes up.
"""

from typing import TypeAlias

import msgspec

from edgellm.chat.events import FinishReason, Timings, TokenLogprob
from edgellm.chat.messages import GenerateParams
from edgellm.runner.loadlog import DeviceMemory
from edgellm.selector.plan import Plan


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pass


class Load(Message, frozen=True):
    """The first message. `path` is the model's first file on this disk, as the system spells it."""

    path: bytes
    plan: Plan


class Generate(Message, frozen=True):
    """`prompt` is text, or token ids taken as they are (then no BOS is added)."""

    request_id: int
    prompt: str | tuple[int, ...]
    params: GenerateParams


class Embed(Message, frozen=True):
    request_id: int
    inputs: tuple[str | tuple[int, ...], ...]


class Tokenize(Message, frozen=True):
    request_id: int
    text: str
    add_special: bool


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


class LoadFailed(Message, frozen=True):
    """`kind`: "memory" asks for a smaller plan; "file" and "other" don't get better by it."""

    kind: str
    message: str


class Delta(Message, frozen=True):
    """`text` is whole characters; a token that ends inside one is held back."""

    request_id: int
    text: str
    n_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


class Done(Message, frozen=True):
    request_id: int
    reason: FinishReason
    n_prompt: int
    n_cached: int
    n_output: int
    timings: Timings
    step_share: float = 0.0  # steps it took part in, each divided by who was in it
    n_computed: int = 0  # tokens computed for it alone
    n_drafted: int = 0
    n_draft_accepted: int = 0


class Embedded(Message, frozen=True):
    request_id: int
    vectors: tuple[bytes, ...]  # float32, little-endian, normalised
    n_tokens: int


class Tokenized(Message, frozen=True):
    request_id: int
    tokens: tuple[int, ...]


class Rejected(Message, frozen=True):
    request_id: int
    message: str
    http_status: int
    param: str | None = None
    kind: str = "EdgellmError"  # the name of the error's class in errors.py


class Gauge(Message, frozen=True):
    """The worker's own state, with every step but at most ten times a second."""

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
    n_drafted: int  # guessed tokens computed since start
    n_draft_accepted: int
    sequences: tuple[
        tuple[int, int, int, int], ...
    ] = ()  # request_id, n_prompt, n_computed, n_output
    work: tuple[tuple[int, float, int], ...] = ()  # of those that run: as in Done


ToWorker: TypeAlias = Load | Generate | Embed | Tokenize | Cancel | Shutdown
FromWorker: TypeAlias = (
    Loading | Ready | LoadFailed | Delta | Done | Embedded | Tokenized | Rejected | Gauge
)
