"""A draft model beside the served one, both real and tiny."""

import os

import pytest
from real_model import SHARED_MODELS, expected, needs_shared_models, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.cli.preparing.resolve import on_disk
from edgellm.errors import ConfigError
from edgellm.runner.child import load_error
from edgellm.runner.llama.draft import DraftingBackend
from edgellm.runner.llama.load import LoadError
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.placing.draft import draft_bytes
from edgellm.units import MIB

pytestmark = [pytest.mark.model, needs_shared_models]

TARGET, DRAFT = "stories260K-pad-f16.gguf", "stories260K-f16.gguf"
both_layouts = pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])


def backend(target=TARGET, draft=DRAFT, **choices):
    shape = plan(
        speculate="draft", draft=str(SHARED_MODELS / draft), n_outputs_max=8 + 15, **choices
    )
    model = DraftingBackend(os.fsencode(SHARED_MODELS / target), shape, lambda ratio: None)
    rows_are_free = StepCosts(dict.fromkeys(range(1, 40), 1.0))
    return model, Scheduler(model.limits, Pace(None, rows_are_free))


def answered(served, prompts, sampling, n=60, **params):
    """The sequences at their ends."""
    model, scheduler = served
    asked = GenerateParams(sampling, **params)
    sequences = [Sequence(i, list(p), len(p) + n, asked) for i, p in enumerate(prompts)]
    for sequence in sequences:
        scheduler.add(sequence)
    while batch := scheduler.schedule():
        step = model.decode(batch)
        scheduler.speculation.observe(batch, step, 1.0 + step.draft_s)  # rows are free
        list(scheduler.commit(batch, step.sampled, step.n_drafted))
        scheduler.check()
    return sequences


def prompt_of(file):
    return next(row["prompt_ids"] for row in expected() if row["file"] == file)


def crowd():
    prompt = prompt_of(TARGET)
    return [[*prompt[:k], *prompt] for k in range(1, 5)] * 3


def both(served, prompts, sampling):
    """With guesses, of which some came true, and without."""
    guessed = answered(served, prompts, sampling)
    assert sum(s.n_draft_accepted for s in guessed) > 30
    plain = answered(served, prompts, sampling, n_draft_max=0)
    assert sum(s.n_drafted for s in plain) == 0
    return guessed, plain


def texts(sequences):
    return [s.tokens[s.n_prompt :] for s in sequences]


@both_layouts
def test_a_model_is_guessed_by_its_like_almost_always(unified):
    served = backend(flash_attention=False, kv_unified=unified)
    prompt = prompt_of(TARGET)
    prompts = [[*prompt[:k], *prompt] for k in range(1, 8)]
    sequences = answered(served, prompts, SamplingParams(temperature=0))
    n_drafted = sum(s.n_drafted for s in sequences)
    assert n_drafted > 200
    assert sum(s.n_draft_accepted for s in sequences) >= 0.99 * n_drafted


@both_layouts
@pytest.mark.parametrize("draft", [DRAFT, "stories260K-q4_0.gguf"])
def test_a_draft_model_changes_no_text(draft, unified):
    prompts = crowd()
    served = backend(draft=draft, flash_attention=False, kv_unified=unified)
    guessed, plain = both(served, prompts, SamplingParams(temperature=0))
    assert texts(guessed) == texts(plain)


def test_drawn_texts_are_the_same_but_where_rounding_turns_a_draw():
    served = backend(flash_attention=False)
    guessed, plain = both(served, crowd(), SamplingParams(temperature=1.0, seed=11))
    same = [a == b for a, b in zip(texts(guessed), texts(plain), strict=True)]
    assert sum(same) >= 0.7 * len(same)


def test_a_draft_model_goes_on_where_a_conversation_was_continued():
    served = backend(flash_attention=False)
    (first,) = answered(served, [prompt_of(TARGET)], SamplingParams(temperature=0))
    (second,) = answered(served, [first.tokens[:-5]], SamplingParams(temperature=0))
    assert second.n_draft_accepted >= 0.9 * second.n_drafted > 0


def test_a_draft_model_that_is_sure_enough_of_nothing_guesses_nothing():
    served = backend(flash_attention=False)
    (one,) = answered(served, [prompt_of(TARGET)], SamplingParams(temperature=0), draft_p_min=1.0)
    assert one.n_draft_accepted == one.n_drafted < 10


def test_a_draft_model_of_other_tokens_is_refused():
    with pytest.raises(LoadError, match=r"other tokens: .*the model") as raised:
        backend(draft="tiny-qwen3-q8_0.gguf")
    told = load_error(raised.value.kind, str(raised.value))
    assert isinstance(told, ConfigError), "it is no fault of edgellm's"
    assert told.hint.endswith("or no --draft")


def test_a_draft_model_that_can_not_go_back_is_refused():
    with pytest.raises(LoadError, match="draft model"):
        backend(target="tiny-mamba-q8_0.gguf", draft="tiny-mamba-q8_0.gguf")


@both_layouts
@pytest.mark.parametrize("draft", [DRAFT, "stories260K-q8_0.gguf"])
def test_what_a_draft_model_takes_is_what_was_added_up(draft, unified):
    path = SHARED_MODELS / draft
    shape = plan(speculate="draft", draft=str(path), kv_unified=unified, flash_attention=None)
    target = DraftingBackend(os.fsencode(SHARED_MODELS / TARGET), shape, lambda ratio: None)
    (here,) = on_disk(path).candidates
    on_device, on_host = draft_bytes(here.spec, context_shape(shape), None)
    taken = sum(
        one.model_bytes + one.context_bytes + one.compute_bytes for one in target.draft_memory
    )
    assert on_device == 0
    assert on_host == pytest.approx(taken, abs=4 * 0.005 * MIB)  # its log's last digit, four times
