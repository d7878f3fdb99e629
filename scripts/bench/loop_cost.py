"""CPU time of the worker's loop without llama.cpp: deciding, text, messages, the write.

    python scripts/bench/loop_cost.py [STREAMS ...]

CPU time of the thread, so that a busy machine doesn't show; once with the caches as it left them,
and once as a step finds them, after all weights were read. What llama.cpp's side adds in Python
(filling a batch, reading logits) is in the flight recorder's `other_s` only: engine_loads.py
overhead.
"""

import os
import sys
import time
from collections.abc import Iterable

import numpy as np

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.backend import Step
from edgellm.runner.batch import Batch, Sampled
from edgellm.runner.frames import encode_frame
from edgellm.runner.intake.questions import Questions
from edgellm.runner.kv.memory import Limits
from edgellm.runner.messages import FromWorker, Generate, Shutdown, ToWorker
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.worker import Worker

_N_PROMPT, _N_OUTPUT = 32, 200
_WEIGHTS_BYTES = 128 << 20  # several times what caches hold


class Nothing:
    """A model that computes nothing: the same token for every row, in the text it is a word. It
    may read as many weights as a model does."""

    n_embd, n_vocab, pooling, overlaps = 4, 150_000, None, False

    def __init__(self, n: int, weights_bytes: int) -> None:
        self._weights = np.ones(weights_bytes // 4, np.float32)
        self.reading_s = 0.0  # of the thread's CPU time
        n_ctx_seq = _N_PROMPT + _N_OUTPUT
        self.limits = Limits(
            n_cells=n * n_ctx_seq, n_ctx_seq=n_ctx_seq, n_batch=512, n_seq_max=n, n_ids=2 * n,
            shares_prefixes=True,
        )  # fmt: skip

    def piece(self, token: int) -> bytes:
        return b" word"

    def decode(self, batch: Batch) -> Step:
        begun_s = time.thread_time()
        self._weights.sum()
        self.reading_s += time.thread_time() - begun_s
        word = (Sampled(1000, ends=False, silent=False),)
        return Step({row.seq_id: word for row in batch.rows if row.wants_logits})


def main() -> None:
    for n in [int(word) for word in sys.argv[1:]] or [1, 2, 4, 8, 16, 32]:
        warm_us, cold_us = _step_us(n, 0), _step_us(n, _WEIGHTS_BYTES)
        print(f"{n} streams: {warm_us:.0f} µs a step, {cold_us:.0f} after reading weights")


def _step_us(n: int, weights_bytes: int) -> float:
    params = GenerateParams(SamplingParams(temperature=0), _N_OUTPUT, n_draft_max=0)
    asked: list[list[ToWorker]] = [
        [Generate(i, tuple(range(40 * i, 40 * i + _N_PROMPT)), params) for i in range(n)]
    ]
    sink = os.open(os.devnull, os.O_WRONLY)

    def take(wait_s: float) -> Iterable[ToWorker]:
        return asked.pop() if asked else [Shutdown()] if wait_s else []

    def tell(messages: list[FromWorker]) -> None:
        os.write(sink, encode_frame(messages))

    backend = Nothing(n, weights_bytes)
    pace = Pace(0.1, StepCosts({1: 0.02}, {64: 0.25}))
    worker = Worker(
        backend,  # type: ignore[arg-type]
        Scheduler(backend.limits, pace),
        take=take,
        tell=tell,
        prepare=lambda request: None,
        read_beside=lambda text: None,
        questions=Questions(backend, load_beside=lambda asked: None),  # type: ignore[arg-type]
        clock=time.monotonic,
    )
    begun_s = time.thread_time()
    worker.run()
    return 1e6 * (time.thread_time() - begun_s - backend.reading_s) / _N_OUTPUT


if __name__ == "__main__":
    main()
