import math
import time
from dataclasses import replace
from functools import partial

import pytest
import selector_specs as specs
from selector_choices import PROFILES, plan_of, refusal_of
from selector_machines import machine

from edgellm.probe.known.boards import hardware_from_board
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.plan import Goal
from edgellm.units import GIB

F16_70B = [specs.candidate(specs.llama_70b("F16"))]


# ---- what is chosen


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


def test_talkers_share_a_pool_that_the_idle_can_leave():
    plan = plan_of(machine((24, 1000)), use="chat")
    assert plan.kv_unified
    assert plan.n_seq_max == plan.n_parallel + 1  # what is copied goes through an id of its own
    assert 0 < plan.prefix_ram_bytes <= 8 * GIB
    assert plan_of(machine((24, 1000)), use="chat", n_parallel=256).n_seq_max == 256


def test_talkers_get_their_own_streams_where_the_idle_would_stay_in_the_pool():
    whole = plan_of(machine((24, 1000)), use="chat", prefix_ram_bytes=0)
    sliding = plan_of(machine((24, 1000)), specs.ladder(specs.gemma3_27b), use="chat")
    for plan in (whole, sliding):
        assert not plan.kv_unified
        assert plan.n_seq_max == plan.n_parallel
    assert (whole.prefix_ram_bytes, sliding.prefix_ram_bytes > 0) == (0, True)  # for checkpoints
    assert plan_of(machine((24, 1000)), use="batch", prefix_ram_bytes=0).kv_unified


def test_conversations_outlive_the_server_where_they_can_leave_the_cells_or_are_checkpointed():
    kept = plan_of(machine((24, 1000)), use="chat", prefix_disk="/kv")
    sliding = plan_of(machine((24, 1000)), specs.ladder(specs.gemma3_27b), prefix_disk="/kv")
    stays = plan_of(machine((24, 1000)), use="chat", prefix_disk="/kv", prefix_ram_bytes=0)
    assert [plan.prefix_disk for plan in (kept, sliding, stays)] == ["/kv", "/kv", None]


def test_prefixes_get_half_of_what_the_plan_leaves_of_the_hosts_memory():
    plan = plan_of(machine((24, 1000), ram=8), use="chat")
    host = plan.shares[-1]
    budget = pool_budgets(machine((24, 1000), ram=8))["host"]
    assert plan.prefix_ram_bytes == (budget - host.total_bytes) // 2
    assert plan_of(machine((24, 1000)), prefix_ram_bytes=5).prefix_ram_bytes == 5
    assert any("may take" in reason and "--prefix-ram" in reason for reason in plan.reasons)


def test_prefixes_never_get_more_than_the_host_has_whatever_is_asked_for():
    plan = plan_of(machine((24, 1000), ram=8), use="chat", prefix_ram_bytes=1 << 40)
    budget = pool_budgets(machine((24, 1000), ram=8))["host"]
    assert 0 < plan.prefix_ram_bytes == budget - plan.shares[-1].total_bytes
    (said,) = [reason for reason in plan.reasons if "may take" in reason]
    assert "not 1.0 TiB as --prefix-ram asks" in said


def test_a_generation_plan_keeps_llama_cpps_preconditions():
    plan = plan_of(machine((24, 1000)), n_parallel=8)
    assert plan.n_seq_max == 9 <= plan.n_outputs_max
    assert plan.n_batch >= plan.n_ubatch >= 1
    assert plan.n_batch >= plan.n_seq_max
    assert not plan.swa_full
    assert plan.flash_attention is None


def test_a_slow_second_card_is_left_out_and_named():
    plan = plan_of(machine((24, 1000), (8, 100)))
    assert plan.devices == ("CUDA0",)
    assert "Card 1 is left out: what is faster holds everything" in plan.reasons


