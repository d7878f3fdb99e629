"""A scheduler over the strict fake, whose idle conversations may leave the cells."""

from dataclasses import replace

from runner_fakes import FakeBackend

from edgellm.chat.messages import GenerateParams
from edgellm.runner.kv.edge import BlobSize
from edgellm.runner.kv.memory import Limits
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

SIZE = BlobSize(base_bytes=0, cell_bytes=1)


def limits(n_cells=2048, shelf_bytes=100_000, n_parallel=4, n_retained=8, n_ctx_seq=1024, **more):
    return Limits(
        n_cells=n_cells, n_ctx_seq=n_ctx_seq, n_batch=512, n_seq_max=n_parallel, n_scratch=1,
        n_ids=n_parallel + 1 + n_retained, shares_prefixes=True, shelf_bytes=shelf_bytes, blob=SIZE,
        **more,
    )  # fmt: skip


class House:
    """A scheduler and its backend, with what was done."""

    def __init__(self, limits, pace=None):
        self.scheduler, self.backend = Scheduler(limits, pace), FakeBackend(limits)
        self.answers, self.ops, self.n_requests = {}, [], 0

    def ask(self, prompt, n_output=2, **params):
        sequence = Sequence(
            self.n_requests, list(prompt), len(prompt) + n_output, GenerateParams(**params)
        )
        self.answers[self.n_requests] = []
        self.n_requests += 1
        self.scheduler.add(sequence)
        return sequence

    def step(self):
        batch = self.scheduler.schedule()
        if batch is None:
            return None
        self.ops += batch.ops
        sampled = self.backend.decode(batch).sampled
        for output in self.scheduler.commit(batch, sampled):
            self.answers[output.sequence.request_id].append(output.token)
        self.scheduler.check()
        return batch

    def run(self, *prompts, n_output=2):
        """To the last answer, and then until there is nothing to tidy up."""
        asked = [self.ask(prompt, n_output) for prompt in prompts]
        while not self.scheduler.is_at_rest or self.backend.fetches:
            self.step()
            self.read()
        return asked

    def read(self, *, ok=True):
        """What is being read from disk comes."""
        while self.backend.fetches:
            self.scheduler.memory.fetched(*self.backend.fetch(ok=ok))

    def again(self, **more):
        """Another worker, on the same disk."""
        files = self.backend.files
        stored = tuple(one for one, _ in files.values())
        house = House(replace(self.backend.limits, stored=stored, **more))
        house.backend.files = files
        return house

    def done(self, kind):
        found = [op for op in self.ops if isinstance(op, kind)]
        self.ops = []
        return found


def text(first, n):
    return [first] + [3 + (first * 7 + i * i) % 40 for i in range(1, n)]
