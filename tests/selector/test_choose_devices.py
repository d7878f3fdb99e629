"""Which devices take part, and why the others don't."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_choices import plan_of
from selector_machines import machine, powered

F16_70B = [specs.candidate(specs.llama_70b("F16"))]


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