@pytest.mark.parametrize(
    ("small_gib", "pins", "why"),
    [
        (0.5, {}, "no room for a layer"),
        (24, {"n_gpu_layers": 5}, "-ngl 5 leaves it no layer"),
    ],
)
def test_a_card_that_gets_nothing_is_not_told_of_what_the_others_hold(small_gib, pins, why):
    plan = plan_of(machine((24, 1000), (small_gib, 100), ram=256), F16_70B, **pins)
    assert f"Card 1 is left out: {why}" in plan.reasons


def test_several_cards_are_told_of_in_one_sentence_that_holds_for_all():
    one = machine((24, 1000), ram=64)
    useless = [replace(one.devices[0], id=f"x{n}", backend="none", note="no") for n in range(3)]
    plan = plan_of(replace(one, devices=(*one.devices, *useless)))
    assert len([why for why in plan.reasons if "can't be used" in why]) == 1
    limited = powered(machine((12, 900), (12, 900), (12, 900), ram=128), 350, 350, 350)
    few = plan_of(limited, [specs.candidate(specs.dense(quant="F16"))], max_watts=400)
    (said,) = [why for why in few.reasons if "left out" in why]
    assert " are left out: with one more the boards may draw 700 W" in said


def test_a_card_that_an_even_split_would_overfill_is_said_not_to_fit():
    hardware = machine((24, 1000), (24, 1000), (2, 1000), backend="sycl")
    pins = {"split_mode": "row", "n_gpu_layers": -1, "n_ctx": 4096}
    plan = plan_of(hardware, [specs.candidate(specs.llama_70b())], **pins)
    assert "Card 2 is left out: with one more the plan does not fit" in plan.reasons


def test_of_experts_that_are_pinned_to_the_host_no_other_card_is_told_to_hold_them():
    plan = plan_of(machine((24, 1000), (24, 100)), [specs.candidate(specs.moe())], n_cpu_moe=48)
    assert "Card 1 is left out: -ncmoe 48 leaves it no layer" in plan.reasons


def test_each_of_more_kinds_than_have_every_choice_tried_has_its_reason():
    small = [(0.5, 800 - 100 * i) for i in range(4)]
    plan = plan_of(machine((24, 1000), (24, 900), *small, ram=256), F16_70B)
    assert sorted(plan.devices) == ["CUDA0", "CUDA1"]
    named = "Card 2 + Card 3 + Card 4 + Card 5"
    assert f"{named} are left out: no room for a layer" in plan.reasons


def test_graphics_inside_the_cpu_are_left_alone_beside_a_card():
    hardware = machine((24, 1000))
    inside = replace(hardware.devices[0], id="igpu", name="iGPU", backend="vulkan", pool_id="host")
    both = replace(hardware, devices=(hardware.devices[0], inside, hardware.devices[1]))
    assert plan_of(both).devices == ("CUDA0",)


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
    """What can't win is not looked at closely. A ratio: seconds are the machine's."""
    candidates = [
        replace(row, file=f"{i}-{row.file}") for i in range(3) for row in specs.ladder(specs.moe)
    ][:20]
    plan_of(hardware, candidates)
    together_s, alone_s = math.inf, dict.fromkeys(range(20), math.inf)
    for _ in range(3):
        together_s = min(together_s, _cpu_seconds(lambda: plan_of(hardware, candidates)))
        for i, one in enumerate(candidates):
            alone_s[i] = min(alone_s[i], _cpu_seconds(partial(plan_of, hardware, [one])))
    assert together_s < sum(alone_s.values())


