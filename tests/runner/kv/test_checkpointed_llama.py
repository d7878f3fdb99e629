"""Checkpoints in the real llama.cpp: what is shared says what the whole text would have said."""

import os
import random

import pytest
from real_model import SHARED_MODELS, needs_shared_models, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.batch import Batch, Checkpoint, Copy, Forget, Fork, Resume, Row, Start, Trim
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

pytestmark = [pytest.mark.model, needs_shared_models]

SLIDING = ["tiny-gemma3-q8_0.gguf", "tiny-gpt-oss-mxfp4_moe.gguf"]  # a window of 64 tokens
HYBRID = ["tiny-lfm2-q8_0.gguf"]
RECURRENT = ["tiny-mamba-q8_0.gguf", "tinyrwkv52-730k-f16.gguf"]
TIE = 0.15  # natural log: what rounding in a crowd can turn round, see test_exactness.py

each_file = pytest.mark.parametrize("file", SLIDING + HYBRID + RECURRENT)
both_layouts = pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])


def load(file, **choices):
    path = SHARED_MODELS / file
    if not path.exists():
        pytest.skip(f"{file} is not there")
    return LlamaBackend(os.fsencode(path), plan(**choices), lambda ratio: None)


def text(n, seed=0):
    return random.Random(seed).choices(range(30, 250), k=n)


# ── the recipe ───────────────────────────────────────────────────────────────

TEXT = text(800)
SHARED, PROMPT, END = 200, 260, 280  # tokens
CHUNKINGS = [(200, 60), (100, 100, 60), (32,) * 8 + (4,), (130, 130)]


class Forced:
    """Sequences that go along TEXT whatever the model would say."""

    def __init__(self, file, **choices):
        # Few cells for windows: where the source has been, it is soon overwritten.
        few = {"n_seq_max": 4, "n_parallel": 4, "n_batch": 256, "n_ubatch": 64}
        self.backend = load(file, n_ctx_seq=1024, **few, **choices)
        self.params = GenerateParams(SamplingParams(temperature=0), logprobs=20)

    def start(self, seq_id):
        return Start(seq_id, seq_id, self.params, ())

    def read(self, seq_id, first, last, *ops):
        """What the model says after the last of these tokens: the likeliest with logprobs."""
        rows = tuple(Row(seq_id, i, TEXT[i], i == last - 1) for i in range(first, last))
        (said,) = self.backend.decode(Batch(ops, rows, len(rows))).sampled[seq_id]
        return {token: logprob for token, _, logprob in said.logprob.top}

    def tail(self, seq_id):
        """And after each token of the rest."""
        return [self.read(seq_id, i, i + 1) for i in range(PROMPT, END)]

    def whole(self, seq_id, chunks=(SHARED, PROMPT - SHARED), neighbour=None):
        """Computed in these chunks; after each of them a neighbour takes the next cell."""
        end = 0
        for i, n in enumerate(chunks):
            ops = () if end else (Forget(seq_id), self.start(seq_id))
            said, end = self.read(seq_id, end, end + n, *ops), end + n
            if neighbour:
                self.read(neighbour, i, i + 1, *(() if i else (self.start(neighbour),)))
        said_after = self.tail(seq_id)
        if neighbour:
            self.backend.decode(Batch((Forget(neighbour),), (), 0))
        return [said, *said_after]

    def source(self):
        """Sequence 0 stood at SHARED, where it left checkpoint 1, and has gone on."""
        self.read(0, 0, SHARED, self.start(0))
        self.read(0, SHARED, 400, Checkpoint(0, 1))
        self.read(0, 400, 600)
        self.read(0, 600, 800)

    def forked(self, target, *, resume=True):
        facts, ops = self.backend.limits.state, []
        if facts.has_cells and self.backend.limits.unified:
            ops.append(Fork(0, target, SHARED))
        elif facts.has_cells:
            ops.append(Copy(0, target, SHARED))
        if resume:
            ops += [Resume(1, target), Trim(target, SHARED)]
        said = self.read(target, SHARED, PROMPT, *ops, self.start(target))
        return [said, *self.tail(target)]


