"""Which file, context and placement a machine gets."""

import cProfile
from dataclasses import replace

import pytest
import selector_specs as specs
from selector_choices import PROFILES, plan_of
from selector_machines import machine

from edgellm.models.known import catalog
from edgellm.probe.known.boards import hardware_from_board
from edgellm.probe.known.described import hardware_from_devices


def test_a_fast_card_with_room_gets_quality():
    plan = plan_of(hardware_from_board("rtx4090"))
    assert plan.quant == "Q8_0"
    assert plan.placement.n_gpu_layers == 33
    assert plan.devices == ("CUDA0",)


def test_a_small_board_gets_fewer_bits():
    plan = plan_of(hardware_from_board("rpi5"))
    assert plan.quant in ("Q4_K_M", "Q3_K_M", "Q5_K_M")
    assert plan.devices == ()
    assert plan.placement.n_gpu_layers == 0
    assert plan.n_threads == 4


def test_llama_70b_runs_whole_on_two_cards_of_24_gb():
    plan = plan_of(
        hardware_from_board("2x3090"), specs.ladder(lambda quant: specs.llama_70b(quant))
    )
    assert plan.quant == "Q4_K_M"
    assert plan.placement.n_gpu_layers == 81
    assert len(plan.placement.tensor_split) == 2


def test_speed_takes_the_fastest_with_an_acceptable_loss():
    fast = plan_of(machine((24, 1000)), objective="speed")
    assert fast.quant == "Q3_K_M"
    assert (
        fast.decode_tok_s.p50 > plan_of(machine((24, 1000)), objective="quality").decode_tok_s.p50
    )


def test_quality_takes_the_most_bits_that_fit():
    assert plan_of(machine((24, 1000)), objective="quality").quant == "F16"


def test_context_takes_the_longest_conversation():
    plan = plan_of(machine((24, 1000)), objective="context")
    assert plan.n_ctx_seq == 131072
    assert plan.n_parallel == 1


@pytest.mark.parametrize("use", ["chat", "batch", "stream", "agent"])
def test_a_use_brings_its_own_context_and_parallelism(use):
    workload = PROFILES.workload(use)
    plan = plan_of(machine((80, 2000)), use=use)
    assert (plan.n_parallel, plan.n_ctx_seq) == (workload.n_parallel, workload.n_ctx_seq)
    assert plan.itl_target_s == workload.itl_target_s
    assert plan.n_ctx == plan.n_ctx_seq * plan.n_parallel


def test_a_model_of_short_training_gets_its_own_context():
    plan = plan_of(machine((80, 2000)), [specs.candidate(specs.llama2_13b())])
    assert plan.n_ctx_seq == 4096


def test_a_generation_plan_keeps_llama_cpps_preconditions():
    plan = plan_of(machine((24, 1000)), n_parallel=8)
    assert plan.n_seq_max == 9 <= plan.n_outputs_max
    assert plan.n_batch >= plan.n_ubatch >= 1
    assert plan.n_batch >= plan.n_seq_max
    assert not plan.swa_full
    assert plan.flash_attention is None


def test_a_cache_is_quantized_before_context_is_cut():
    spec = specs.dense(quant="Q4_K_M")
    plan = plan_of(
        machine((8.6, 500), ram=8), [specs.candidate(spec)], n_parallel=2, n_ctx_seq=16384
    )
    assert plan.kv_type_k == plan.kv_type_v == "q8_0"
    assert plan.n_ctx_seq == 16384
    assert any("q8_0" in reason for reason in plan.reasons)


def test_many_streams_get_a_quantized_cache_on_the_card_before_a_layer_leaves_it():
    candidates = [specs.candidate(specs.dense(quant="Q8_0"))]
    plan = plan_of(hardware_from_board("h100"), candidates, n_parallel=70, n_ctx_seq=8192)
    assert plan.kv_type_k == "q8_0"
    assert plan.placement.n_gpu_layers == 33
    assert plan.batch_tok_s.p50 > 70 * PROFILES.workload("chat").decode_target_tok_s


def test_a_cut_context_is_said():
    spec = specs.dense(quant="Q4_K_M")
    plan = plan_of(machine(ram=6.4), [specs.candidate(spec)], n_parallel=1, use="agent")
    assert plan.n_ctx_seq < 32768
    assert any("context is cut from the 32768 tokens" in reason for reason in plan.reasons)


