"""Guesses cost rows, never a token: over the strict fake, with step times that are made up."""

import random
from dataclasses import replace

import pytest
from runner_fakes import FakeBackend, next_token

from edgellm.chat.messages import GenerateParams
from edgellm.runner.backend import Step
from edgellm.runner.batch import DRAFTED, Batch, Row, Sampled
from edgellm.runner.drafting.speculation import Speculation
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

UNIFIED = Limits(
    n_cells=400, n_ctx_seq=100, n_batch=32, n_seq_max=4, n_ids=8, shares_prefixes=True,
    n_draft_rows=8,
)  # fmt: skip
SPLIT = Limits(
    n_cells=400, n_ctx_seq=100, n_batch=32, n_seq_max=4, n_ids=4, shares_prefixes=True,
    unified=False, n_draft_rows=8,
)  # fmt: skip
both_layouts = pytest.mark.parametrize("limits", [UNIFIED, SPLIT], ids=["unified", "split"])


def after(token):
    """A text that goes round: 3, 4, 5, 6, 7, 3 …"""
    return 3 + (token - 2) % 5


def round_and_round(tokens):
    return after(tokens[-1])


def mostly_round(tokens):
    """Now and then it leaves the round, by all that came before."""
    return next_token(tokens) if next_token(tokens) % 7 == 0 else 3 + (tokens[-1] - 2) % 5


def cheap(n_rows):
    """Rows cost next to nothing, as where a step reads weights and hardly computes."""
    return 1.0 + 0.01 * n_rows


def dear(n_rows):
    return 1.0 * n_rows


def said(say, prompt, n):
    tokens = list(prompt)
    for _ in range(n):
        tokens.append(say(tokens))
    return tokens[len(prompt) :]


def run(limits, requests, say, cost, *, on_token=None, switch_s=0.0, taken=None):
    """All at once, to the end. The sequences, and how many steps it took; `taken`: their times."""
    pace = Pace(None, StepCosts({n_rows: cost(n_rows) for n_rows in range(1, 13)}, {}, switch_s))
    scheduler, backend = Scheduler(limits, pace), FakeBackend(limits, say=say)
    sequences = []
    for request_id, (prompt, n_output, *params) in enumerate(requests):
        n_max = len(prompt) + n_output
        sequences.append(Sequence(request_id, list(prompt), n_max, *params))
        scheduler.add(sequences[-1])
    n_steps = last = 0
    while batch := scheduler.schedule():
        step, n_rows = backend.decode(batch), len(batch.rows)
        elapsed_s = cost(n_rows) + (switch_s if n_rows != last else 0.0)
        last = n_rows
        pace.observe(batch.n_prompt_rows, n_rows - batch.n_prompt_rows, elapsed_s)
        scheduler.speculation.observe(batch, step, elapsed_s)
        if taken is not None and not batch.n_prompt_rows:
            taken.append(elapsed_s)
        for output in scheduler.commit(batch, step.sampled):
            if on_token and on_token(output):
                scheduler.finish(output.sequence, "stop")
        scheduler.check()
        n_steps += 1
    return sequences, n_steps


@both_layouts
@pytest.mark.parametrize("cost", [cheap, dear])
@pytest.mark.parametrize("say", [round_and_round, mostly_round, next_token])
def test_the_answer_is_the_models_whatever_is_guessed(limits, cost, say):
    rng = random.Random(7)
    requests = [
        ([rng.randint(3, 9) for _ in range(rng.randint(1, 40))], rng.randint(1, 60))
        for _ in range(25)
    ]
    sequences, _ = run(limits, requests, say, cost)
    for sequence, (prompt, n_output) in zip(sequences, requests, strict=True):
        assert sequence.tokens[len(prompt) :] == said(say, prompt, n_output)
        assert sequence.finish_reason == "length"


def test_guesses_of_all_together_take_no_more_rows_than_a_step_has():
    limits = replace(UNIFIED, n_batch=4)
    sequences, _ = run(
        limits, [([3 + i, 4, 5, 6, 7], 30) for i in range(3)], round_and_round, cheap
    )
    assert all(len(sequence.tokens) == 35 for sequence in sequences)
    assert any(sequence.n_draft_accepted for sequence in sequences)


