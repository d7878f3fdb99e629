"""What of a step is not native where nobody else wants the cores: no gateway, no client.

    python scripts/bench/step_alone.py MODEL.gguf [STREAMS ...]

The worker's loop with the real backend, all in this process, what it tells written to nowhere; the
flight recorder's `other_s`, medians of the steps in which all streams were written. The running
server's is engine_loads.py overhead, deciding alone loop_cost.py.
"""

import gc
import os
import random
import statistics
import sys
import time
from collections.abc import Iterable

from alone import plan_alone

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.frames import encode_frames
from edgellm.runner.intake.questions import Questions
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.messages import FromWorker, Generate, ReadSteps, Shutdown, Steps, ToWorker
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.pacing.recorder import StepRecord
from edgellm.runner.pipes import write_all
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.worker import Worker

_N_PROMPT, _N_OUTPUT = 32, 200
_PARAMS = GenerateParams(SamplingParams(temperature=0, ignore_eos=True), _N_OUTPUT)


def main() -> None:
    for n in [int(word) for word in sys.argv[2:]] or [1, 2, 4, 8]:
        backend = LlamaBackend(os.fsencode(sys.argv[1]), plan_alone(n), lambda progress: None)
        steps = [step for step in _steps(backend, n) if step.n_decode == n and not step.n_prompt]
        step_ms = 1e3 * statistics.median(step.wall_s for step in steps)
        other_us = 1e6 * statistics.median(step.other_s for step in steps)
        print(f"{n} streams: {step_ms:.1f} ms a step, {other_us:.0f} µs of it not native")


def _steps(backend: LlamaBackend, n: int) -> tuple[StepRecord, ...]:
    rng = random.Random(n)
    prompts = [tuple(rng.randrange(1000) for _ in range(_N_PROMPT)) for _ in range(n)]
    asked: list[list[ToWorker]] = [
        [Shutdown()],
        [ReadSteps(n, _N_OUTPUT)],
        [Generate(i, prompt, _PARAMS) for i, prompt in enumerate(prompts)],
    ]
    found: list[Steps] = []
    sink = os.open(os.devnull, os.O_WRONLY)

    def take(wait_s: float) -> Iterable[ToWorker]:
        return asked.pop() if wait_s else []

    def tell(messages: list[FromWorker]) -> None:
        found.extend(message for message in messages if isinstance(message, Steps))
        write_all(sink, encode_frames(messages))

    gc.freeze()  # as worker_child.py does
    Worker(
        backend,
        Scheduler(backend.limits, Pace(0.1, backend.costs, backend.slowdown)),
        take=take,
        tell=tell,
        prepare=lambda request: None,
        read_beside=lambda text: None,
        questions=Questions(backend, load_beside=lambda asked: None),
        clock=time.monotonic,
    ).run()
    os.close(sink)
    return found[0].steps


if __name__ == "__main__":
    main()