def _cpu_seconds(call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


# ---- embeddings


def test_an_encoder_takes_a_whole_text_in_one_batch():
    plan = plan_of(machine(), [specs.candidate(specs.bert())])
    assert plan.embedding
    assert plan.n_ctx_seq == 512
    assert plan.n_batch == plan.n_ubatch >= plan.n_ctx
    assert plan.n_outputs_max == plan.n_batch
    assert plan.decode_tok_s is None
    assert plan.shares[-1].kv_bytes == 0
    assert not any("reads along" in why for why in plan.reasons)


# ---- limits


def powered(hardware, *watts):
    cards = tuple(
        replace(device, board_power_w=limit)
        for device, limit in zip(hardware.accelerators, watts, strict=True)
    )
    return replace(hardware, devices=(*cards, hardware.devices[-1]))


def test_quality_stops_where_it_would_be_too_slow():
    free = plan_of(machine((24, 600)), objective="quality")
    bound = plan_of(machine((24, 600)), objective="quality", min_tok_s=50)
    assert free.decode_tok_s.p50 < 50 <= bound.decode_tok_s.p50
    assert bound.quant != free.quant
    (row,) = [row for row in bound.rejected if row.quant == free.quant]
    assert "--min-tok-s asks for 50" in row.binding


def test_a_pace_that_nothing_reaches_is_refused_with_what_can_be_had():
    error = refusal_of(machine(ram=32), specs.ladder(), min_tok_s=500)
    assert "--min-tok-s asks for 500" in str(error)
    assert "take a smaller model" in error.hint


def test_a_context_that_must_be_is_not_cut():
    candidates = [specs.candidate(specs.dense())]
    pins = {"n_parallel": 1, "use": "agent"}
    assert plan_of(machine(ram=6), candidates, **pins).n_ctx_seq < 16384
    assert plan_of(machine(ram=9), candidates, **pins, min_ctx_seq=16384).n_ctx_seq >= 16384
    error = refusal_of(machine(ram=5.4), candidates, **pins, min_ctx_seq=16384)
    assert "does not fit" in str(error)
    assert "a shorter --min-ctx" in error.hint


def test_a_limit_of_watts_leaves_boards_out_and_says_so():
    hardware = powered(machine((12, 900), (12, 900), ram=128), 350, 350)
    candidates = [specs.candidate(specs.dense(quant="F16"))]
    both = plan_of(hardware, candidates)
    one = plan_of(hardware, candidates, max_watts=400)
    assert (both.power_w, one.power_w) == (700, 350)
    assert len(one.devices) == 1
    assert any("may draw 700 W, more than 400 W" in why for why in one.reasons)


def test_watts_that_no_board_keeps_leave_the_cpu_or_nothing():
    hardware = powered(machine((24, 900)), 350)
    assert plan_of(hardware, max_watts=100).devices == ()
    error = refusal_of(hardware, specs.ladder(), max_watts=100, n_gpu_layers=-1)
    assert "--max-watts 100 leaves no device: Card 0 350 W" in str(error)


def test_boards_that_say_nothing_cannot_be_promised():
    plan = plan_of(machine((24, 900)), max_watts=300)
    assert plan.power_w is None
    assert any("300 W can't be promised" in why for why in plan.reasons)


def test_energy_takes_the_thriftier_board_and_speed_the_faster():
    hardware = powered(machine((24, 1000), (24, 700)), 600, 150)
    fast = plan_of(hardware, objective="speed")
    thrifty = plan_of(hardware, objective="energy")
    assert (fast.devices, thrifty.devices) == (("CUDA0",), ("CUDA1",))
    assert any("J a token at the boards' limit of 150 W" in why for why in thrifty.reasons)


def test_energy_without_a_known_power_says_that_it_goes_by_speed():
    plan = plan_of(machine((24, 1000)), objective="energy")
    assert any("the fastest is taken for the thriftiest" in why for why in plan.reasons)


def test_weights_are_read_from_disk_only_when_asked_for_and_it_is_said():
    candidates = [specs.candidate(specs.llama_70b())]
    refusal_of(machine(ram=24), candidates)
    plan = plan_of(machine(ram=24), candidates, allow_disk=True)
    assert plan.placement.disk_bytes > 15 * GIB
    assert any("read from disk for each token" in why for why in plan.reasons)


def test_what_fits_in_memory_is_never_read_from_disk():
    plan = plan_of(machine(ram=24), specs.ladder(), allow_disk=True, objective="quality")
    assert plan.placement.disk_bytes == 0


def test_a_four_bit_cache_is_the_last_resort_and_said():
    candidates, pins = [specs.candidate(specs.dense())], {"n_ctx_seq": 16384, "n_parallel": 1}
    caches = [plan_of(machine(ram=ram), candidates, **pins).kv_type_k for ram in (9, 6.7, 6.0)]
    assert caches == ["f16", "q8_0", "q4_0"]
    plan = plan_of(machine(ram=6.0), candidates, **pins)
    assert any("nothing fits with the usual caches" in why for why in plan.reasons)
    assert any("a good quarter of f16's bytes" in why for why in plan.reasons)


# ---- what a plan tells


def test_a_plan_tells_first_token_all_streams_and_power():
    plan = plan_of(powered(machine((24, 1000)), 450), n_parallel=4)
    workload = PROFILES.workload("chat")
    assert plan.power_w == 450
    assert plan.batch_tok_s.p50 > plan.decode_tok_s.p50
    assert plan.ttft_s.p10 < plan.ttft_s.p50 < plan.ttft_s.p90
    about = workload.n_prompt / plan.prefill_tok_s.p50
    assert plan.ttft_s.p50 == pytest.approx(about, rel=0.5)


def test_one_stream_has_no_sum_of_streams():
    assert plan_of(machine((24, 1000)), n_parallel=1).batch_tok_s is None


def test_experts_go_to_the_cpu_and_the_plan_says_why():
    plan = plan_of(machine((12, 900)), [specs.candidate(specs.moe())])
    assert plan.placement.n_cpu_moe > 0
    assert any("the experts of the first" in why for why in plan.reasons)
    assert any("whole layers, not experts" in row.binding for row in plan.rejected)


def test_cards_that_may_work_side_by_side_are_an_offer_and_not_the_default():
    hardware = machine((24, 936), (24, 936))
    cards = tuple(replace(device, name="RTX 3090") for device in hardware.accelerators)
    hardware = replace(hardware, devices=(*cards, hardware.devices[-1]))
    plan = plan_of(hardware, [specs.candidate(specs.llama_70b())])
    assert plan.placement.split_mode == "layer"
    (offer,) = [row for row in plan.rejected if "-sm tensor, experimental" in row.binding]
    assert offer.decode_tok_s.p50 > plan.decode_tok_s.p50
    assert "fits and is faster: -sm tensor takes it" in offer.binding
    pinned = plan_of(hardware, [specs.candidate(specs.llama_70b())], split_mode="tensor")
    assert pinned.flash_attention is True
    assert any("the bytes of each are an even division" in why for why in pinned.reasons)


def test_fast_cores_are_the_threads_where_cores_differ():
    hardware = machine(ram=32)
    uneven = replace(hardware, cpu=replace(hardware.cpu, n_fast_cores=6))
    assert plan_of(uneven).n_threads == 6
    assert plan_of(hardware).n_threads == 8


def test_an_architecture_that_this_llama_cpp_lacks_is_planned_and_said():
    spec = replace(specs.dense(), architecture="mamba9")
    plan = plan_of(machine((24, 900)), [specs.candidate(spec)])
    assert any("doesn't know the architecture 'mamba9'" in why for why in plan.reasons)


@pytest.mark.parametrize("objective", ["balanced", "speed", "quality", "context", "energy"])
@pytest.mark.parametrize("cards", [((24, 936), (24, 936)), ((8, 320),), ()])
def test_what_is_only_compared_is_the_same_plan_without_words(objective, cards):
    hardware, goal = machine(*cards), Goal(objective=objective)
    told = choose(hardware, specs.ladder(), goal, load_profiles())
    bare = choose(hardware, specs.ladder(), goal, load_profiles(), explained=False)
    assert bare == replace(told, reasons=(), rejected=(), pareto=())
