"""Guesses of models whose state goes back by a few tokens only, verified by the real llama.cpp."""

import os
from functools import cache

import pytest
import rollback_files
from guess_runs import Told, run
from real_model import SHARED_MODELS, needs_shared_models, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

pytestmark = [pytest.mark.model]

GREEDY = SamplingParams(temperature=0)
N, N_ROLLBACK = 40, 4  # tokens of an answer, and of a cut
PROMPT = [1, *(260 + i * 7 % 26 for i in range(24))]
MADE = {"qwen35": rollback_files.qwen35_bytes, "nemotron_h": rollback_files.nemotron_h_bytes}
LAYOUTS = pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
MODELS = pytest.mark.parametrize(
    "model", [pytest.param("tiny-lfm2-q8_0.gguf", marks=needs_shared_models), *MADE]
)


@pytest.fixture(scope="module")
def path_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")

    @cache
    def path(model):
        if model not in MADE:
            return SHARED_MODELS / model
        (folder / model).write_bytes(MADE[model]())
        return folder / model

    return path


@pytest.fixture(scope="module")
def said_by(path_of):
    """What follows on the prompt where nothing is guessed."""

    @cache
    def said(model, unified):
        nobody, as_ever = Told([], 1), {"kv_unified": unified, "n_rs_seq": 0}
        (answer,) = run(path_of(model), [PROMPT], [nobody], GREEDY, **as_ever)
        assert len(answer) == N
        return answer

    return said


@MODELS
@LAYOUTS
@pytest.mark.parametrize("wrong", [10**6, 2, 3, 5])
def test_the_text_is_the_same_whatever_was_guessed(path_of, said_by, model, unified, wrong):
    want = said_by(model, unified)
    guesser = Told([*PROMPT, *want], wrong)
    choices = {"kv_unified": unified, "n_rs_seq": N_ROLLBACK}
    (answer,) = run(path_of(model), [PROMPT], [guesser], GREEDY, **choices)
    assert answer == want
    assert guesser.n_guessed >= 10
    assert (guesser.n_right == guesser.n_guessed) == (wrong > N)


@MODELS
def test_nothing_is_guessed_for_several_at_once(path_of, said_by, model):
    want = said_by(model, False)
    guessers = [Told([*PROMPT, *want], 2) for _ in range(2)]
    choices = {"kv_unified": False, "n_rs_seq": N_ROLLBACK}
    assert run(path_of(model), [PROMPT] * 2, guessers, GREEDY, **choices) == [want] * 2
    assert [guesser.n_guessed for guesser in guessers] == [0, 0]


def backend_of(path, n_rs_seq=N_ROLLBACK, **choices):
    shape = plan(speculate="ngram", n_outputs_max=8 + 15, n_rs_seq=n_rs_seq, **choices)
    return LlamaBackend(os.fsencode(path), shape, lambda ratio: None)


class Served:
    def __init__(self, path, **choices):
        self.backend = backend_of(path, **choices)
        costs = StepCosts(dict.fromkeys(range(1, 40), 1.0))
        self.scheduler = Scheduler(self.backend.limits, Pace(None, costs))

    def ask(self, tokens, n, guesser=None):
        one = Sequence(len(tokens) + n, list(tokens), len(tokens) + n, GenerateParams(GREEDY))
        one.guesser = guesser
        self.scheduler.add(one)
        return one

    def step(self):
        batch = self.scheduler.schedule()
        if batch:
            step = self.backend.decode(batch)
            self.scheduler.speculation.observe(batch, step, 1.0)
            list(self.scheduler.commit(batch, step.sampled))
            self.scheduler.check()
        return batch

    def finish(self):
        while self.step():
            pass


def answer_of(sequence):
    return sequence.tokens[sequence.n_prompt :]


@MODELS
@LAYOUTS
def test_the_next_turn_goes_on_from_an_answer_whose_last_guesses_failed(
    path_of, said_by, model, unified
):
    want = said_by(model, unified)
    for n in range(12, 17):  # among them such whose last guess was the wrong one
        served = Served(path_of(model), kv_unified=unified)
        first = served.ask(PROMPT, n, Told([*PROMPT, *want], 3))
        served.finish()
        assert answer_of(first) == want[:n]
        again = served.ask([*first.tokens, want[n]], N - n - 1)
        served.finish()
        assert again.n_cached >= first.n_computed
        assert answer_of(again) == want[n + 1 :]


@MODELS
@LAYOUTS
def test_who_comes_just_after_a_guess_failed_changes_nothing(path_of, said_by, model, unified):
    """Nor does who is forked from the one whose state has yet to go back."""
    want = said_by(model, unified)
    for n_steps in range(3, 8):
        served = Served(path_of(model), kv_unified=unified)
        first = served.ask(PROMPT, N, Told([*PROMPT, *want], 3))
        for _ in range(n_steps):
            served.step()
        second = served.ask([*PROMPT, want[0]], N - 1)
        served.finish()
        assert answer_of(first) == want
        assert answer_of(second) == want[1:]


@MODELS
@pytest.mark.parametrize(("n_ubatch", "n_rollback"), [(1, 0), (2, 0), (4, 2), (6, 4)])
def test_no_more_is_taken_back_than_a_short_micro_batch_holds(
    path_of, said_by, model, n_ubatch, n_rollback
):
    assert backend_of(path_of(model), n_ubatch=n_ubatch).limits.n_rollback == n_rollback
    want = said_by(model, True)
    choices = {"kv_unified": True, "n_rs_seq": N_ROLLBACK, "n_ubatch": n_ubatch}
    (answer,) = run(path_of(model), [PROMPT], [Told([*PROMPT, *want], 3)], GREEDY, **choices)
    assert answer == want


@needs_shared_models
@pytest.mark.parametrize(
    ("file", "n_rs_seq"), [("tiny-mamba-q8_0.gguf", 4), ("tiny-lfm2-q8_0.gguf", 0)]
)
def test_where_llama_cpp_keeps_no_states_nothing_can_be_taken_back(file, n_rs_seq):
    assert backend_of(SHARED_MODELS / file, n_rs_seq).limits.n_rollback == 0


@needs_shared_models
def test_attention_alone_can_be_cut_anywhere():
    assert backend_of(SHARED_MODELS / "tiny-qwen3-q8_0.gguf").limits.n_rollback is None
