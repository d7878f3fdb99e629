"""Guesses verified by the real llama.cpp: right ones, wrong ones and both, on every kind of memory
that can go back."""

import os

import pytest
from real_model import SHARED_MODELS, expected, needs_shared_models, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

pytestmark = [pytest.mark.model, needs_shared_models]

CARRY_ROWS = ("tiny-lfm2", "tiny-mamba", "tinyrwkv")
ROWS = [row for row in expected() if not row["file"].startswith(CARRY_ROWS)]
N = 40


class Told:
    """Guesses what it was told will come, but errs on every `wrong`-th token."""

    def __init__(self, text, wrong):
        self.text, self.wrong = text, wrong
        self.n_right = self.n_guessed = 0

    def chances(self, tokens, n_most):
        return [0.99**i for i in range(1, min(n_most, len(self.text) - len(tokens)) + 1)]

    def guess(self, tokens, n):
        begin = len(tokens)
        guesses = self.text[begin : begin + n]
        return tuple(
            token + 1 if i % self.wrong == 0 else token for i, token in enumerate(guesses, begin)
        )

    def learn(self, n_guessed, n_right):
        self.n_guessed += n_guessed
        self.n_right += n_right

    def refused(self):
        raise AssertionError("rows cost nothing here")


def run(path, prompts, guessers, sampling, **choices):
    """The answers, with rows that cost nothing."""
    shape = plan(speculate="ngram", n_outputs_max=8 + 15, **choices)
    backend = LlamaBackend(os.fsencode(path), shape, lambda ratio: None)
    costs = StepCosts(dict.fromkeys(range(1, 40), 1.0))
    scheduler = Scheduler(backend.limits, Pace(None, costs))
    params = GenerateParams(sampling, cache_prompt=False)
    sequences = []
    for i, (prompt, guesser) in enumerate(zip(prompts, guessers, strict=True)):
        sequences.append(Sequence(i, list(prompt), len(prompt) + N, params, guesser=guesser))
        scheduler.add(sequences[-1])
    while batch := scheduler.schedule():
        step = backend.decode(batch)
        scheduler.speculation.observe(batch, step, 1.0)
        list(scheduler.commit(batch, step.sampled))
        scheduler.check()
    return [s.tokens[s.n_prompt :] for s in sequences]


@pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_the_record_comes_out_whatever_was_guessed(row, unified):
    prompt, want = row["prompt_ids"], row["greedy_ids"]
    guessers = [Told([*prompt, *want], wrong) for wrong in (10**6, 2, 5)]
    path, greedy = SHARED_MODELS / row["file"], SamplingParams(temperature=0)
    answers = run(path, [prompt] * 3, guessers, greedy, flash_attention=False, kv_unified=unified)
    always, second, fifth = guessers
    assert always.n_guessed > 20
    if all(answer == want for answer in answers):  # quantised, it may part at a tie
        assert always.n_right == always.n_guessed
        assert 0 < fifth.n_right < fifth.n_guessed
        assert second.n_right < second.n_guessed
    elif row["file"][:-5].endswith(("f16", "f32")):
        assert answers == [want] * 3


@pytest.mark.parametrize("wrong", [10**6, 3])
def test_a_seed_draws_the_same_text_with_guesses_and_without(wrong):
    (row,) = [row for row in ROWS if row["file"] == "stories260K-f32.gguf"]
    path, prompt = SHARED_MODELS / row["file"], row["prompt_ids"]
    sampling = SamplingParams(temperature=0.9, seed=7, repeat_penalty=1.1)
    (plain,) = run(path, [prompt], [Told([], 1)], sampling, flash_attention=False)
    guesser = Told([*prompt, *plain], wrong)
    (guessed,) = run(path, [prompt], [guesser], sampling, flash_attention=False)
    assert guessed == plain
    assert guesser.n_right > 0
    assert (guesser.n_right == guesser.n_guessed) == (wrong > N)


@pytest.mark.parametrize("file", ["tiny-lfm2-q8_0.gguf", "tiny-mamba-q8_0.gguf"])
def test_a_recurrent_model_has_no_rows_for_guesses(file):
    shape = plan(speculate="ngram", n_outputs_max=8 + 15)
    backend = LlamaBackend(os.fsencode(SHARED_MODELS / file), shape, lambda ratio: None)
    assert backend.limits.n_draft_rows == 0
