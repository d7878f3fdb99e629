from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine
from selector_specs import headed

from edgellm.errors import DoesNotFit
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.placing.draft import draft_bytes, draft_plan
from edgellm.selector.placing.head import head_spec, state_bytes
from edgellm.selector.plan import Goal
from edgellm.units import GIB

PROFILES = load_profiles()


def plan_of(hardware, spec, **goal):
    return choose(hardware, [specs.candidate(spec)], Goal(**goal), PROFILES)


def test_a_head_is_counted_on_the_device_of_the_last_layer():
    spec, hardware = headed(), machine((48, 1000), (48, 1000))
    plan = plan_of(hardware, spec, speculate="mtp", tensor_split=(1.0, 1.0))
    assert (plan.speculate, plan.draft) == ("mtp", None)
    shape = context_shape(plan)
    on_device, on_host = draft_bytes(head_spec(spec), shape, "cuda")
    assert on_device > GIB, "its weights, its cells and its buffers"
    first, last, host = plan.shares
    assert last.overhead_bytes - first.overhead_bytes == on_device
    assert host.overhead_bytes >= on_host + state_bytes(spec, shape)
    assert any("the head of" in reason for reason in plan.reasons)


def test_what_a_head_takes_comes_off_the_model_beside_it():
    hardware = machine((44, 1000))
    asked = {"objective": "context", "n_gpu_layers": -1}
    plain, with_head = (
        plan_of(hardware, headed(), speculate=who, **asked) for who in ("ngram", "mtp")
    )
    assert with_head.n_ctx < plain.n_ctx
    with pytest.raises(DoesNotFit):
        plan_of(hardware, headed(draft_bytes=20 * GIB), speculate="mtp", n_gpu_layers=-1)


def test_only_who_asks_for_the_head_gets_it():
    plan = plan_of(machine((48, 1000), (48, 1000)), headed())
    assert plan.speculate == "ngram"
    assert any("--speculate mtp" in reason for reason in plan.reasons)


def test_who_asks_for_a_head_that_is_not_there_is_told_where_nothing_else_guesses():
    headless = replace(gated_delta_nets(state_bytes=16 << 20), n_draft_layers=0, draft_bytes=0)
    for choices in ({}, {"batch_invariant": True}):
        plan = plan_of(machine((80, 1000)), headless, speculate="mtp", **choices)
        assert plan.speculate == "off"
        assert "nothing is guessed: its file has no head for guesses (MTP)" in plan.reasons


def test_a_head_is_named_also_where_looking_up_would_not_pay():
    costly, hardware = gated_delta_nets(state_bytes=16 << 20), machine((80, 1000))
    plan = plan_of(hardware, costly)
    assert (plan.speculate, plan.n_rs_seq) == ("off", 0)
    assert any("--speculate mtp" in reason for reason in plan.reasons)
    for choices in ({"speculate": "off"}, {"batch_invariant": True}):
        plan = plan_of(hardware, costly, **choices)
        assert not any("--speculate mtp" in reason for reason in plan.reasons)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (headed(draft_bytes=0), "its file has no head"),
        (specs.llama_70b(quant="Q4_K_M"), "its file has no head"),
        (headed("step35"), "of step35 models is not supported"),
        (headed(n_heads=3), "3 heads"),
        (replace(headed(), has_mrope=True), "no positions for pictures"),
    ],
)
def test_a_head_that_can_not_be_driven_is_said_and_done_without(spec, said):
    plan = plan_of(machine((48, 1000), (48, 1000)), spec, speculate="mtp")
    assert plan.speculate == "ngram"
    assert any(said in reason for reason in plan.reasons)
    assert not any("--speculate mtp" in reason for reason in plan.reasons)


def test_a_head_has_the_context_of_a_draft_model_and_no_file():
    plan = plan_of(machine((48, 1000), (48, 1000)), headed(), speculate="mtp", kv_type_k="q8_0")
    own = draft_plan(plan)
    assert (own.file, own.kv_type_k, own.kv_unified) == ("", "f16", True)
    assert (own.n_ctx, own.n_seq_max) == (plan.n_ctx, plan.n_seq_max)


def gated_delta_nets(state_bytes: int = 2 << 20):
    """Three layers in four keep a state; the last one attends, and the head does."""
    spec = headed("qwen35")
    *trunk, head = spec.layers
    layers = [
        layer if (il + 1) % 4 == 0 else replace(layer, kv_kind="recurrent", state_bytes=state_bytes)
        for il, layer in enumerate(trunk)
    ]
    return replace(spec, layers=(*layers, head), has_mrope=True)


def test_a_state_keeps_as_many_steps_for_a_head_as_it_guesses_well():
    spec, hardware = gated_delta_nets(), machine((80, 1000))
    state_bytes = sum(layer.state_bytes for layer in spec.layers)
    few, many = (plan_of(hardware, spec, speculate="mtp", n_parallel=n) for n in (2, 32))
    assert (few.speculate, few.n_rs_seq) == ("mtp", 3)
    assert 1 <= many.n_rs_seq < 3
    for plan in (few, many):
        assert plan.n_outputs_max == plan.n_seq_max + plan.n_rs_seq
        assert plan.n_rs_seq * plan.n_seq_max * state_bytes <= spec.weight_bytes / 4
    unasked = plan_of(hardware, spec, n_parallel=32)
    assert unasked.n_rs_seq < many.n_rs_seq


def test_where_no_step_can_be_kept_the_head_rests_and_it_is_said():
    plan = plan_of(machine((80, 1000)), gated_delta_nets(), speculate="mtp", n_parallel=250)
    assert (plan.speculate, plan.n_rs_seq, plan.draft_bytes) == ("off", 0, 0)
    assert any("without the head of headed" in reason for reason in plan.reasons)


@pytest.mark.parametrize("n_more", [0, 1, 3])
def test_a_head_has_cells_and_no_state(n_more):
    """Also where the model's last layers keep one."""
    spec = gated_delta_nets()
    *trunk, head = spec.layers
    (only,) = head_spec(replace(spec, layers=(*trunk, *trunk[:n_more], head))).layers
    assert (only.kv_kind, only.state_bytes) == ("full", 0)
