"""A scheduler over the strict fake, stepped until nothing is left to do."""

import pytest

from edgellm.runner.kv.memory import Limits
from edgellm.runner.sequence import Sequence

LIMITS = Limits(
    n_cells=200, n_ctx_seq=100, n_batch=16, n_seq_max=4, n_ids=8, shares_prefixes=True
)  # fmt: skip
SPLIT = Limits(
    n_cells=400, n_ctx_seq=100, n_batch=16, n_seq_max=4, n_ids=4, shares_prefixes=True,
    unified=False,
)  # fmt: skip
LIKES_FOUR = {1: 0.020, 2: 0.030, 3: 0.049, 4: 0.031}  # seconds by rows
both_layouts = pytest.mark.parametrize("limits", [LIMITS, SPLIT], ids=["unified", "split"])


def run(scheduler, backend, requests, *, check=True):
    """Submit all at once, step until idle. The answers, by request id."""
    answers = {}
    for request_id, (prompt, n_output) in enumerate(requests):
        scheduler.add(Sequence(request_id, list(prompt), len(prompt) + n_output))
        answers[request_id] = []
    while not scheduler.idle:
        step(scheduler, backend, answers, check=check)
    return answers


def step(scheduler, backend, answers, *, check=True):
    batch = scheduler.schedule()
    if batch is None:
        return
    for output in scheduler.commit(batch, backend.decode(batch).sampled):
        answers[output.sequence.request_id].append(output.token)
    if check:
        scheduler.check()
