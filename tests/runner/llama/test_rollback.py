"""Guesses of models whose state goes back by a few tokens only, verified by the real llama.cpp."""

import os

import pytest
from guess_runs import N, Told, run
from real_model import SHARED_MODELS, expected, needs_shared_models, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

pytestmark = [pytest.mark.model, needs_shared_models]

(LFM2,) = [row for row in expected() if row["file"] == "tiny-lfm2-q8_0.gguf"] or [None]
GREEDY = SamplingParams(temperature=0)
N_ROLLBACK = 4


def backend_of(file, n_rs_seq=N_ROLLBACK, **choices):
    shape = plan(speculate="ngram", n_outputs_max=8 + 15, n_rs_seq=n_rs_seq, **choices)
    return LlamaBackend(os.fsencode(SHARED_MODELS / file), shape, lambda ratio: None)


@pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
@pytest.mark.parametrize("wrong", [10**6, 2, 3, 5])
def test_the_record_comes_out_whatever_was_guessed(wrong, unified):
    prompt, want = LFM2["prompt_ids"], LFM2["greedy_ids"]
    guesser = Told([*prompt, *want], wrong)
    path = SHARED_MODELS / LFM2["file"]
    (answer,) = run(path, [prompt], [guesser], GREEDY, kv_unified=unified, n_rs_seq=N_ROLLBACK)
    assert answer == want[:N]
    assert guesser.n_guessed >= 10
    assert (guesser.n_right == guesser.n_guessed) == (wrong > N)


def test_nothing_is_guessed_for_several_at_once():
    prompt, want = LFM2["prompt_ids"], LFM2["greedy_ids"]
    guessers = [Told([*prompt, *want], 2) for _ in range(2)]
    path = SHARED_MODELS / LFM2["file"]
    assert run(path, [prompt] * 2, guessers, GREEDY, n_rs_seq=N_ROLLBACK) == [want[:N]] * 2
    assert [guesser.n_guessed for guesser in guessers] == [0, 0]


class Served:
    def __init__(self, **choices):
        self.backend = backend_of(LFM2["file"], **choices)
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


@pytest.mark.parametrize("n", range(12, 19))
def test_the_next_turn_goes_on_from_an_answer_whose_last_guesses_failed(n):
    prompt, want = LFM2["prompt_ids"], LFM2["greedy_ids"]
    served = Served()
    first = served.ask(prompt, n, Told([*prompt, *want], 3))
    served.finish()
    assert first.tokens[first.n_prompt :] == want[:n]
    again = served.ask([*first.tokens, want[n]], N - n - 1)
    served.finish()
    assert again.n_cached >= first.n_computed
    assert again.tokens[again.n_prompt :] == want[n + 1 : N]


@pytest.mark.parametrize("n_steps", range(3, 9))
def test_who_comes_just_after_a_guess_failed_changes_nothing(n_steps):
    """Nor does who is forked from the one whose state has yet to go back."""
    prompt, want = LFM2["prompt_ids"], LFM2["greedy_ids"]
    served = Served()
    first = served.ask(prompt, N, Told([*prompt, *want], 3))
    for _ in range(n_steps):
        served.step()
    second = served.ask([*prompt, want[0]], N - 1)
    served.finish()
    assert first.tokens[first.n_prompt :] == want[:N]
    assert second.tokens[second.n_prompt :] == want[1:N]


@pytest.mark.parametrize(
    ("file", "n_rs_seq"), [("tiny-mamba-q8_0.gguf", 4), ("tiny-lfm2-q8_0.gguf", 0)]
)
def test_where_llama_cpp_keeps_no_states_nothing_can_be_taken_back(file, n_rs_seq):
    assert backend_of(file, n_rs_seq).limits.n_rollback == 0


def test_attention_alone_can_be_cut_anywhere():
    assert backend_of("tiny-qwen3-q8_0.gguf").limits.n_rollback is None
