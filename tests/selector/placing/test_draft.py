from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.errors import BadRequest, DoesNotFit
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.placing.draft import draft_bytes, draft_plan
from edgellm.selector.plan import DraftFile, Goal

PROFILES = load_profiles()
SMALL = DraftFile("small.gguf", specs.dense("Q4_K_M"))


def plan_of(hardware, draft=SMALL, target=specs.llama_70b, **goal):
    candidate = replace(specs.candidate(target(quant="Q4_K_M")), draft=draft)
    return choose(hardware, [candidate], Goal(**goal), PROFILES)


def test_the_draft_model_is_counted_in_the_shares_and_fits():
    hardware = machine((48, 1000), (48, 1000))
    with_draft = plan_of(hardware, speculate="draft")
    assert with_draft.draft == "small.gguf"
    assert with_draft.speculate == "draft"
    taken = draft_bytes(SMALL.spec, context_shape(with_draft), "cuda")
    assert taken[0] > SMALL.spec.weight_bytes - SMALL.spec.input_bytes
    first, *_, host = with_draft.shares
    assert first.overhead_bytes >= taken[0]
    assert host.overhead_bytes >= taken[1] > 0
    budgets = pool_budgets(hardware)
    for share in with_draft.shares:
        assert share.total_bytes <= budgets[share.pool_id]


def test_without_an_accelerator_it_is_all_the_hosts():
    hardware = machine()
    plan = plan_of(hardware, target=specs.llama2_13b, speculate="draft", n_ctx_seq=4096)
    on_device, on_host = draft_bytes(SMALL.spec, context_shape(plan), None)
    assert on_device == 0
    assert on_host > SMALL.spec.weight_bytes


def test_what_the_draft_model_takes_comes_off_the_context_of_the_other():
    hardware = machine((48, 1000))
    alone = plan_of(hardware, draft=None, objective="context", n_gpu_layers=-1)
    both = plan_of(hardware, speculate="draft", objective="context", n_gpu_layers=-1)
    assert both.n_ctx < alone.n_ctx


def test_two_models_that_do_not_fit_together_are_refused():
    with pytest.raises(DoesNotFit):
        plan_of(
            machine((44, 1000)), speculate="draft", n_gpu_layers=-1, n_ctx_seq=8192, n_parallel=1
        )


def test_a_draft_that_is_asked_for_has_to_be_named():
    with pytest.raises(BadRequest, match="no draft model"):
        plan_of(machine((48, 1000), (48, 1000)), draft=None, speculate="draft")


def test_the_draft_models_context_holds_the_same_conversations():
    plan = plan_of(machine((48, 1000), (48, 1000)), speculate="draft", kv_type_k="q8_0")
    own = draft_plan(plan)
    assert (own.n_ctx, own.n_seq_max) == (plan.n_ctx, plan.n_seq_max)
    assert (own.kv_unified, own.kv_type_k, own.n_outputs_max) == (True, "f16", plan.n_seq_max)


def test_a_recurrent_model_is_planned_without_a_draft_model_and_says_so():
    plan = plan_of(machine((24, 1000)), target=specs.lfm2_350m, speculate="draft")
    assert (plan.draft, plan.speculate) == (None, "off")
    assert any("without the draft model" in reason for reason in plan.reasons)
