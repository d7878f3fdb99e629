"""Answers of the real llama.cpp where a model's own head guesses (MTP)."""

from dataclasses import replace

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.sequence import Sequence

GREEDY = SamplingParams(temperature=0)


def answered(served, prompts, sampling=GREEDY, n=60, after=None, guess_s=None, **params):
    """The sequences at their ends. `after` is told the scheduler and the number of each step.
    `guess_s`: what is said that a guess took, whatever it took."""
    model, scheduler = served
    asked = GenerateParams(sampling, **params)
    sequences = [Sequence(i, list(p), len(p) + n, asked) for i, p in enumerate(prompts)]
    for sequence in sequences:
        scheduler.add(sequence)
    n_steps = 0
    while batch := scheduler.schedule():
        step = model.decode(batch)
        if guess_s is not None:
            deepest = max((step.n_drafted or {}).values(), default=0)
            step = replace(step, draft_s=guess_s * deepest)
        scheduler.speculation.observe(batch, step, 1.0 + step.draft_s)  # rows are free
        list(scheduler.commit(batch, step.sampled, step.n_drafted))
        scheduler.check()
        n_steps += 1
        if after:
            after(scheduler, n_steps)
    return sequences


def answered_without_place(served):
    """How many of the first three steps with guesses found no place, and the sequence."""
    model, scheduler = served
    sequence = Sequence(0, prompts_of(1)[0], 60, GenerateParams(GREEDY))
    scheduler.add(sequence)
    n_failed = 0
    while batch := scheduler.schedule():
        if len(batch.rows) > 1 and not batch.n_prompt_rows and n_failed < 3:
            n_failed += 1
            model._head.written(batch.rows)  # as far as it gets before there is no place
        step = model.decode(batch)
        scheduler.speculation.observe(batch, step, 1.0 + step.draft_s)
        list(scheduler.commit(batch, step.sampled, step.n_drafted))
    return n_failed, sequence


def prompts_of(n):
    """Without a common beginning."""
    return [[1, *(260 + (7 * k + i * i) % 26 for i in range(10 + 3 * k))] for k in range(n)]


def texts(sequences):
    return [s.tokens[s.n_prompt :] for s in sequences]


def share_of_right(sequences):
    return sum(s.n_draft_accepted for s in sequences) / sum(s.n_drafted for s in sequences)
