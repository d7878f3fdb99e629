"""The measuring half of `edgellm tune`: workers for two variations, and requests to them in turn.

The workers are started as a server starts them, without any HTTP; who breaks off leaves none
behind. Two that are compared are loaded at the same time where there is room, and asked one after
the other: who waits takes no processor. Where there is not, each is loaded for its turn, and writes
more in it.

Measured is the use's typical request, as much of its prompt as can be read in some seconds: a
micro-batch shows only in a prompt that is longer. The answer comes as deep in the conversation as
the request goes: what the cache costs (flash attention or not, threads) doesn't show in an empty
one. What of the prompt is left is read once and then kept, where the model's memory can share it.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from edgellm.chat.events import Failed, Finished
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.cli.measuring.benchmark import PASSAGE, repeated
from edgellm.errors import EdgellmError, WorkerDied
from edgellm.runner.engine import Engine
from edgellm.runner.supervisor import Supervisor
from edgellm.selector.bouts import Bout, Match, Sample, middle
from edgellm.selector.knobs import Knobs
from edgellm.selector.memory.shape import pad256
from edgellm.selector.plan import Plan
from edgellm.selector.profiles import Workload
from edgellm.selector.tuning import Axis, next_step

_FIRST_SAMPLES = 3  # of the plan as it was chosen
_LONE_SAMPLES = 2  # of a turn for which a worker was loaded
_TICK_S = 1e-9  # what took no time at all took this
_PROMPT_S, _ANSWER_S = 2.0, 0.8  # that reading the prompt, and writing, should take
_DEPTH_S = 8.0  # that reading what comes before it may take, once for each variation
_MOST_PROMPT, _LEAST_PROMPT, _SHORT_PROMPT = 2048, 64, 8
_MOST_ANSWER, _LEAST_ANSWER = 64, 8
_LEAST_CELLS = 4096  # no batch is cut down by them

NewEngine = Callable[[str, Plan], Engine]


@dataclass(frozen=True, slots=True)
class Sizes:
    n_prompt: int
    n_answer: int
    depth: int = 0  # tokens in the cache before the prompt


@dataclass(frozen=True, slots=True)
class Tuning:
    """`first`: the plan as it was chosen, after `depth` tokens."""

    best: Knobs
    first: tuple[Sample, ...]
    depth: int
    bouts: tuple[Bout, ...] = ()


class Watch(Protocol):
    def begun(self, first: Tuning) -> None: ...

    def under_way(self, match: Match, ratios: Sequence[float]) -> None:
        """Before the first pair, and after each."""

    def settled(self, bout: Bout) -> None: ...


def run_trials(
    path: Path,
    plan: Plan,
    axes: tuple[Axis, ...],
    workload: Workload,
    watch: Watch,
    new_engine: NewEngine = lambda path, plan: Supervisor(path, plan),
    *,
    has_room: bool = True,
) -> Tuning:
    """The winner and all that was measured. `has_room`: for two of them. Raises what loading the
    plan itself raises."""

    async def run() -> Tuning:
        start, bouts = Knobs.of(plan), list[Bout]()
        turns = _Turns(str(path), _with_fewer_cells(plan, workload), workload, new_engine, has_room)
        try:
            samples, depth = await turns.first(start)
            watch.begun(Tuning(start, samples, depth))
            while (step := next_step(axes, start, bouts, workload)).next is not None:
                bouts.append(await turns.fought(step.next, watch))
                watch.settled(bouts[-1])
            return Tuning(step.best, samples, depth, tuple(bouts))
        finally:
            await turns.stop()

    return asyncio.run(run())


@asynccontextmanager
async def serving(
    path: Path, plan: Plan, new_engine: NewEngine = lambda path, plan: Supervisor(path, plan)
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """A worker for this plan; what it gives writes one answer and says how many tokens it had."""
    engine = new_engine(str(path), plan)
    sizes = Sizes(_SHORT_PROMPT, min(_MOST_ANSWER, plan.n_ctx_seq // 2))
    try:
        await engine.start()
        bench = _Bench(engine, (await engine.tokenize(PASSAGE, False)).tokens)
        await bench.sample(sizes)  # pages the weights in

        async def decode() -> int:
            await bench.sample(sizes)
            return sizes.n_answer

        yield decode
    finally:
        await engine.stop()


def _with_fewer_cells(plan: Plan, workload: Workload) -> Plan:
    """As many as the samples fill, where the host's memory holds them: it takes seconds a GiB to
    touch them first, and nobody looks at empty ones. Accelerators need none, and there a variation
    has to find its room beside all cells."""
    if plan.devices:
        return plan
    n_seqs = max(1, plan.n_ctx // plan.n_ctx_seq)
    n_filled = workload.n_prompt + workload.n_answer + _LEAST_PROMPT
    n_ctx_seq = max(n_filled, -(-_LEAST_CELLS // n_seqs))
    n_ctx_seq = min(plan.n_ctx_seq, pad256(n_ctx_seq))
    return replace(plan, n_ctx_seq=n_ctx_seq, n_ctx=min(plan.n_ctx, n_seqs * n_ctx_seq))


class _Turns:
    """The workers that are loaded, two at most, and what they are asked."""

    def __init__(
        self, path: str, plan: Plan, workload: Workload, new_engine: NewEngine, has_room: bool
    ) -> None:
        self._path, self._plan, self._workload = path, plan, workload
        self._new_engine, self._has_room = new_engine, has_room
        self._sizes = Sizes(min(_LEAST_PROMPT, plan.n_ctx_seq // 2), _LEAST_ANSWER)
        self._loaded: dict[Knobs, _Bench] = {}

    async def first(self, start: Knobs) -> tuple[tuple[Sample, ...], int]:
        """Of the plan as it was chosen, which fixes the sizes for all."""
        bench = await self._load(start)
        warm = await bench.sample(self._sizes)
        self._sizes = _fitting(warm, self._plan.n_ctx_seq, self._workload)
        await bench.sample(self._sizes)  # reads what comes before
        samples = [await bench.sample(self._sizes) for _ in range(_FIRST_SAMPLES)]
        return tuple(samples), self._sizes.depth

    async def fought(self, match: Match, watch: Watch) -> Bout:
        """Raises what the incumbent's worker raises, when it fails alone."""
        bout = Bout(match, ())
        watch.under_way(match, ())
        while bout.is_won(self._workload) is None:
            sides = [match.incumbent, match.challenger]
            if len(bout.pairs) % 2:  # who was the last is the first
                sides.reverse()
            samples = dict[Knobs, Sample]()
            for knobs, other in (sides, sides[::-1]):
                try:
                    samples[knobs] = await self._turn(knobs, other)
                except EdgellmError as error:
                    if knobs == match.incumbent:
                        raise
                    return replace(bout, fault=str(error))
            pair = samples[match.incumbent], samples[match.challenger]
            bout = replace(bout, pairs=(*bout.pairs, pair))
            watch.under_way(match, bout.ratios(self._workload))
        return bout

    async def _turn(self, knobs: Knobs, other: Knobs) -> Sample:
        """When it fails beside the other one, it is tried alone: there may be no room for two."""
        if self._has_room:
            try:
                return await self._asked(knobs, other)
            except EdgellmError:
                await self.stop()
                sample = await self._asked(knobs)
                self._has_room = False
                return sample
        return await self._asked(knobs)

    async def _asked(self, knobs: Knobs, beside: Knobs | None = None) -> Sample:
        if knobs not in self._loaded:
            await self.stop(but=beside)
            bench = await self._load(knobs)
            await bench.sample(self._sizes)  # pages the weights in, reads what comes before
        bench, n_samples = self._loaded[knobs], 1 if beside else _LONE_SAMPLES
        return middle([await bench.sample(self._sizes) for _ in range(n_samples)])

    async def _load(self, knobs: Knobs) -> "_Bench":
        engine = self._new_engine(self._path, knobs.on(self._plan))
        try:
            await engine.start()
            bench = _Bench(engine, (await engine.tokenize(PASSAGE, False)).tokens)
        except BaseException:
            await engine.stop()
            raise
        self._loaded[knobs] = bench
        return bench

    async def stop(self, but: Knobs | None = None) -> None:
        for knobs in [knobs for knobs in self._loaded if knobs != but]:
            await self._loaded.pop(knobs).engine.stop()


