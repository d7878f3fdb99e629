"""llama_decode, and what it took. All rows are computed here."""

import time
from collections.abc import Callable
from typing import Any, Self

import llama_cpp

from edgellm.errors import EdgellmError
from edgellm.runner.backend import NoKVSlot
from edgellm.runner.batch import Row
from edgellm.runner.llama.rows import NativeRows
from edgellm.runner.pacing.crowding import ThreadCount
from edgellm.selector.plan import Plan

_NO_WAIT_S = 1e-4  # a shorter wait for a device means that it was done already


class Compute:
    def __init__(self, context: Any, plan: Plan, beside: Self | None = None) -> None:
        """`beside`: that of the model which this one guesses for. Its steps are long enough to show
        how many threads are best, and both use as many: a change of the number starts threads."""
        self._context, self._beside = context, beside
        self.input = NativeRows(plan.n_batch)
        # With an accelerator our threads rest anyway. Batch-invariant answers must not depend on
        # who else is there.
        is_fixed = bool(plan.devices) or plan.batch_invariant
        self._threads = None if is_fixed else ThreadCount(plan.n_threads)
        if beside and self._threads:
            self._threads = beside._threads
        self.n_threads = self._most_threads = plan.n_threads  # of the last call
        self.elapsed_s = 0.0  # of all calls
        self.late_mask_s = 0.0  # of elapsed_s: masks that may have outlasted the device
        # Called while an accelerator computes. Returns the seconds that masks took in it.
        self.meanwhile: Callable[[], float] | None = None
        self.n_beside: Callable[[], int] = lambda: 0  # our own threads that want a core each

    def use(self, context: Any) -> None:
        """Another context, of the same plan except for its layout."""
        self._context, self.n_threads = context, self._most_threads

    def slowdown(self) -> float:
        """How many times as long the next call takes because of `n_beside`."""
        return self._threads.slowdown(self.n_beside()) if self._threads else 1.0

    def rows(self, rows: tuple[Row, ...]) -> None:
        """Raises NoKVSlot, EdgellmError."""
        self.input.fill(rows)
        self.call(lambda: llama_cpp.llama_decode(self._context, self.input.raw), rows)

    def call(self, decode: Callable[[], int], rows: tuple[Row, ...]) -> None:
        """`decode` returns llama_decode's code. Raises NoKVSlot, EdgellmError."""
        n_rows, n_beside = len(rows), (self._beside or self).n_beside()
        reads_prompt = False in [row.wants_logits for row in rows]
        self._use_threads(n_rows, n_beside, reads_prompt)
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        code = decode()
        masks_s = self.meanwhile() if self.meanwhile else 0.0
        asked_s = time.perf_counter()
        llama_cpp.llama_synchronize(self._context)
        ended_s = time.perf_counter()
        elapsed_s = ended_s - begun_s
        self.elapsed_s += elapsed_s
        self.late_mask_s += late_s(masks_s, ended_s - asked_s)
        if self._threads and not self._beside and not n_beside:
            cpu_s = time.process_time() - begun_cpu_s
            self._threads.observe(n_rows, elapsed_s, cpu_s, reads_prompt=reads_prompt)
        if code == 1:
            raise NoKVSlot(f"no KV slot for a batch of {n_rows} tokens")
        if code != 0:
            raise EdgellmError(f"llama_decode returned {code} for {n_rows} tokens")

    def _use_threads(self, n_rows: int, n_beside: int, reads_prompt: bool) -> None:
        if self._threads is None:
            return
        n = self._threads.of(n_rows, n_beside, reads_prompt=reads_prompt)
        if n != self.n_threads:
            self.n_threads = n
            llama_cpp.llama_set_n_threads(self._context, n, n)


def late_s(masks_s: float, waited_s: float) -> float:
    """How much longer than the device masks may have taken that were computed meanwhile: all of
    their time, if nobody had to wait for the device then. It doesn't say when it was done."""
    return masks_s if waited_s < _NO_WAIT_S else 0.0