@both_layouts
def test_a_text_that_repeats_itself_takes_a_third_of_the_steps(limits):
    ((sequence,), n_steps) = run(limits, [([3, 4, 5, 6, 7], 90)], round_and_round, cheap)
    assert n_steps <= 30
    assert sequence.n_drafted == sequence.n_draft_accepted > 60


def test_where_a_row_costs_as_much_as_a_step_nothing_is_guessed():
    ((sequence,), n_steps) = run(UNIFIED, [([3, 4, 5, 6, 7], 60)], round_and_round, dear)
    assert (n_steps, sequence.n_drafted) == (60, 0)


def test_a_text_without_repetition_costs_no_more_than_one_percent():
    rng = random.Random(1)
    ((sequence,), _) = run(UNIFIED, [([9], 90)], lambda tokens: rng.randint(3, 49), cheap)
    assert sequence.n_drafted * (cheap(2) - cheap(1)) <= 0.01 * 90


@pytest.mark.parametrize("say", [round_and_round, mostly_round, next_token])
def test_guesses_win_back_what_steps_of_another_size_cost(say):
    taken = []
    ((sequence,), _) = run(UNIFIED, [([3, 4, 5, 6, 7], 90)], say, cheap, switch_s=2.0, taken=taken)
    assert sequence.tokens[5:] == said(say, [3, 4, 5, 6, 7], 90)
    assert sum(taken) <= 1.02 * (90 * cheap(1) + 2.0)
    assert say is not round_and_round or sum(taken) < 0.5 * 90 * cheap(1)


def test_a_stop_in_the_middle_of_accepted_guesses_ends_the_text_there():
    def stops(output):
        return len(output.sequence.tokens) == 48

    for limits in (UNIFIED, SPLIT):
        ((sequence,), _) = run(
            limits, [([3, 4, 5, 6, 7], 90)], round_and_round, cheap, on_token=stops
        )
        assert sequence.tokens[5:] == said(round_and_round, [3, 4, 5, 6, 7], 43)
        assert sequence.n_computed == 47


def test_a_request_says_how_much_may_be_guessed_for_it():
    params = [GenerateParams(n_draft_max=n) for n in (0, 1)]
    requests = [([3, 4, 5, 6, 7], 60, one) for one in params]
    (none, one), _ = run(UNIFIED, requests, round_and_round, cheap)
    assert none.n_drafted == 0
    assert one.n_drafted > 20


def test_batch_invariant_nothing_is_guessed():
    limits = Limits(400, 100, 32, 4, 4, unified=False, n_chunk=16, n_draft_rows=8)
    ((sequence,), _) = run(limits, [([3, 4, 5, 6, 7], 60)], round_and_round, cheap)
    assert sequence.n_drafted == 0


def test_sequences_that_guess_share_the_rows_that_there_are():
    requests = [([3, 4, 5, 6, 7], 60)] * 4
    sequences, _ = run(UNIFIED, requests, round_and_round, cheap)
    counts = [s.n_drafted for s in sequences]
    assert min(counts) > 0


PLAIN = Step({0: (Sampled(8, False, False),)})


def speculation_at_work(pace, *, n_sequences=1, **more):
    """It has seen steps of so many sequences without guesses."""
    speculation = Speculation(8, pace, **more)
    batch = Batch((), tuple(Row(i, 0, 5, True) for i in range(n_sequences)), 0)
    step = Step({i: (Sampled(6, False, False),) for i in range(n_sequences)})
    for _ in range(10):
        speculation.observe(batch, step, pace.costs.step_s(n_sequences))
    return speculation


def test_a_draft_model_that_was_slow_once_is_asked_again():
    pace = Pace(None, StepCosts({n_rows: cheap(n_rows) for n_rows in range(1, 13)}))
    speculation = speculation_at_work(pace, by_model=True)
    sequence = Sequence(0, [5, 6, 7], 1000)
    assert speculation.drafts([sequence], 8)
    for _ in range(20):
        asked = tuple(Row(0, 3 + i, DRAFTED, True) for i in range(4))
        batch = Batch((), (Row(0, 2, 7, True), *asked), 0)
        step = Step({0: (Sampled(8, False, False),)}, n_drafted={0: 4}, draft_s=40.0)
        speculation.observe(batch, step, 41.0)
    assert not speculation.drafts([sequence], 8)
    n_plain = 0
    while not speculation.drafts([sequence], 8):
        speculation.observe(Batch((), (Row(0, 2, 7, True),), 0), PLAIN, 1.01)
        n_plain += 1
    assert 100 < n_plain < 1700