def _fitting(warm: Sample, n_ctx_seq: int, workload: Workload) -> Sizes:
    n_answer = _within(int(warm.decode_tok_s * _ANSWER_S), _LEAST_ANSWER, _MOST_ANSWER)
    n_answer = min(n_answer, max(2, n_ctx_seq // 4))
    room = n_ctx_seq - n_answer - 1
    most = min(_MOST_PROMPT, workload.n_prompt)
    n_prompt = _within(int(warm.prefill_tok_s * _PROMPT_S), min(_LEAST_PROMPT, most), most)
    n_prompt = max(1, min(n_prompt, room))
    typical = workload.n_prompt + workload.n_answer // 2 - n_prompt - n_answer // 2
    depth = min(typical, room - n_prompt, int(warm.prefill_tok_s * _DEPTH_S))
    return Sizes(n_prompt, n_answer, max(0, depth))


def _within(n: int, least: int, most: int) -> int:
    return max(least, min(n, most))


class _Bench:
    def __init__(self, engine: Engine, words: tuple[int, ...]) -> None:
        self.engine, self._words = engine, words
        self._first_words = itertools.count()

    async def sample(self, sizes: Sizes) -> Sample:
        """What comes before is the same each time; each prompt begins otherwise, so that no cache
        can know it."""
        before = repeated(self._words, sizes.depth)
        prompt = before + repeated(self._words, sizes.n_prompt, next(self._first_words))
        params = GenerateParams(
            sampling=SamplingParams(temperature=0.0, ignore_eos=True),
            max_tokens=sizes.n_answer,
            cache_prompt=sizes.depth > 0,
        )
        async for event in self.engine.generate(prompt, params):
            match event:
                case Finished():
                    return _rates(event)
                case Failed(message):
                    raise WorkerDied(message)
                case _:
                    continue
        raise WorkerDied("the model's process gave no answer while it was measured")


def _rates(done: Finished) -> Sample:
    timings = done.timings
    return Sample(
        prefill_tok_s=(done.n_prompt - done.n_cached) / max(timings.prefill_s, _TICK_S),
        decode_tok_s=max(done.n_output - 1, 1) / max(timings.decode_s, _TICK_S),
    )
