"""A model's own head for guesses, on real and tiny models that were never trained."""

import os

import pytest
from mtp_files import mtp_bytes
from mtp_runs import answered, answered_without_place, prompts_of, share_of_right, texts
from real_model import plan

from edgellm.chat.messages import SamplingParams
from edgellm.cli.preparing.resolve import on_disk
from edgellm.runner.llama.mtp import HeadBackend, backend_for, state_calls
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.placing.draft import draft_bytes
from edgellm.selector.placing.head import head_spec

pytestmark = pytest.mark.model

AGREES, PARTS, STRANGER = 0.0, 0.05, 1.0  # how often the head is right: see mtp_files
both_layouts = pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
heads = pytest.mark.parametrize("context", [AGREES, PARTS, STRANGER])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mtp")
    for context in (AGREES, PARTS, STRANGER):
        (folder / f"{context}.gguf").write_bytes(mtp_bytes(context))
    return folder


@pytest.fixture
def serve(files):
    def serve(context, speculate="mtp", **choices):
        given = {"flash_attention": False, "n_outputs_max": 8 + 15} | choices
        path = os.fsencode(files / f"{context}.gguf")
        model = backend_for(path, plan(speculate=speculate, **given), lambda ratio: None)
        rows_are_free = StepCosts(dict.fromkeys(range(1, 40), 1.0))
        return model, Scheduler(model.limits, Pace(None, rows_are_free))

    return serve


@both_layouts
@pytest.mark.parametrize("n_streams", [1, 7])
def test_a_head_that_thinks_as_its_model_is_almost_always_right(serve, unified, n_streams):
    sequences = answered(serve(AGREES, kv_unified=unified), prompts_of(n_streams))
    assert sum(s.n_drafted for s in sequences) > 30 * n_streams
    assert share_of_right(sequences) > 0.99


@both_layouts
@heads
@pytest.mark.parametrize("n_streams", [1, 7])
def test_a_head_changes_no_text(serve, context, unified, n_streams):
    prompts = prompts_of(n_streams)
    guessed = answered(serve(context, kv_unified=unified), prompts)
    plain = answered(serve(context, "off", kv_unified=unified), prompts)
    assert sum(s.n_drafted for s in guessed) > 0
    assert texts(guessed) == texts(plain)


@both_layouts
def test_a_head_follows_a_prefix_that_is_shared(serve, unified):
    """Of the prompt, of the answer in its middle, and of a conversation that goes on."""
    stem = prompts_of(8)[-1] * 3
    prompts = [[*stem, 270 + k] for k in range(6)]
    served, plain = serve(AGREES, kv_unified=unified), serve(AGREES, "off", kv_unified=unified)
    first, first_plain = answered(served, prompts), answered(plain, prompts)
    assert texts(first) == texts(first_plain)
    going_on = [s.tokens[: s.n_prompt + 31] for s in first]
    second, second_plain = answered(served, going_on), answered(plain, going_on)
    assert texts(second) == texts(second_plain)
    assert sum(s.n_cached for s in second) > 0
    assert share_of_right(first) > 0.95
    assert share_of_right(second) > 0.95


def test_a_conversation_that_was_copied_out_and_back_is_guessed_for_again(serve):
    """Its neighbours fill the cells, so that it has to leave them; the head then begins anew."""
    shape = {"n_parallel": 2, "n_seq_max": 3, "n_ctx": 1024, "n_outputs_max": 3 + 15}
    told = []
    for who in ("mtp", "off"):
        served = serve(AGREES, who, **shape)
        prompts = [[1, *(260 + (k + i * i) % 26 for i in range(300))] for k in range(5)]
        (first,) = answered(served, prompts[:1])
        answered(served, prompts[1:])
        (second,) = answered(served, [first.tokens])
        assert second.n_restored > 100
        told.append((first, second))
    (first, second), plain = told
    assert texts([first, second]) == texts(plain)
    assert share_of_right([second]) > 0.95


