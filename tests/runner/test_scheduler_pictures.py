"""Prompts with pictures among prompts without, over the strict fake: a row is a row to it."""

import random
from itertools import groupby

import pytest
from runner_fakes import FakeBackend, answer

from edgellm.runner.intake.pictures import PictureRows, is_picture, placed, row_ids
from edgellm.runner.kv.memory import Limits
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

UNIFIED = Limits(
    n_cells=400, n_ctx_seq=100, n_batch=24, n_seq_max=4, n_ids=8, shares_prefixes=True
)  # fmt: skip
SPLIT = Limits(
    n_cells=400, n_ctx_seq=100, n_batch=24, n_seq_max=4, n_ids=4, shares_prefixes=True,
    unified=False,
)  # fmt: skip
both_layouts = pytest.mark.parametrize("limits", [UNIFIED, SPLIT], ids=["unified", "split"])
either_kind = pytest.mark.parametrize("whole", [True, False], ids=["whole", "cut"])

RED, BLUE = b"red", b"blue"


def picture(digest, n=12, *, whole):
    return PictureRows(row_ids(digest, 0, n), None, 0, at_once=whole)


class Run:
    def __init__(self, limits):
        self.scheduler, self.backend = Scheduler(limits), FakeBackend(limits)
        self.answers, self.batches, self.sequences = {}, [], {}

    def add(self, request_id, *pieces, n=5):
        tokens, pictures = placed(pieces)
        sequence = Sequence(request_id, tokens, len(tokens) + n, pictures=pictures)
        self.scheduler.add(sequence)
        self.answers[request_id], self.sequences[request_id] = [], sequence
        return list(sequence.tokens[: sequence.n_prompt])

    def step(self):
        batch = self.scheduler.schedule()
        if batch is None:
            return
        self.batches.append(batch)
        for output in self.scheduler.commit(batch, self.backend.decode(batch).sampled):
            self.answers[output.sequence.request_id].append(output.token)
        self.scheduler.check()

    def to_the_end(self):
        while not self.scheduler.idle:
            self.step()


@both_layouts
@either_kind
def test_an_answer_about_a_picture_is_right_whoever_runs_beside(limits, whole):
    run, draw, wanted = Run(limits), random.Random(1), {}
    for request_id in range(30):
        text = tuple(draw.choices(range(3, 50), k=draw.randrange(1, 20)))
        shown = picture(draw.choice((RED, BLUE)), whole=whole)
        pieces = (text, shown, (7, 8)) if draw.random() < 0.7 else (text,)
        wanted[request_id] = answer(run.add(request_id, *pieces), 5)
        run.step()
    run.to_the_end()
    assert run.answers == wanted


@both_layouts
@either_kind
def test_a_step_has_of_a_sequence_text_or_one_picture(limits, whole):
    run = Run(limits)
    run.add(0, (5,), picture(RED, whole=whole), picture(BLUE, whole=whole), (6, 7))
    run.add(1, (9, 9), picture(BLUE, whole=whole), (6, 7))
    run.to_the_end()
    for batch in run.batches:
        for _, rows in groupby(batch.rows, lambda row: row.seq_id):
            assert len({is_picture(row.token) for row in rows}) == 1


@both_layouts
def test_a_whole_picture_is_in_one_step_even_where_a_prompt_would_get_less(limits):
    run = Run(limits)
    run.add(0, (5,) * 20, n=30)
    run.step()
    run.add(1, (6,) * 18, picture(RED, n=20, whole=True), (6, 7))
    run.to_the_end()
    counts = [sum(is_picture(row.token) for row in batch.rows) for batch in run.batches]
    assert sorted({*counts}) == [0, 20]


@both_layouts
@either_kind
def test_the_same_picture_after_the_same_text_is_not_computed_again(limits, whole):
    run = Run(limits)
    tokens = run.add(0, (5, 6), picture(RED, n=20, whole=whole), (7,))
    run.to_the_end()
    before = run.backend.n_computed
    said = tuple(run.answers[0])
    run.add(1, (5, 6), picture(RED, n=20, whole=whole), (7, *said, 30))
    run.to_the_end()
    assert run.sequences[1].n_cached == len(tokens) + len(said) - 1
    assert run.backend.n_computed - before == 2 + 4


@both_layouts
def test_another_picture_after_the_same_text_shares_the_text_only(limits):
    run = Run(limits)
    text = (*range(3, 40),)
    run.add(0, text, picture(RED, whole=True), (7,))
    run.to_the_end()
    run.add(1, text, picture(BLUE, whole=True), (7,))
    run.to_the_end()
    assert run.sequences[1].n_cached == len(text)


@both_layouts
def test_a_prompt_that_ends_with_a_whole_picture_reads_all_of_it_again(limits):
    """Its last row is always computed, for the logits; alone it would be another row."""
    run = Run(limits)
    text, shown = (*range(3, 40),), picture(RED, whole=True)
    for request_id in (0, 1):
        tokens = run.add(request_id, text, shown)
        run.to_the_end()
    assert run.sequences[1].n_cached == len(text)
    assert run.answers[1] == answer(tokens, 5)