def test_a_sequence_alone_with_its_guesses_does_not_keep_the_others_waiting_too_long():
    costs = {n_rows: 0.03 * n_rows**0.3 for n_rows in range(1, 13)}
    looping, other = Sequence(0, [3, 4, 5, 6, 7] * 8, 1000), Sequence(1, [9, 8], 1000)
    looping.seq_id, other.seq_id = 0, 1
    n_guesses = {}
    for itl_target_s in (None, 0.04):
        pace = Pace(itl_target_s, StepCosts(costs))
        for sequence in (looping, other):
            sequence.guesser = None
        drafts = speculation_at_work(pace, n_sequences=2).drafts([looping, other], 8)
        n_guesses[itl_target_s] = len(drafts.get(0, ()))
    assert costs[2] <= 0.04 < costs[3]
    assert n_guesses == {None: 2, 0.04: 0}


class Sure:
    """Says how likely its guesses are; nobody checks them."""

    def __init__(self, chances):
        self._chances = chances

    def chances(self, tokens, n_most):
        return self._chances[:n_most]

    def guess(self, tokens, n):
        return (7,) * n

    def refused(self):
        pass


@pytest.mark.parametrize(("likely", "n_guesses"), [(0.95, (3, 1)), (0.1, (1, 0))])
def test_who_wins_little_by_a_step_is_not_held_up_by_who_wins_much(likely, n_guesses):
    pace = Pace(0.06, StepCosts({n_rows: 0.03 + 0.01 * n_rows for n_rows in range(1, 13)}))
    looping, other = Sequence(0, [9, 8], 1000), Sequence(1, [9, 8], 1000)
    looping.seq_id, other.seq_id = 0, 1
    looping.guesser, other.guesser = Sure([0.9] * 3), Sure([likely])
    drafts = speculation_at_work(pace, n_sequences=2).drafts([looping, other], 8)
    assert tuple(len(drafts.get(seq_id, ())) for seq_id in (0, 1)) == n_guesses


class Until:
    """A structure that allows no token from `limit` on."""

    def __init__(self, limit, took_s=0.0):
        self.limit, self.took_s = limit, took_s

    def would_accept(self, tokens):
        return next((i for i, token in enumerate(tokens) if token >= self.limit), len(tokens))


def test_a_guess_is_cut_where_the_structure_forbids_it():
    pace = Pace(None, StepCosts({n_rows: cheap(n_rows) for n_rows in range(1, 13)}))
    sequence = Sequence(0, [3, 4, 5, 6, 7] * 8, 1000)
    assert speculation_at_work(pace).drafts([sequence], 8) == {-1: (3, 4, 5, 6, 7, 3, 4, 5)}
    sequence.mask = Until(6)
    assert speculation_at_work(pace).drafts([sequence], 8) == {-1: (3, 4, 5)}
    sequence.mask = Until(3)
    assert speculation_at_work(pace).drafts([sequence], 8) == {}


def test_where_a_mask_takes_long_few_are_guessed_or_none():
    pace = Pace(None, StepCosts({n_rows: cheap(n_rows) for n_rows in range(1, 13)}))
    sequence = Sequence(0, [3, 4, 5, 6, 7] * 8, 1000, mask=Until(8, took_s=0.002))
    assert speculation_at_work(pace).drafts([sequence], 8) == {-1: (3, 4)}
    sequence.mask = Until(8, took_s=0.05)
    assert speculation_at_work(pace).drafts([sequence], 8) == {}


def test_a_draft_model_that_only_reads_is_no_loss():
    pace = Pace(None, StepCosts({n_rows: cheap(n_rows) for n_rows in range(1, 13)}))
    speculation = speculation_at_work(pace, by_model=True)
    asked = tuple(Row(0, 3 + i, DRAFTED, True) for i in range(4))
    batch = Batch((), (Row(0, 2, 7, True), *asked), 0)
    for _ in range(50):
        read = Step({0: (Sampled(8, False, False),)}, n_drafted={0: 0}, draft_s=5.0)
        speculation.observe(batch, read, cheap(1) + 5.0)
    assert speculation.drafts([Sequence(0, [5, 6, 7], 1000)], 8)