@heads
def test_a_neighbour_that_leaves_in_the_middle_of_its_guesses_changes_nothing(serve, context):
    prompts = prompts_of(5)

    def leaves(scheduler, n_steps):
        if n_steps == 6:
            assert scheduler.cancel(1)
            assert scheduler.cancel(3)

    guessed = answered(serve(context), prompts, after=leaves)
    plain = answered(serve(context, "off"), prompts)
    stay = (0, 2, 4)
    assert [texts(guessed)[i] for i in stay] == [texts(plain)[i] for i in stay]
    assert guessed[1].n_drafted > 0
    gone = texts(guessed)[1]
    assert gone == texts(plain)[1][: len(gone)]


def test_drawn_texts_are_the_same(serve):
    drawn = SamplingParams(temperature=1.0, seed=11)
    guessed = answered(serve(PARTS), prompts_of(7), drawn)
    plain = answered(serve(PARTS, "off"), prompts_of(7), drawn)
    assert sum(s.n_draft_accepted for s in guessed) > 0
    assert texts(guessed) == texts(plain)


def test_guesses_may_be_few_sure_or_none(serve):
    served, prompts = serve(AGREES), prompts_of(2)
    few = answered(served, prompts, n_draft_max=1)
    none = answered(served, prompts, n_draft_max=0)
    sure = answered(serve(STRANGER), prompts, draft_p_min=1.0)
    assert sum(s.n_drafted for s in few) > 0
    assert sum(s.n_drafted for s in none) == sum(s.n_drafted for s in sure) == 0
    assert texts(few) == texts(none)


def test_a_head_that_is_always_wrong_is_asked_less_and_less(serve):
    rows_cost = StepCosts({n: 1 + 0.1 * n for n in range(1, 40)})
    n_drafted = []
    for n in (100, 400):
        model, _ = serve(STRANGER)
        scheduler = Scheduler(model.limits, Pace(None, rows_cost))
        (one,) = answered((model, scheduler), prompts_of(1), n=n, guess_s=0.01)
        n_drafted.append(one.n_drafted)
    first, all_of_them = n_drafted
    assert 0 < (all_of_them - first) / 300 < 0.6 * first / 100, "for each token"


def test_a_prompt_longer_than_a_step_is_read_by_the_head_too(serve):
    prompt = [1, *(260 + i * i % 26 for i in range(700))]
    served = serve(AGREES, n_ctx_seq=2048, n_batch=256, n_ubatch=256)
    (one,) = answered(served, [prompt])
    assert share_of_right([one]) > 0.95


def test_a_step_that_finds_no_place_is_guessed_for_again(serve):
    n_failed, sequence = answered_without_place(serve(AGREES))
    assert n_failed == 3
    assert sequence.n_draft_accepted == sequence.n_drafted > 0


def test_a_build_without_the_calls_serves_the_model_plainly(files, capfd):
    class Lacks:
        """A library with nothing in it."""

    assert state_calls(Lacks()) is None
    path = os.fsencode(files / f"{AGREES}.gguf")
    shape = plan(speculate="mtp", flash_attention=False, n_outputs_max=8 + 15)
    model = backend_for(path, shape, lambda ratio: None, None)
    assert not isinstance(model, HeadBackend)
    assert "does not export" in capfd.readouterr().err
    assert not model.limits.has_draft_model
    assert model.limits.n_draft_rows == 15, "guesses are looked up"
    served = model, Scheduler(model.limits, Pace(None, model.costs))
    assert all(len(text) == 60 for text in texts(answered(served, prompts_of(3))))


@both_layouts
def test_what_a_head_takes_is_what_was_added_up(serve, files, unified):
    model, _ = serve(PARTS, kv_unified=unified, flash_attention=None)
    (here,) = on_disk(files / f"{PARTS}.gguf").candidates
    shape = context_shape(plan(kv_unified=unified, flash_attention=None, n_outputs_max=8 + 15))
    on_device, on_host = draft_bytes(head_spec(here.spec), shape, None)
    taken = sum(one.context_bytes + one.compute_bytes for one in model.draft_memory)
    assert on_device == 0
    assert on_host - here.spec.draft_bytes == pytest.approx(taken, rel=0.05)
