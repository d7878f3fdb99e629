"""Threads beside a busy neighbour, of a real context: only llama_decode itself is acted."""

import os
import time

import llama_cpp
import pytest
from real_model import SHARED_MODELS, needs_shared_models, plan

from edgellm.runner.batch import Row
from edgellm.runner.llama.compute import Compute, late_s
from edgellm.runner.llama.load import load
from edgellm.selector.placing.draft import draft_plan

pytestmark = [pytest.mark.model, needs_shared_models]

ONE = (Row(0, 0, 5, wants_logits=True),)


@pytest.fixture(scope="module")
def context():
    loaded = load(os.fsencode(SHARED_MODELS / "stories260K-f16.gguf"), plan(), lambda ratio: None)
    yield loaded.context
    del loaded  # which frees it


def crowded(compute):
    """It gets nothing of the CPU, and is faster with one thread than with two."""

    def decode():
        time.sleep(0.02 if compute.n_threads == 2 else 0.005)
        return 0

    return decode


def test_beside_a_busy_neighbour_fewer_threads_compute_the_model_and_its_guesses(
    context,
):
    shape = plan(n_threads=2)
    model = Compute(context, shape)
    draft = Compute(context, draft_plan(shape), beside=model)
    draft.call(lambda: 0, ONE)
    assert draft.n_threads == 2
    for _ in range(25):
        model.call(crowded(model), ONE)
    draft.call(lambda: 0, ONE)
    assert (model.n_threads, draft.n_threads) == (1, 1)
    assert llama_cpp.llama_n_threads(context) == 1


def test_whoever_guesses_has_no_say_in_how_many_threads_compute(context):
    shape = plan(n_threads=2)
    model = Compute(context, shape)
    draft = Compute(context, draft_plan(shape), beside=model)
    for _ in range(25):
        draft.call(crowded(draft), ONE)
    model.call(lambda: 0, ONE)
    assert (model.n_threads, draft.n_threads) == (2, 2)


def test_batch_invariant_answers_have_all_threads(context):
    model = Compute(context, plan(n_threads=2, batch_invariant=True))
    for _ in range(25):
        model.call(crowded(model), ONE)
    assert model.n_threads == 2


def test_a_thread_of_our_own_beside_the_step_has_a_core_to_itself(context):
    shape = plan(n_threads=2)
    model = Compute(context, shape)
    draft = Compute(context, draft_plan(shape), beside=model)
    model.n_beside = lambda: 1
    for compute in (model, draft):
        compute.call(lambda: 0, ONE)
    assert (model.n_threads, draft.n_threads) == (1, 1)
    model.n_beside = lambda: 0
    for compute in (model, draft):
        compute.call(lambda: 0, ONE)
    assert (model.n_threads, draft.n_threads) == (2, 2)


def test_a_thread_of_our_own_gets_a_core_at_once_and_gives_it_back(context):
    model, busy = Compute(context, plan(n_threads=2)), [0, 1, 1, 0]
    model.n_beside = lambda: busy.pop(0)
    counts = []
    while busy:
        model.call(lambda: 0, ONE)
        counts.append(model.n_threads)
    assert counts == [2, 1, 1, 2]


def test_what_a_thread_of_our_own_takes_is_no_neighbours_doing(context):
    model = Compute(context, plan(n_threads=2))
    model.n_beside = lambda: 1
    for _ in range(25):
        model.call(crowded(model), ONE)
    model.n_beside = lambda: 0
    model.call(lambda: 0, ONE)
    assert model.n_threads == 2


def test_a_prompts_small_chunk_is_no_trial_and_has_as_many_threads_as_are_settled(context):
    model = Compute(context, plan(n_threads=2))
    chunk = (*ONE, *(Row(1, pos, 5, wants_logits=False) for pos in range(20)))
    for _ in range(25):
        model.call(crowded(model), chunk)
    assert model.n_threads == 2
    for _ in range(25):
        model.call(crowded(model), ONE)
    assert model.n_threads == 1
    model.call(lambda: 0, chunk)
    assert model.n_threads == 1
    model.call(lambda: 0, 7 * chunk)
    assert model.n_threads == 2


def test_masks_hold_up_nothing_where_the_device_takes_longer():
    assert late_s(0.03, 0.001) == 0
    assert late_s(0.03, 0.00001) == 0.03


def test_what_masks_take_while_a_device_computes_is_told_apart(context):
    model = Compute(context, plan(n_threads=2))
    for masks_s in (0.03, 0.0, 0.01):
        model.meanwhile = lambda masks_s=masks_s: masks_s
        model.call(lambda: 0, ONE)
    assert model.late_mask_s == pytest.approx(0.04)
