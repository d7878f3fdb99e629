"""One request to the engine, and its answers back as one stream of (answer's index, event).

A request may want several answers: its prompts times `n`. Each is a request of its own to the
engine, which shares their prompt. "Every request ends once" is kept here: the stream ends after the
last answer's Finished, or raises once, and after that nothing of it runs on.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, TypeVar, cast

from edgellm.chat.events import ENDINGS, Event, Failed, Finished, Told
from edgellm.chat.messages import GenerateParams
from edgellm.errors import WorkerDied
from edgellm.runner.engine import Engine
from edgellm.server.envelope import as_error, text_is_called
from edgellm.server.served import Served
from edgellm.server.watch.metrics import Metrics, Watch

Prompts: TypeAlias = Sequence[str | tuple[int, ...]]
Answers: TypeAlias = AsyncGenerator[tuple[int, Told], None]
_Events: TypeAlias = AsyncGenerator[tuple[int, Event], None]

R = TypeVar("R", bound="Read")

_MAX_BUFFERED = 64  # events of all answers together, while the client is slow to read


async def walk_in() -> None:
    pass


def unpriced(engine: Engine, finished: Finished) -> Finished:
    return finished


def unbooked(model: str, watch: Watch, prompt_bytes: int) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Asked:
    """What the engine is asked for; and what the client calls two of its parts, for errors."""

    prompts: Prompts
    params: GenerateParams
    text_field: str
    structure_field: str = "response_format"


@dataclass(frozen=True, slots=True)
class Counter:
    """What every request passes: it is let in, counted, priced, and booked on a key's account."""

    metrics: Metrics
    enter: Callable[[], Awaitable[None]] = walk_in  # returns when it may go in
    priced: Callable[[Engine, Finished], Finished] = unpriced  # adds the joules to an ending
    # Around a request, of so many bytes: raises QuotaExceeded.
    visit: Callable[[str, Watch, int], AbstractContextManager[None]] = unbooked


async def answer(served: Served, asked: Asked, counter: Counter) -> Answers:
    """Answer i to prompt p has the index p × n + i. Closing this cancels; a Failed is raised."""
    blamed = text_is_called(asked.text_field, asked.structure_field)
    wanted = [
        _one(p * asked.params.n + i, served.engine, prompt, _variant(asked.params, i))
        for p, prompt in enumerate(asked.prompts)
        for i in range(asked.params.n)
    ]
    is_streamed, prompt_bytes = asked.params.is_read, _bytes_of(asked.prompts)
    del asked  # megabytes perhaps, and an answer may take long; the worker has its own
    watched = counter.metrics.watch(served.name, len(wanted), is_streamed=is_streamed)
    with blamed, watched as watch, counter.visit(served.name, watch, prompt_bytes):
        await counter.enter()
        # Nearly always one: then no queue and no task are between token and socket.
        async with aclosing(wanted[0] if len(wanted) == 1 else _merged(wanted)) as answers:
            async for index, event in answers:
                if isinstance(event, Failed):
                    raise as_error(event)
                if isinstance(event, Finished):
                    event = counter.priced(served.engine, event)
                watch.saw(index, event)
                yield index, event


class Read(Protocol):
    """The result for texts that are only read: vectors, scores."""

    @property
    def request_id(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def step_share(self) -> float: ...
    @property
    def step_share_s(self) -> float: ...


async def read(served: Served, work: Callable[[], Awaitable[R]], counter: Counter) -> R:
    """The same for requests whose texts are only read: let in, counted, booked."""
    metered = counter.metrics.watch(served.name, 1)
    with metered as watch, counter.visit(served.name, watch, 0):
        await counter.enter()
        result = await work()
        watch.read(counter.priced(served.engine, _ended(result)))
        return result


def _ended(read: Read) -> Finished:
    """As an answer in which nothing was written."""
    return Finished(
        "stop",
        n_prompt=read.n_tokens,
        n_cached=0,
        n_output=0,
        request_id=read.request_id,
        step_share=read.step_share,
        step_share_s=read.step_share_s,
        n_computed=read.n_tokens,
    )


def _bytes_of(prompts: Prompts) -> int:
    """About the largest one's size: a token counts as 4 bytes."""
    return max((len(one) * (1 if isinstance(one, str) else 4) for one in prompts), default=0)


def _variant(params: GenerateParams, i: int) -> GenerateParams:
    """For answer `i` alone: with a seed of its own, or all answers would be the same."""
    if params.n == 1:
        return params
    seed = params.sampling.seed
    seeded = None if seed is None else (seed + i) % 0xFFFF_FFFF
    return replace(params, n=1, sampling=replace(params.sampling, seed=seeded))


async def _one(
    index: int, engine: Engine, prompt: str | tuple[int, ...], params: GenerateParams
) -> _Events:
    """The events up to the ending. One must come: WorkerDied where the stream stops without."""
    # An engine's iterator can be closed: its Protocol says so, the type doesn't.
    stream = cast(AsyncGenerator[Event, None], engine.generate(prompt, params))
    del prompt, params
    async with aclosing(stream):
        async for event in stream:
            yield index, event
            if isinstance(event, ENDINGS):
                return
    raise WorkerDied("the answer broke off")


async def _merged(streams: list[_Events]) -> _Events:
    queue: asyncio.Queue[tuple[int, Event] | Exception] = asyncio.Queue(_MAX_BUFFERED)
    pumps = [asyncio.create_task(_pump(stream, queue)) for stream in streams]
    n_open = len(streams)
    try:
        while n_open:
            told = await queue.get()
            if isinstance(told, Exception):
                raise told
            n_open -= isinstance(told[1], ENDINGS)
            yield told
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(stream: _Events, queue: asyncio.Queue[tuple[int, Event] | Exception]) -> None:
    try:
        async with aclosing(stream):
            async for told in stream:
                await queue.put(told)
    except Exception as error:  # noqa: BLE001  # not lost: the reader of the queue raises it
        await queue.put(error)
