"""The measuring half of `edgellm tune`: a worker for each variation, and a few requests to it.

The workers are started as a server starts them, one at a time and without any HTTP; who breaks
off leaves none behind. Measured is the use's typical request, as much of its prompt as can be read
in some seconds: a micro-batch shows only in a prompt that is longer. The answer comes as deep in
the conversation as the request goes: what the cache costs (flash attention or not, threads)
doesn't show in an empty one. What of the prompt is left is read once and then kept, where the
model's memory can share it.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgellm.chat.events import Failed, Finished
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.errors import EdgellmError, WorkerDied
from edgellm.runner.engine import Engine
from edgellm.runner.supervisor import Supervisor
from edgellm.selector.plan import Plan
from edgellm.selector.profiles import Workload
from edgellm.selector.tuning import Axis, Knobs, Sample, Trial, next_step

_N_SAMPLES, _LEAST_SAMPLES = 5, 3
_MOST_S = 8.0  # for the samples of one variation, once there are enough to tell how they scatter
_TICK_S = 1e-9  # what took no time at all took this
_PROMPT_S, _ANSWER_S = 2.0, 0.8  # that reading the prompt, and writing, should take
_DEPTH_S = 8.0  # that reading what comes before it may take, once for each variation
_MOST_PROMPT, _LEAST_PROMPT, _SHORT_PROMPT = 2048, 64, 8
_MOST_ANSWER, _LEAST_ANSWER = 64, 8
_CELLS = 256  # llama.cpp rounds up to
_LEAST_CELLS = 4096  # no batch is cut down by them
_PASSAGE = (
    "The river begins in the hills, runs past two villages and a mill, and is in no hurry at all. "
    "In spring it takes the bridge with it, and in summer children walk across on the stones. "
)

NewEngine = Callable[[str, Plan], Engine]
Watch = Callable[[Knobs, Trial | None], None]  # None: it begins


@dataclass(frozen=True, slots=True)
class Sizes:
    n_prompt: int
    n_answer: int
    depth: int = 0  # tokens in the cache before the prompt


def run_trials(
    path: Path,
    plan: Plan,
    axes: tuple[Axis, ...],
    workload: Workload,
    watch: Watch,
    new_engine: NewEngine = lambda path, plan: Supervisor(path, plan),
) -> tuple[Knobs, tuple[Trial, ...]]:
    """The winner and all that was measured. Raises what loading the plan itself raises."""

    async def run() -> tuple[Knobs, tuple[Trial, ...]]:
        start, trials = Knobs.of(plan), list[Trial]()
        sizes, small = None, _with_fewer_cells(plan, workload)
        while (step := next_step(axes, start, trials, workload)).next is not None:
            watch(step.next, None)
            engine = new_engine(str(path), step.next.on(small))
            sizes, trial = await _trial(engine, step.next, sizes, small.n_ctx_seq, workload)
            trials.append(trial)
            watch(step.next, trial)
        return step.best, tuple(trials)

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
        bench = _Bench(engine, (await engine.tokenize(_PASSAGE, False)).tokens)
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
    n_ctx_seq = min(plan.n_ctx_seq, -(-n_ctx_seq // _CELLS) * _CELLS)
    return replace(plan, n_ctx_seq=n_ctx_seq, n_ctx=min(plan.n_ctx, n_seqs * n_ctx_seq))


async def _trial(
    engine: Engine, knobs: Knobs, sizes: Sizes | None, n_ctx_seq: int, workload: Workload
) -> tuple[Sizes, Trial]:
    """The first one fixes the sizes for all, and has to load."""
    try:
        await engine.start()
        bench = _Bench(engine, (await engine.tokenize(_PASSAGE, False)).tokens)
        # Pages the weights in; it doesn't count.
        warm = await bench.sample(sizes or Sizes(min(_LEAST_PROMPT, n_ctx_seq // 2), _LEAST_ANSWER))
        if sizes is None:
            sizes = _fitting(warm, n_ctx_seq, workload)
            await bench.sample(sizes)  # reads what comes before
        return sizes, Trial(knobs, await _samples(bench, sizes), depth=sizes.depth)
    except EdgellmError as error:
        if sizes is None:
            raise
        return sizes, Trial(knobs, (), str(error), sizes.depth)
    finally:
        await engine.stop()


async def _samples(bench: "_Bench", sizes: Sizes) -> tuple[Sample, ...]:
    samples, begun_s = list[Sample](), time.monotonic()
    while len(samples) < _N_SAMPLES:
        samples.append(await bench.sample(sizes))
        if len(samples) >= _LEAST_SAMPLES and time.monotonic() - begun_s > _MOST_S:
            break
    return tuple(samples)


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
        self._engine, self._words = engine, words
        self._first_words = itertools.count()

    async def sample(self, sizes: Sizes) -> Sample:
        """What comes before is the same each time; each prompt begins otherwise, so that no cache
        can know it."""
        before = self._text(0, sizes.depth)
        prompt = before + self._text(next(self._first_words), sizes.n_prompt)
        params = GenerateParams(
            sampling=SamplingParams(temperature=0.0, ignore_eos=True),
            max_tokens=sizes.n_answer,
            cache_prompt=sizes.depth > 0,
        )
        async for event in self._engine.generate(prompt, params):
            match event:
                case Finished():
                    return _rates(event)
                case Failed(message):
                    raise WorkerDied(message)
                case _:
                    continue
        raise WorkerDied("the model's process gave no answer while it was measured")

    def _text(self, first: int, n_tokens: int) -> tuple[int, ...]:
        return tuple(self._words[(first + i) % len(self._words)] for i in range(n_tokens))


def _rates(done: Finished) -> Sample:
    timings = done.timings
    return Sample(
        prefill_tok_s=(done.n_prompt - done.n_cached) / max(timings.prefill_s, _TICK_S),
        decode_tok_s=max(done.n_output - 1, 1) / max(timings.decode_s, _TICK_S),
    )
