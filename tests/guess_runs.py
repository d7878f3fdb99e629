"""Answers of the real llama.cpp, with guesses that are told beforehand."""

import os

from real_model import plan

from edgellm.chat.messages import GenerateParams
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

N = 40  # tokens of each answer


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
            token ^ 1 if i % self.wrong == 0 else token for i, token in enumerate(guesses, begin)
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
