"""Would a second thread pay, that tells step n-1 while step n is computed?

    python scripts/bench/overlap_cost.py MODEL.gguf [STREAMS] [ROUNDS]

Three loops in turn: steps alone; steps, and after each one what the worker tells of it; steps, and
a thread that does the same telling meanwhile. Telling here is making text of eight bytes a token,
a Delta each, one frame, one write. Medians of a step, in milliseconds.
"""

import os
import queue
import statistics
import sys
import threading
import time
from collections.abc import Callable

from alone import plan_alone

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.batch import Batch, Forget, Op, Row, Start, Stop
from edgellm.runner.frames import encode_frame
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.messages import Delta
from edgellm.runner.text import TextStream

_N_STEPS = 40
_KINDS = ("alone", "after it", "meanwhile")


def main() -> None:
    n, n_rounds = (int(word) for word in [*sys.argv[2:], "8", "7"][:2])
    backend = LlamaBackend(os.fsencode(sys.argv[1]), plan_alone(n), lambda progress: None)
    tell = _teller(n)
    calls: queue.SimpleQueue[None] = queue.SimpleQueue()
    threading.Thread(target=_keep_telling, args=(calls, tell), daemon=True).start()
    begin: dict[str, Callable[[], None]] = {"meanwhile": lambda: calls.put(None)}
    end = {"after it": tell}
    found: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    for i in range(n_rounds):
        for kind in _KINDS if i % 2 else _KINDS[::-1]:
            found[kind].append(_step_ms(backend, n, begin.get(kind), end.get(kind)))
    for kind, step_ms in found.items():
        print(f"{n} streams, telling {kind}: {statistics.median(step_ms):.2f} ms a step")


def _step_ms(
    backend: LlamaBackend,
    n: int,
    begin: Callable[[], None] | None,
    end: Callable[[], None] | None,
) -> float:
    params = GenerateParams(SamplingParams(temperature=0))
    ops: tuple[Op, ...] = tuple(Start(i, i, params, (5 + i,)) for i in range(n))
    taken_s = []
    for pos in range(_N_STEPS):
        begun_s = time.perf_counter()
        if begin:
            begin()
        rows = tuple(Row(i, pos, 5 + i, wants_logits=True) for i in range(n))
        backend.decode(Batch(ops, rows, 0))
        if end:
            end()
        taken_s.append(time.perf_counter() - begun_s)
        ops = ()
    gone: tuple[Op, ...] = tuple(op for i in range(n) for op in (Stop(i), Forget(i)))
    backend.decode(Batch(gone, (), 0))
    return 1000 * statistics.median(taken_s)


def _teller(n: int) -> Callable[[], None]:
    texts = [TextStream(("never",)) for _ in range(n)]
    sink = os.open(os.devnull, os.O_WRONLY)

    def tell() -> None:
        deltas = [Delta(i, text.feed(b" a token"), 1) for i, text in enumerate(texts)]
        os.write(sink, encode_frame(deltas))

    return tell


def _keep_telling(calls: "queue.SimpleQueue[None]", tell: Callable[[], None]) -> None:
    while True:
        calls.get()
        tell()


if __name__ == "__main__":
    main()
