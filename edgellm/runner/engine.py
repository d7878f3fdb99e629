"""What the rest of the program may ask of a served model: Supervisor is an Engine, and OnDemand."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal, Protocol

from edgellm.chat.events import Event, Finished
from edgellm.chat.messages import GenerateParams
from edgellm.errors import EdgellmError
from edgellm.runner.adapters import Adapter, AdapterList
from edgellm.runner.messages import Embedded, Gauge, Infill, Ready, Scored, Steps, Tokenized
from edgellm.runner.pacing.rehearsal import Rehearsed
from edgellm.selector.plan import Plan

EngineState = Literal[
    "starting", "loading", "ready", "restarting", "failed", "stopping", "stopped",
    "sleeping", "waking",  # of a model that is loaded when it is asked for
]  # fmt: skip


class Lease(Protocol):
    """How long a model that was loaded on demand stays while nobody asks for it."""

    def dismiss(self) -> None:
        """Unload it when its last answer has ended, unless somebody asks before."""
        ...

    def keep(self, idle_s: float) -> None:
        """Keep it for so long after each request, until it is unloaded or told otherwise."""
        ...

    @property
    def left_s(self) -> float | None:
        """Seconds until it is unloaded, if nobody asks and nobody needs its place. None: no
        limit."""
        ...


class Engine(Protocol):
    on_death: Callable[[str], None]
    """Is told, in a line, that the worker died and what happens next. The log has it, too."""
    on_left: Callable[[str, Finished], None]
    """Is told how far an answer had come whose reader left, with the name of its API key."""
    adapters: AdapterList
    lease: Lease | None
    """None: the model stays as long as its server."""
    rehearsed: Rehearsed | None
    """What its steps took when it was loaded last. The next worker with this plan is told, and
    doesn't measure it again. None: it has to."""

    @property
    def plan(self) -> Plan: ...

    @property
    def state(self) -> EngineState: ...

    @property
    def progress_ratio(self) -> float | None: ...

    @property
    def ready(self) -> Ready | None: ...

    @property
    def gauge(self) -> Gauge | None: ...

    @property
    def n_restarts(self) -> int: ...

    @property
    def failure(self) -> EdgellmError | None: ...

    @property
    def missing_device(self) -> str | None:
        """What llama.cpp said of a planned device that it no longer finds; None once it loads."""
        ...

    @property
    def log(self) -> deque[str]: ...

    @property
    def pid(self) -> int | None: ...

    async def start(self) -> None:
        """Returns when ready. Raises BadGGUF, DoesNotFit, WorkerDied; NotServing: stopped first."""

    async def stop(self, grace_s: float = 5.0) -> None: ...

    def generate(
        self, prompt: str | tuple[int, ...], params: GenerateParams
    ) -> AsyncIterator[Event]:
        """Deltas, then exactly one Finished or Failed; closing the iterator cancels.

        Raises Overloaded when the queue is full, NotServing when the model has failed for good.
        """
        ...

    async def embed(self, inputs: tuple[str | tuple[int, ...], ...], norm: int = 2) -> Embedded:
        """`norm` as in messages.Embed."""
        ...

    async def rerank(
        self, query: str, documents: tuple[str, ...], max_doc_tokens: int | None = None
    ) -> Scored: ...

    async def tokenize(
        self, text: str, add_special: bool, *, parse_special: bool = True, with_pieces: bool = False
    ) -> Tokenized:
        """Without `with_pieces` the tokens' ids only."""
        ...

    async def detokenize(self, tokens: tuple[int, ...]) -> Tokenized: ...

    async def load_adapter(self, name: str, path: Path) -> Adapter:
        """Returns when requests can ask for it. Raises BadGGUF, BadRequest, ModelNotFound."""
        ...

    async def unload_adapter(self, name: str) -> Adapter:
        """Raises ModelNotFound."""
        ...

    async def infill(self, asked: Infill) -> tuple[int, ...]:
        """The prompt that asks for the middle, for `generate`."""
        ...

    async def steps(self, n: int) -> Steps:
        """The flight recorder's newest `n` steps."""
        ...
