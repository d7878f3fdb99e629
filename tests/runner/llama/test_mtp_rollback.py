"""Heads for guesses (MTP) of models whose state goes back by a few tokens only: real and tiny."""

import os
from functools import cache

import numpy as np
import pytest
from mtp_runs import GREEDY, answered, answered_without_place, prompts_of, share_of_right, texts
from real_model import plan
from rollback_files import qwen35_bytes

from edgellm.chat.messages import GenerateParams
from edgellm.cli.preparing.resolve import on_disk
from edgellm.runner.batch import Batch, Row, Start
from edgellm.runner.llama.mtp import HeadBackend, backend_for
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.placing.draft import draft_bytes
from edgellm.selector.placing.head import head_spec

pytestmark = pytest.mark.model

N_ROLLBACK = 3
AGREES, PARTS, STRANGER = 0.0, 0.05, 1.0  # how often the head is right: see mtp_files
N_EXPERTS = {"qwen35": 0, "qwen35moe": 4}
LAYOUTS = pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
MODELS = pytest.mark.parametrize("model", [*N_EXPERTS])


@pytest.fixture(scope="module")
def path_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mtp")

    @cache
    def path(model, context):
        file = folder / f"{model}-{context}.gguf"
        file.write_bytes(qwen35_bytes(context, n_heads=1, n_experts=N_EXPERTS[model]))
        return file

    return path


@pytest.fixture
def serve(path_of):
    def serve(model, context, speculate="mtp", **choices):
        n_back = N_ROLLBACK if speculate == "mtp" else 0
        given = {"n_rs_seq": n_back, "n_outputs_max": 8 + n_back} | choices
        path = os.fsencode(path_of(model, context))
        backend = backend_for(path, plan(speculate=speculate, **given), lambda ratio: None)
        assert isinstance(backend, HeadBackend) == (speculate == "mtp")
        assert backend.limits.n_rollback == n_back
        rows_are_free = StepCosts(dict.fromkeys(range(1, 40), 1.0))
        return backend, Scheduler(backend.limits, Pace(None, rows_are_free))

    return serve


@MODELS
@LAYOUTS
@pytest.mark.parametrize("context", [AGREES, PARTS, STRANGER])
def test_the_text_is_the_same_and_what_came_true_is_counted(serve, model, unified, context):
    guessing, plain = (serve(model, context, who, kv_unified=unified) for who in ("mtp", "off"))
    n_drafted = n_right = 0
    for prompt in prompts_of(4):  # one after the other
        guessed, alone = answered(guessing, [prompt]), answered(plain, [prompt])
        assert texts(guessed) == texts(alone)
        n_drafted += guessed[0].n_drafted
        n_right += guessed[0].n_draft_accepted
    assert n_drafted > 60
    assert (n_right == n_drafted) == (context == AGREES)
    assert (n_right > 10) == (context != STRANGER)


@MODELS
@LAYOUTS
def test_the_next_turn_goes_on_from_an_answer_whose_last_guesses_failed(serve, model, unified):
    guessing, plain = (serve(model, PARTS, who, kv_unified=unified) for who in ("mtp", "off"))
    (whole,) = answered(plain, prompts_of(1))
    (want,) = texts([whole])
    for n in range(20, 28):  # whatever guesses an answer ends on
        prompt = [*prompts_of(1)[0], 270 + n - 20]  # and none is known from before
        first, first_plain = answered(guessing, [prompt], n=n), answered(plain, [prompt], n=n)
        assert texts(first) == texts(first_plain)
        going_on = [*first[0].tokens, want[0]]
        again, again_plain = answered(guessing, [going_on]), answered(plain, [going_on])
        assert texts(again) == texts(again_plain)
        assert again[0].n_cached == again_plain[0].n_cached
        assert again[0].n_drafted > 0