def test_heads_that_blocks_do_not_divide_keep_a_plain_cache():
    spec = specs.dense("odd-heads", head_dim=80, n_head=32)
    assert plan_of(machine((6, 500), ram=8), [specs.candidate(spec)]).kv_type_k == "f16"


def test_an_unknown_bandwidth_makes_the_range_wide():
    known = plan_of(machine((24, 300)), n_gpu_layers=-1)
    unknown = plan_of(machine((24, None)), n_gpu_layers=-1)

    def width(plan):
        return plan.decode_tok_s.p90 / plan.decode_tok_s.p10

    assert width(unknown) > 3 * width(known)
    assert any("bandwidth of Card 0 is unknown" in reason for reason in unknown.reasons)


@pytest.mark.parametrize(
    "hardware",
    [machine((24, 1000), (12, 360)), machine(*[(24, 936)] * 4)],
    ids=["two devices", "four devices"],
)
def test_twenty_candidates_take_less_together_than_one_by_one(hardware):
    """What can't win is not looked at closely. Calls are counted: seconds are the machine's."""
    ladder = specs.ladder(specs.moe)
    candidates = [replace(row, file=f"{i}-{row.file}") for i in range(3) for row in ladder][:20]
    plan_of(hardware, candidates)  # what is worked out once helps neither
    together = _n_calls(plan_of, hardware, candidates)
    alone = {row.quant: _n_calls(plan_of, hardware, [row]) for row in ladder}
    assert together < sum(alone[row.quant] for row in candidates)


def _n_calls(function, *args) -> int:
    """Of functions, by this call of one and all that it calls."""
    profile = cProfile.Profile()
    profile.runcall(function, *args)
    return sum(entry.callcount for entry in profile.getstats())


def test_an_encoder_takes_a_whole_text_in_one_batch():
    plan = plan_of(machine(), [specs.candidate(specs.bert())])
    assert plan.embedding
    assert plan.n_ctx_seq == 512
    assert plan.n_batch == plan.n_ubatch >= plan.n_ctx
    assert plan.n_outputs_max == plan.n_batch
    assert plan.decode_tok_s is None
    assert plan.shares[-1].kv_bytes == 0
    assert not any("reads along" in why for why in plan.reasons)


@pytest.mark.parametrize("use", ["chat", "batch"])
def test_streams_that_are_computed_one_by_one_have_together_what_one_has(use):
    plan = plan_of(hardware_from_board("rtx3090"), use=use, batch_invariant=True)
    assert plan.batch_tok_s == plan.decode_tok_s


def minilms():
    entry = catalog.find("all-minilm:l6-v2")
    labels = catalog.plannable_quants(entry)
    return [replace(specs.candidate(catalog.spec(entry, label)), quant=label) for label in labels]


@pytest.mark.parametrize("objective", ["speed", "energy"])
def test_an_embedding_model_lies_where_it_reads_fast_not_where_it_would_write_fast(objective):
    hardware = hardware_from_devices(("Arc A770",), "32GiB@51")
    host = replace(hardware.devices[-1], board_power_w=120.0)
    hardware = replace(hardware, devices=(*hardware.accelerators, host))
    plan = plan_of(hardware, minilms(), objective=objective)
    alone = [
        plan_of(hardware, [one], objective=objective, n_gpu_layers=n_layers)
        for one in minilms()
        for n_layers in (0, -1)
    ]
    assert plan.devices == ("VULKAN0",)
    assert plan.prefill_tok_s.p50 >= 0.98 * max(one.prefill_tok_s.p50 for one in alone)


def test_of_an_embedding_model_it_is_told_how_fast_it_reads():
    on_cpu = plan_of(hardware_from_devices(("Snapdragon X Elite",)), minilms())
    on_card = plan_of(hardware_from_board("rtx3060"), minilms(), objective="energy")
    told = " ".join([*on_cpu.reasons, *(row.binding for row in on_cpu.rejected)])
    assert "reads" in told
    assert "decodes" not in told
    assert "answers after" not in told
    assert all(row.decode_tok_s is None for row in on_cpu.rejected)
    (joules,) = (why for why in on_card.reasons if "J a thousand tokens" in why)
    assert not joules.startswith("0.0 ")
