"""Models that carry a state, of every kind, and a scheduler that is stepped until it is idle."""

import random
from dataclasses import replace

from runner_fakes import answer
from state_fakes import StatefulBackend

from edgellm.chat.messages import GenerateParams
from edgellm.runner.kv.memory import Limits, PartialState
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

TURN_END = 49
LIMITS = Limits(
    n_cells=2000, n_ctx_seq=1000, n_batch=64, n_seq_max=4, n_ids=4, shares_prefixes=True,
    turn_ends=frozenset({TURN_END}),
)  # fmt: skip
WINDOW = PartialState(n_window=16, cell_bytes=4, row_bytes=8, budget_bytes=10_000)
HYBRID = PartialState(0, 0, 64, 10_000, has_rows=True)
RECURRENT = PartialState(0, 0, 64, 10_000, has_cells=False, has_rows=True)
STREAM = PartialState(0, 0, 0, 10_000, full_cell_bytes=2)
KINDS = {  # with checkpoints
    "sliding": replace(LIMITS, state=WINDOW, n_ids=8),
    "sliding, split": replace(LIMITS, state=WINDOW, unified=False, n_cells=4000),
    "hybrid": replace(LIMITS, state=HYBRID),
    "hybrid, split": replace(LIMITS, state=HYBRID, unified=False, n_cells=4000),
    "recurrent": replace(LIMITS, state=RECURRENT, n_ids=20),
}
STREAMS = {"streams": replace(LIMITS, state=STREAM, unified=False, n_cells=4000)}


class Run:
    """A scheduler and a model, stepped until idle."""

    def __init__(self, limits):
        self.scheduler, self.backend = Scheduler(limits), StatefulBackend(limits)
        self.sequences, self.answers, self.ops = {}, {}, []

    def add(self, prompt, n_output=4, pictures=()):
        request_id = len(self.answers)
        n_max = len(prompt) + n_output
        sequence = Sequence(request_id, list(prompt), n_max, pictures=pictures)
        self.sequences[request_id], self.answers[request_id] = sequence, []
        self.scheduler.add(sequence)
        return sequence

    def step(self):
        batch = self.scheduler.schedule()
        if batch is None:
            return
        self.ops += batch.ops
        for output in self.scheduler.commit(batch, self.backend.decode(batch).sampled):
            self.answers[output.sequence.request_id].append(output.token)
        self.scheduler.check()

    def finish(self):
        while not self.scheduler.idle:
            self.step()
        for request_id, sequence in self.sequences.items():
            n_output = sequence.n_max - sequence.n_prompt
            prompt = sequence.tokens[: sequence.n_prompt]
            assert self.answers[request_id] == answer(prompt, n_output, sequence.adapters)

    def turn(self, prompt, n_output=4):
        """One request alone. Its sequence, and how many tokens were computed for it."""
        before = self.backend.n_computed
        sequence = self.add(prompt, n_output)
        self.finish()
        return sequence, self.backend.n_computed - before


def text(n, seed=0):
    """Tokens in which no message ends."""
    return random.Random(seed).choices(range(3, TURN_END), k=n)


def random_limits(rng, limits, budget_bytes, **more):
    """Few cells or many, steps of any size."""
    return replace(
        limits, n_cells=rng.choice((500, 900)) if limits.unified else 4 * 400, n_ctx_seq=400,
        n_batch=rng.choice((16, 32, 64)), state=replace(limits.state, budget_bytes=budget_bytes),
        n_chunk=rng.choice((None, 8)) if not limits.unified else None, **more,
    )  # fmt: skip


def first_prompts():
    """What a random history begins with."""
    return [[5], text(120), [*text(50), TURN_END, *text(60, seed=1), TURN_END]]


def come_and_go(rng, run, prompts):
    """Mostly somebody comes, with a beginning that was there before; now and then somebody goes."""
    if rng.random() < 0.7:
        base = rng.choice(prompts)[: rng.randint(1, 200)]
        prompt = base + rng.choices(range(3, 50), k=rng.randint(0, 40))
        sequence = run.add(prompt, rng.randint(1, 12))
        sequence.params = GenerateParams(cache_prompt=rng.random() < 0.9)
        prompts.append(prompt + answer(prompt, sequence.n_max - len(prompt)))
    if rng.random() < 0.1 and run.sequences:
        victim = rng.choice(list(run.sequences))
        if run.scheduler.cancel(victim):
            del run.sequences[victim]


def random_history(rng, limits):
    """Forty requests that come and go, with some steps between, to the end of the last."""
    run, prompts = Run(limits), first_prompts()
    for _ in range(40):
        come_and_go(rng, run, prompts)
        for _ in range(rng.randint(0, 6)):
            run.step()
    run.finish()
    return run
