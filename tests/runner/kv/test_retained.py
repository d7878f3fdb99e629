"""Which of the conversations that have ended make place for others."""

from dataclasses import replace

import pytest
from runner_fakes import FakeBackend, answer

from edgellm.runner.batch import Copy
from edgellm.runner.kv.cells import Lease
from edgellm.runner.kv.memory import WORTH_SHARING, Limits, used_by
from edgellm.runner.kv.prefix import Match, Retained, RetainedStore
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

UNIFIED = Limits(
    n_cells=4000, n_ctx_seq=1000, n_batch=256, n_seq_max=4, n_ids=8, shares_prefixes=True
)
SPLIT = replace(UNIFIED, n_ids=4, unified=False)
both_layouts = pytest.mark.parametrize("limits", [UNIFIED, SPLIT], ids=["unified", "split"])


class Run:
    def __init__(self, limits):
        self.scheduler, self.backend = Scheduler(limits), FakeBackend(limits)
        self.ops = []

    def turn(self, prompt, n_output=3):
        sequence = Sequence(0, list(prompt), len(prompt) + n_output)
        self.scheduler.add(sequence)
        while not self.scheduler.idle:
            batch = self.scheduler.schedule()
            self.ops += batch.ops
            list(self.scheduler.commit(batch, self.backend.decode(batch).sampled))
            self.scheduler.check()
        assert sequence.tokens[len(prompt) :] == answer(prompt, n_output)
        return sequence

    def kept(self, at):
        """The tokens at this place of what is kept, least recently used first."""
        return [kept.tokens[at] for kept in self.scheduler.memory.retained.by_id.values()]


@both_layouts
@pytest.mark.parametrize("n_header", [4, 100])
def test_who_was_used_last_stays_though_all_begin_alike(limits, n_header):
    run = Run(limits)
    for i in range(9):
        run.turn([*[5] * n_header, *[20 + i] * 120])
    assert run.kept(n_header) == [25, 26, 27, 28]


@both_layouts
def test_who_is_forked_from_is_used(limits):
    run = Run(limits)
    for i in range(4):
        run.turn([20 + i] * 120)
    run.turn([*[20] * 40, *[5] * 50])
    run.turn([7] * 50)
    assert run.kept(0) == [23, 20, 20, 7]


def test_a_few_tokens_in_common_make_nobody_used():
    kept = Retained(5, [1] * 99, Lease(), 9)
    assert used_by(Match(kept, WORTH_SHARING)) is kept
    assert used_by(Match(kept, WORTH_SHARING - 1)) is None
    assert used_by(Match(Sequence(0, [1] * 99, 100), WORTH_SHARING)) is None
    assert used_by(None) is None


def test_whoever_may_be_used_next_comes_last():
    store = RetainedStore(range(3))
    first, second = (store.add([n], Lease(), 1, ()) for n in (1, 2))
    assert store.oldest_first() == [first, second]
    assert store.oldest_first(first) == [second, first]


def test_the_only_stream_keeps_what_the_next_prompt_begins_with():
    run = Run(replace(SPLIT, n_cells=1000, n_seq_max=1, n_ids=1))
    run.turn([*[5] * 400, *[6] * 500])
    assert run.turn([*[5] * 400, *[7] * 20]).n_cached == 400


def test_of_several_streams_another_one_makes_place_for_a_copy():
    run = Run(replace(SPLIT, n_cells=2000, n_seq_max=2, n_ids=2))
    run.turn([*[5] * 400, *[6] * 500])
    run.turn([8] * 50)
    assert run.turn([*[5] * 400, *[7] * 20]).n_cached == 400
    assert [op.length for op in run.ops if isinstance(op, Copy)] == [400]
    assert sorted(run.kept(400)) == [6, 7]


def test_who_cannot_come_in_yet_makes_nobody_used():
    run = Run(replace(UNIFIED, n_cells=1000))
    for i in range(2):
        run.turn([20 + i] * 120)
    run.scheduler.add(Sequence(1, [7] * 50, 700))
    run.scheduler.schedule()
    run.scheduler.add(Sequence(2, [20] * 50, 900))
    run.scheduler.schedule()
    assert len(run.scheduler.waiting) == 1
    assert run.kept(0) == [20, 21]
