"""Guesses verified by the real llama.cpp: right ones, wrong ones and both, on every kind of memory
that can go back."""

import pytest
from guess_runs import N, Told, run
from real_model import SHARED_MODELS, expected, needs_shared_models

from edgellm.chat.messages import SamplingParams

pytestmark = [pytest.mark.model, needs_shared_models]

CARRY_ROWS = ("tiny-lfm2", "tiny-mamba", "tinyrwkv")
ROWS = [row for row in expected() if not row["file"].startswith(CARRY_ROWS)]


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
