"""A model that changes between a pool and streams, over the strict fakes of both."""

import itertools
from dataclasses import dataclass, replace

from real_model import plan
from runner_fakes import FakeBackend
from spill_runs import limits
from state_fakes import StatefulBackend

from edgellm.errors import EdgellmError
from edgellm.runner.changing import Changing
from edgellm.runner.kv.memory import PartialState
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.layouts import LayoutChoice
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.selector.plan import laid_out, layout_of

N_CTX_SEQ, N_PARALLEL = 400, 4
POOL = plan(
    n_ctx=1024, n_ctx_seq=N_CTX_SEQ, n_parallel=N_PARALLEL, n_seq_max=5, n_outputs_max=5,
    prefix_ram_bytes=10_000,
)  # fmt: skip
STREAMS = replace(POOL, kv_unified=False, n_seq_max=N_PARALLEL, n_outputs_max=N_PARALLEL)
POOL = replace(POOL, other_layouts=(layout_of(STREAMS),))


@dataclass
class Payload:
    tokens: list[int]

    @property
    def nbytes(self):
        return len(self.tokens)


class TwoLayouts:
    """What isn't said here, the fake of the layout says that it has."""

    def __init__(self, ram_bytes=10_000, n_cells=1024, begins=POOL):
        self._pool = limits(n_cells, ram_bytes, N_PARALLEL, n_ctx_seq=N_CTX_SEQ)
        state = PartialState(0, 0, 0, ram_bytes, full_cell_bytes=1)
        self._streams = replace(
            self._pool, unified=False, n_scratch=0, n_ids=N_PARALLEL, shelf_bytes=0, blob=None,
            state=state, n_cells=N_PARALLEL * N_CTX_SEQ,
        )  # fmt: skip
        self.refused = []  # by kv_unified, what can't be made
        self.laid_out, self.fake = [], None
        self.left = {}  # blobs that nobody has taken out, when the last context went
        self.lay_out(begins)

    def lay_out(self, plan):
        self.laid_out.append(plan.kv_unified)
        if self.fake:
            self.left = {**self.fake.blobs, **getattr(self.fake, "wholes", {})}
        if plan.kv_unified in self.refused:
            self.fake = None
            raise EdgellmError("no memory for a context")
        fakes = {True: (FakeBackend, self._pool), False: (StatefulBackend, self._streams)}
        kind, limits = fakes[plan.kv_unified]
        self.fake = kind(limits)

    def hand_out(self, blob):
        if self.limits.unified:
            start, tokens = self.fake.blobs.pop(blob)
            assert start == 0, "not a whole conversation"
            return Payload(tokens)
        return Payload(self.fake.wholes.pop(blob))

    def take_in(self, blob, payload):
        if self.limits.unified:
            assert blob not in self.fake.blobs
            self.fake.blobs[blob] = (0, payload.tokens)
        else:
            assert blob not in self.fake.wholes
            self.fake.wholes[blob] = payload.tokens

    def __getattr__(self, name):
        return getattr(self.fake, name)


class Willing(LayoutChoice):
    """Whenever it is asked: to the one that is wanted, or any other."""

    wanted = None

    @property
    def better(self):
        return self.wanted or next(iter(self.saved_s), None)


def other(plan):
    """The same in the only other layout that it has."""
    (there,) = plan.other_layouts
    return laid_out(plan, there)


def changing(backend, *, choice=None, log=None, begins=POOL, is_busy=lambda: False, clock=None):
    ticks = itertools.count()
    choice = choice or Willing(begins, StepCosts({1: 0.01}, {16: 0.02}), 1, 1000)
    return Changing(
        backend,
        begins,
        choice,
        begin=lambda plan: Scheduler(backend.limits, Pace(0.1)),
        end=lambda: None,
        is_busy=is_busy,
        clock=clock or (lambda: next(ticks) * 0.001),
        log=log if log is not None else lambda line: None,
    )