def distance(a, b):
    """The most that a logprob differs, of the tokens that both lists tell."""
    pairs = zip(a, b, strict=True)
    return max(abs(x[token] - y[token]) for x, y in pairs for token in x.keys() & y.keys())


@pytest.mark.parametrize(
    ("file", "unified"),
    [(file, unified) for file in HYBRID + RECURRENT for unified in (True, False)]
    + [(file, False) for file in SLIDING],
)
def test_a_fork_at_a_checkpoint_is_the_whole_text_to_the_last_bit(file, unified):
    """Where its cells lie as the fork's do: those of a unified window can't."""
    choices = {"kv_unified": unified, "flash_attention": False}
    forced, alone = Forced(file, **choices), Forced(file, **choices)
    forced.source()
    alone.read(2, 0, SHARED, alone.start(2))
    for i in range(3):  # where the source went on
        alone.read(3, 200 * i, 200 * (i + 1), *((alone.start(3),) if i == 0 else ()))
    said = alone.read(2, SHARED, PROMPT)
    assert forced.forked(2) == [said, *alone.tail(2)]


@pytest.mark.parametrize(
    ("file", "unified", "flash"),
    [(file, unified, None) for file in SLIDING + HYBRID + RECURRENT for unified in (True, False)]
    + [(file, True, False) for file in SLIDING],
)
def test_a_fork_is_as_near_as_the_text_in_other_cells_and_chunks(file, unified, flash):
    """A sum over cells that lie elsewhere comes out in another order: a neighbour is enough."""
    forced = Forced(file, kv_unified=unified, flash_attention=flash)
    whole = forced.whole(1)
    wholes = [forced.whole(1, chunks, by) for chunks in CHUNKINGS for by in (None, 2)]
    noise = max(distance(a, b) for a in wholes for b in wholes)
    forced.source()
    assert distance(forced.forked(3), whole) <= noise


@pytest.mark.parametrize("file", SLIDING + HYBRID)
def test_a_bare_fork_would_be_far_off(file):
    forced = Forced(file, flash_attention=False)
    forced.source()
    forked, bare = forced.forked(1), forced.forked(2, resume=False)
    assert distance(bare, forked) > 3 * distance(forced.whole(3), forked)


# ── whole requests ───────────────────────────────────────────────────────────


class Engine:
    def __init__(self, file, **choices):
        self.backend = load(file, flash_attention=False, **choices)
        self.scheduler = Scheduler(self.backend.limits)

    def ask(self, *prompts, n=24, shared=True):
        """Greedy answers of n tokens, with the five likeliest at each, and who gave them."""
        sampling = SamplingParams(temperature=0, ignore_eos=True)
        params = GenerateParams(sampling, n, cache_prompt=shared, logprobs=5)
        sequences = [Sequence(i, list(p), len(p) + n, params) for i, p in enumerate(prompts)]
        answers = {sequence.request_id: [] for sequence in sequences}
        for sequence in sequences:
            self.scheduler.add(sequence)
        while not self.scheduler.is_at_rest:
            if batch := self.scheduler.schedule():
                sampled = self.backend.decode(batch).sampled
                for output in self.scheduler.commit(batch, sampled):
                    answers[output.sequence.request_id].append(output.logprob)
                self.scheduler.check()
        return sequences, list(answers.values())


def parts_at_a_tie(said, alone):
    """It is what was said alone, up to where the model hardly preferred one token to another."""
    for token, wanted in zip(said, alone, strict=True):
        if token.token != wanted.token:
            rivals = {rival: logprob for rival, _, logprob in token.top}
            return token.logprob - rivals.get(wanted.token, float("-inf")) < TIE
    return True