@MODELS
@LAYOUTS
def test_who_comes_in_between_changes_nothing_and_is_not_guessed_for(serve, model, unified):
    """A stranger, or one who shares all that is known; the first one is guessed for before."""
    mine, stranger = prompts_of(2)
    (alone,) = answered(serve(model, PARTS, "off", kv_unified=unified), [mine])
    for n_steps in range(4, 8):
        for joins in (stranger, [*mine, alone.tokens[len(mine)]]):
            served = serve(model, PARTS, kv_unified=unified)
            second = Sequence(99, list(joins), len(joins) + 30, GenerateParams(GREEDY))

            def comes(scheduler, i, at=n_steps, second=second):
                if i == at:
                    scheduler.add(second)

            (first,) = answered(served, [mine], after=comes)
            plain = serve(model, PARTS, "off", kv_unified=unified)
            (second_alone,) = answered(plain, [joins], n=30)
            assert texts([first]) == texts([alone])
            assert texts([second]) == texts([second_alone])
            assert first.n_drafted > 0


@MODELS
@LAYOUTS
def test_a_head_is_told_each_rows_own_vector(serve, model, unified):
    """Where there is a state, llama.cpp computes rows in another order than they came in."""
    backend, _ = serve(model, STRANGER, kv_unified=unified)
    prompts = dict(enumerate(prompts_of(3)))

    def told(*seq_ids):
        rows = [
            Row(seq_id, pos, token, wants_logits=pos == len(prompts[seq_id]) - 1)
            for seq_id in seq_ids
            for pos, token in enumerate(prompts[seq_id])
        ]
        begin = (Start(s, s, GenerateParams(GREEDY), tuple(prompts[s])) for s in seq_ids)
        backend.decode(Batch(tuple(begin), (), 0))
        backend._decode_alone(tuple(rows))
        ((_, states),) = backend._head._seen
        backend._head._seen.clear()
        return states

    together = told(2, 0, 1)
    alone = np.concatenate([told(seq_id) for seq_id in (2, 0, 1)])
    assert np.abs(together - alone).max() < 1e-3
    assert np.abs(together[1:] - alone[:-1]).max() > 1


@LAYOUTS
def test_nobody_is_guessed_for_where_several_write(serve, unified):
    guessing, plain = (serve("qwen35", PARTS, who, kv_unified=unified) for who in ("mtp", "off"))
    guessed = answered(guessing, prompts_of(3))
    assert texts(guessed) == texts(answered(plain, prompts_of(3)))
    assert [one.n_drafted for one in guessed] == [0, 0, 0]


def test_a_head_follows_a_prefix_that_came_back(serve):
    """Its neighbours fill the cells, so that a conversation has to leave them: the head begins
    anew, the state is put back."""
    shape = {"n_parallel": 2, "n_seq_max": 3, "n_ctx": 1024, "n_outputs_max": 3 + N_ROLLBACK}
    guessing, plain = serve("qwen35", AGREES, **shape), serve("qwen35", AGREES, "off", **shape)
    prompts = [[1, *(260 + (k + i * i) % 26 for i in range(300))] for k in range(5)]
    told = []
    for served in (guessing, plain):
        (first,) = answered(served, prompts[:1])
        answered(served, prompts[1:])
        (second,) = answered(served, [first.tokens])
        told.append((first, second))
    assert texts(told[0]) == texts(told[1])
    assert share_of_right([told[0][1]]) > 0.95


def test_a_step_that_finds_no_place_is_guessed_for_again(serve):
    n_failed, sequence = answered_without_place(serve("qwen35", AGREES))
    assert n_failed == 3
    assert sequence.n_draft_accepted == sequence.n_drafted > 0


@MODELS
@LAYOUTS
def test_what_a_head_takes_is_what_was_added_up(serve, path_of, model, unified):
    backend, _ = serve(model, PARTS, kv_unified=unified, flash_attention=None)
    (here,) = on_disk(path_of(model, PARTS)).candidates
    choices = {"kv_unified": unified, "flash_attention": None, "n_rs_seq": N_ROLLBACK}
    shape = context_shape(plan(n_outputs_max=8 + N_ROLLBACK, **choices))
    on_device, on_host = draft_bytes(head_spec(here.spec), shape, None)
    taken = sum(one.context_bytes + one.compute_bytes for one in backend.draft_memory)
    assert on_device == 0
    assert on_host - here.spec.draft_bytes == pytest.approx(taken, rel=0.05)
