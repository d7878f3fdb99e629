"""What prompts have in common is computed once, and what ended is kept for the next turn."""

from runner_fakes import FakeBackend, answer
from scheduler_runs import SPLIT, both_layouts, run, step

from edgellm.runner.batch import Copy
from edgellm.runner.kv.memory import Limits
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence


@both_layouts
def test_a_common_prefix_is_computed_once(limits):
    shared = list(range(3, 43))
    requests = [([*shared, 45 + i % 4, i + 3], 5) for i in range(4)]
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    answers = run(scheduler, backend, requests)
    assert answers == {i: answer(list(p), n) for i, (p, n) in enumerate(requests)}
    n_unique_prompt, n_decoded = len(shared) + 4 * 2, 4 * 4
    assert backend.n_computed == n_unique_prompt + n_decoded


@both_layouts
def test_a_finished_conversation_is_continued_where_it_ended(limits):
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    first = run(scheduler, backend, [([9, 8, 7], 6)])[0]
    before = backend.n_computed
    run(scheduler, backend, [([9, 8, 7, *first, 30], 4)])
    # The last token of the first answer was told but never computed; the new one comes on top.
    assert backend.n_computed - before == 2 + 3


def test_without_sharing_every_prompt_is_computed_whole():
    limits = Limits(n_cells=200, n_ctx_seq=100, n_batch=16, n_seq_max=4, n_ids=4)
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    run(scheduler, backend, [(range(3, 23), 2)] * 2)
    assert backend.n_computed == 2 * (20 + 1)


@both_layouts
def test_a_follower_of_a_cancelled_leader_computes_the_prefix_itself(limits):
    scheduler, backend, answers = Scheduler(limits), FakeBackend(limits), {0: [], 1: []}
    prompt = list(range(3, 43))
    for request_id in (0, 1):
        scheduler.add(Sequence(request_id, list(prompt), 45))
    step(scheduler, backend, answers)
    assert len(scheduler.waiting) == 1
    scheduler.cancel(0)
    while not scheduler.idle:
        step(scheduler, backend, answers)
    assert answers[1] == answer(prompt, 5)
    assert backend.n_computed == 40 + 4  # what the leader had computed was not lost


def retain(scheduler, backend, prompt, n_output=2, request_id=0):
    """Run one conversation to its end. What it left in the cache."""
    answers = {request_id: []}
    scheduler.add(Sequence(request_id, list(prompt), len(prompt) + n_output))
    while not scheduler.idle:
        step(scheduler, backend, answers)
    return [*prompt, *answers[request_id]]


def test_another_conversation_does_not_take_over_a_stream_it_shares_little_with():
    limits = Limits(
        n_cells=800, n_ctx_seq=200, n_batch=64, n_seq_max=4, n_ids=4, shares_prefixes=True,
        unified=False,
    )  # fmt: skip
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    header = list(range(3, 13))
    first = retain(scheduler, backend, [*header, *[20] * 120])
    retain(scheduler, backend, [*header, 30, 31], request_id=1)
    before = backend.n_computed
    again = Sequence(2, [*first, 40], len(first) + 3)
    scheduler.add(again)
    while not scheduler.idle:
        step(scheduler, backend, {2: []})
    assert again.n_cached == len(first) - 1
    assert backend.n_computed - before == 2 + 1


def test_a_token_or_two_in_common_are_not_worth_the_copy_of_a_stream():
    scheduler, backend, answers = Scheduler(SPLIT), FakeBackend(SPLIT), {0: [], 1: []}
    scheduler.add(Sequence(0, [1, 5, 6], 20))
    step(scheduler, backend, answers)
    scheduler.add(Sequence(1, [1, 9, 9], 20))
    batch = scheduler.schedule()
    assert not [op for op in batch.ops if isinstance(op, Copy)]


def test_a_request_that_fits_beside_the_running_ones_does_not_wait_for_a_retained_one():
    limits = Limits(
        n_cells=100, n_ctx_seq=100, n_batch=64, n_seq_max=4, n_ids=8, shares_prefixes=True
    )
    scheduler, backend, answers = Scheduler(limits), FakeBackend(limits), {1: [], 2: []}
    retain(scheduler, backend, [5] * 50)
    scheduler.add(Sequence(1, [6], 40))
    step(scheduler, backend, answers)
    scheduler.add(Sequence(2, [5] * 10 + [7], 50))  # shares ten of the fifty that are retained
    step(scheduler, backend, answers)
    assert len(scheduler.running) == 2


def test_a_request_that_cannot_come_in_yet_empties_nobodys_cache():
    limits = Limits(
        n_cells=100, n_ctx_seq=100, n_batch=64, n_seq_max=4, n_ids=8, shares_prefixes=True
    )
    scheduler, backend, answers = Scheduler(limits), FakeBackend(limits), {1: [], 2: []}
    retain(scheduler, backend, [5] * 20)
    scheduler.add(Sequence(1, [6], 60))
    step(scheduler, backend, answers)
    scheduler.add(Sequence(2, [7], 100))
    step(scheduler, backend, answers)
    assert len(scheduler.waiting) == 1
    assert len(scheduler.memory.retained) == 1
