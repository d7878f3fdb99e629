"""What a plan tells beside what it is."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_choices import PROFILES, plan_of
from selector_machines import machine, powered

from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal
from edgellm.selector.speed.speed_profile import Calibration


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


def speeds_told(spec, **speed):
    profiles = load_profiles()
    profiles = replace(profiles, speed=replace(profiles.speed, **speed))
    plan = choose(machine((24, 900)), [specs.candidate(spec)], Goal(), profiles)
    return [why for why in plan.reasons if "edgellm bench MODEL measures it" in why]


def test_a_machine_that_has_measured_nothing_yet_is_told_how_to():
    seen = Calibration("Card 0", "cuda", "1", "llama", decode_ratio=0.7, n_decode=3)
    (why,) = speeds_told(specs.dense(), build="1")
    assert why.startswith("no model's speed was measured on Card 0 yet")
    assert speeds_told(specs.dense(), build="1", calibrations=(seen,)) == []
    assert speeds_told(specs.dense()) == [], "a described machine"


def test_of_a_tiny_model_the_speed_is_said_to_be_a_guess_whatever_was_measured():
    tiny = specs.dense(n_layers=5, n_embd=256, n_ff=512, n_head=4, n_head_kv=4, n_vocab=512)
    seen = Calibration("Card 0", "cuda", "1", "llama", decode_ratio=0.7, n_decode=3)
    (why,) = speeds_told(tiny, build="1", calibrations=(seen,))
    assert "fixed costs, which are guessed: the speed range is wide" in why


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
    kept = {"layout_bytes": 0, "prefix_ram_bytes": bare.prefix_ram_bytes}
    assert bare == replace(told, reasons=(), rejected=(), pareto=(), other_layouts=(), **kept)
    assert bare.prefix_ram_bytes - told.prefix_ram_bytes in range(told.layout_bytes + 1)