@both_layouts
@each_file
def test_sixteen_mixed_requests_say_what_they_would_say_alone(file, unified):
    engine, alone = Engine(file, kv_unified=unified), Engine(file, kv_unified=unified)
    (first,), _ = engine.ask([*text(200), *text(20, seed=1)])
    other = [*text(40, seed=9), *text(200)]
    prompts = [
        *([*text(200), *text(10 + i, seed=20 + i)] for i in range(6)),
        [*first.tokens, *text(30, seed=2)],  # its conversation goes on
        [*first.tokens[:150], *text(30, seed=3)],  # and is edited
        *([*other, *text(7, seed=30 + i)] for i in range(4)),
        *(text(20 + 50 * i, seed=40 + i) for i in range(4)),
    ]
    sequences, answers = engine.ask(*prompts)
    assert len(prompts) == 16
    assert sum(s.n_cached for s in sequences) >= 5 * 200 + 3 * 240
    for prompt, said in zip(prompts, answers, strict=True):
        _, (wanted,) = alone.ask(prompt, shared=False)
        assert parts_at_a_tie(said, wanted), prompt


@both_layouts
@each_file
def test_every_turn_of_a_conversation_goes_on_where_the_last_one_ended(file, unified):
    engine, alone = Engine(file, kv_unified=unified), Engine(file, kv_unified=unified)
    prompt = text(100)
    for turn in range(3):
        (sequence,), (said,) = engine.ask(prompt)
        _, (wanted,) = alone.ask(prompt, shared=False)
        assert sequence.n_cached == (len(prompt) - 31 if turn else 0)
        assert parts_at_a_tie(said, wanted)
        prompt = [*sequence.tokens, *text(30, seed=turn + 1)]


@both_layouts
@pytest.mark.parametrize("file", SLIDING)
def test_within_its_first_window_a_text_is_shared_wherever_another_parts(file, unified):
    engine, alone = Engine(file, kv_unified=unified), Engine(file, kv_unified=unified)
    engine.ask(text(52), n=4)
    prompts = [[*text(40), *text(90, seed=1)], [*text(33), 8, 9]]
    sequences, answers = engine.ask(*prompts)
    assert [s.n_cached for s in sequences] == [40, 33]
    for prompt, said in zip(prompts, answers, strict=True):
        _, (wanted,) = alone.ask(prompt, shared=False)
        assert parts_at_a_tie(said, wanted)


@both_layouts
@pytest.mark.parametrize("file", SLIDING + HYBRID)
def test_a_conversation_that_had_to_make_place_goes_on_where_it_ended(file, unified):
    """Neither ids nor cells are as many as conversations: it comes back from memory, whole."""
    few = {"kv_unified": unified, "n_ctx": 1024, "n_parallel": 2, "n_seq_max": 2}
    engine, alone = Engine(file, **few), Engine(file, **few)
    said = [engine.ask(text(150, seed=i))[0][0].tokens for i in range(8)]
    for i, first in enumerate(said[:3]):
        prompt = [*first, *text(20, seed=20 + i)]
        (sequence,), (answer,) = engine.ask(prompt)
        assert sequence.n_restored == sequence.n_cached == len(first) - 1
        _, (wanted,) = alone.ask(prompt, shared=False)
        assert parts_at_a_tie(answer, wanted)


@pytest.mark.slow
@both_layouts
@pytest.mark.parametrize("swa_full", [False, True], ids=["window", "swa_full"])
@pytest.mark.parametrize("file", SLIDING)
def test_eight_forks_of_a_root_decode_700_steps_beside_what_is_kept(file, unified, swa_full):
    """The window's cells are as many as eight windows and a micro-batch take, and not one more."""
    engine = Engine(
        file, kv_unified=unified, swa_full=swa_full,
        n_ctx=10_240, n_ctx_seq=1280, n_batch=256, n_ubatch=256,
    )  # fmt: skip
    root = text(300)
    for i in range(3):
        engine.ask([*root, *text(40, seed=i)], n=60)
    sequences, answers = engine.ask(*([*root, 250 + i] for i in range(8)), n=700)
    assert [s.n_cached for s in sequences] == [300] * 8
    assert [len(answer) for answer in answers] == [700] * 8
