"""What was pinned is obeyed, or refused with the reason."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_choices import plan_of
from selector_machines import machine

from edgellm.errors import BadRequest
from edgellm.units import GIB


@pytest.mark.parametrize(
    "pins",
    [
        {"n_ctx_seq": 3000, "n_parallel": 3},
        {"n_ctx": 10000},
        {"n_ctx": 10000, "n_parallel": 5},
        {"n_parallel": 7},
        {"kv_type_k": "q4_0", "kv_type_v": "q8_0"},
        {"n_ubatch": 128, "n_threads": 3},
        {"flash_attention": False},
        {"kv_unified": False},
    ],
)
def test_pins_are_obeyed(pins):
    plan = plan_of(machine((24, 1000)), **pins)
    for name, value in pins.items():
        assert getattr(plan, name) == value


@pytest.mark.parametrize(
    "pins",
    [
        {"n_gpu_layers": 17},
        {"n_cpu_moe": 11},
        {"n_cpu_moe": 48, "n_gpu_layers": 30},
        {"tensor_split": (3.0, 1.0)},
        {"split_mode": "tensor"},
        {"split_mode": "layer", "op_offload": False},
    ],
)
def test_pins_of_the_placement_are_obeyed(pins):
    hardware = machine((24, 1000), (24, 1000), ram=128)
    placement = plan_of(hardware, specs.ladder(specs.moe, ["Q8_0"]), **pins).placement
    for name, value in pins.items():
        assert getattr(placement, name) == value


def test_a_pinned_split_leaves_out_the_device_that_gets_nothing():
    plan = plan_of(machine((24, 1000), (24, 500)), tensor_split=(0.0, 1.0))
    assert plan.devices == ("CUDA1",)
    assert "Card 0 is left out: -ts gives it nothing" in plan.reasons


def test_pinned_layers_without_an_accelerator_are_said_to_be_idle():
    plan = plan_of(machine(ram=32), n_gpu_layers=99)
    assert plan.placement.n_gpu_layers == 0
    assert "-ngl has no effect: llama.cpp has no accelerator here" in plan.reasons


def test_one_pinned_cache_type_is_taken_for_both():
    plan = plan_of(machine((24, 1000)), kv_type_k="q8_0")
    assert plan.kv_type_v == "q8_0"


def test_a_total_context_is_cut_into_usable_conversations():
    plan = plan_of(machine((24, 1000)), n_ctx=4096)
    assert (plan.n_ctx, plan.n_parallel, plan.n_ctx_seq) == (4096, 2, 2048)


def test_without_flash_attention_the_v_cache_stays_plain():
    plan = plan_of(machine((24, 1000)), flash_attention=False)
    assert plan.kv_type_v == "f16"


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ({"n_ctx_seq": 0}, "n_ctx_seq is 0"),
        ({"n_parallel": -1}, "n_parallel is -1"),
        ({"n_parallel": 257}, "llama.cpp holds 256"),
        ({"n_ctx": 1000, "n_ctx_seq": 2000}, "exceeds all 1000 cells"),
        ({"flash_attention": False, "kv_type_v": "q8_0"}, "needs flash attention"),
        ({"reserve_bytes": -1}, "can't be negative"),
    ],
)
def test_pins_that_cannot_be_are_refused(pins, words):
    with pytest.raises(BadRequest, match=words):
        plan_of(machine((24, 1000)), **pins)


def test_a_cache_type_that_does_not_divide_the_heads_is_refused():
    spec = specs.dense("odd-heads", head_dim=80, n_head=32)
    with pytest.raises(
        BadRequest, match="blocks of 32, which don't divide odd-heads's heads of 80"
    ):
        plan_of(machine(), [specs.candidate(spec)], kv_type_k="q8_0")


def test_a_reserve_stays_free():
    plan = plan_of(machine((24, 1000)), reserve_bytes=14 * GIB)
    assert plan.shares[0].total_bytes <= 10 * GIB


def test_rows_for_guesses_are_counted_among_the_outputs():
    guessing, plain = (
        plan_of(machine((24, 1000)), n_parallel=8, speculate=speculate)
        for speculate in ("ngram", "off")
    )
    assert (guessing.n_outputs_max, plain.n_outputs_max) == (24, 9)
    assert (guessing.speculate, plain.speculate) == ("ngram", "off")
    more = guessing.shares[-1].compute_bytes - plain.shares[-1].compute_bytes
    assert more >= 15 * 4 * 128_256  # logits of Llama 3's vocabulary


def test_batch_invariant_nothing_is_guessed():
    plan = plan_of(machine((24, 1000)), batch_invariant=True)
    assert (plan.speculate, plan.n_outputs_max) == ("off", plan.n_seq_max)


def test_of_a_recurrent_state_no_more_is_guessed_than_can_be_taken_back():
    lfm2 = specs.lfm2_350m()
    few, many = (
        plan_of(machine((24, 1000)), [specs.candidate(lfm2)], n_parallel=n) for n in (4, 32)
    )
    assert (few.speculate, few.n_outputs_max) == ("ngram", few.n_seq_max + few.n_rs_seq)
    assert 1 <= many.n_rs_seq < few.n_rs_seq <= 15
    state_bytes = sum(layer.state_bytes for layer in lfm2.layers)
    for plan in (few, many):
        assert plan.n_rs_seq * plan.n_seq_max * state_bytes <= lfm2.weight_bytes / 64


@pytest.mark.parametrize(
    ("architecture", "choices"),
    [
        ("granitehybrid", {}),  # llama.cpp keeps one state of it
        ("lfm2", {"speculate": "off"}),
        ("lfm2", {"batch_invariant": True}),
        ("lfm2", {"n_parallel": 250}),  # so many states are as much as the weights
    ],
)
def test_where_nothing_can_be_taken_back_nothing_is_guessed(architecture, choices):
    spec = replace(specs.lfm2_350m(), architecture=architecture)
    plan = plan_of(machine((24, 1000)), [specs.candidate(spec)], **choices)
    assert (plan.speculate, plan.n_rs_seq, plan.n_outputs_max) == ("off", 0, plan.n_seq_max)


def test_states_to_go_back_to_are_counted():
    spec = specs.lfm2_350m()
    guessing, plain = (
        plan_of(machine((24, 1000)), [specs.candidate(spec)], speculate=speculate)
        for speculate in ("ngram", "off")
    )
    more = sum(a.kv_bytes - b.kv_bytes for a, b in zip(guessing.shares, plain.shares, strict=True))
    state_bytes = sum(layer.state_bytes for layer in spec.layers)
    assert more == guessing.n_rs_seq * guessing.n_seq_max * state_bytes
