"""A card beside a host that holds some of the layers or of the experts."""

from dataclasses import replace

import selector_specs as specs
from selector_machines import machine
from selector_speeds import SHAPE, decode, half, prefill, with_bandwidths, with_cards

from edgellm.selector.plan import Placement, Share


def test_experts_belong_on_the_cpu_rather_than_layers():
    spec, hardware = specs.moe(), with_bandwidths(machine((12, 360)), 80)
    layers = decode(spec, hardware, half(spec, 24))
    experts = decode(spec, hardware, half(spec, 0, experts=24))
    assert experts.p50 > layers.p50


def test_each_block_whose_experts_are_the_cpus_costs():
    spec, hardware = specs.moe(), machine((24, 900))
    rates = [decode(spec, hardware, half(spec, 0, experts=n)).p50 for n in (0, 10, 20, 48)]
    assert rates == sorted(rates, reverse=True)


def test_a_card_computes_prompts_for_layers_it_does_not_hold():
    spec, hardware = specs.llama_70b(), with_bandwidths(machine((24, 1000)), 50)
    alone = Placement((Share("cpu", "host", tuple(range(81)), 0, 0, 0),), 0)
    helped = prefill(spec, hardware, half(spec, 41))
    assert helped.p50 > 3 * prefill(spec, hardware, alone).p50
    itself = prefill(spec, hardware, half(spec, 41, op_offload=False))
    assert itself.p50 < 0.5 * helped.p50


def test_copies_for_a_prompt_are_as_fast_as_the_link():
    spec, card = specs.llama_70b(), machine((24, 1000))
    slow = with_cards(card, link="PCIe 3.0 x1")
    assert prefill(spec, slow, half(spec, 41)).p50 < 0.3 * prefill(spec, card, half(spec, 41)).p50


def test_a_larger_micro_batch_copies_the_hosts_experts_less_often():
    spec, hardware = specs.moe(), machine((12, 360))
    placement = half(spec, 0, experts=48)
    small, large = (
        prefill(spec, hardware, placement, shape=replace(SHAPE, n_ubatch=n)) for n in (512, 2048)
    )
    assert large.p50 > 2 * small.p50


def test_weights_read_from_the_disk_are_slow_and_unsure():
    spec, hardware = specs.llama_70b(), machine((24, 900))
    streamed = decode(spec, hardware, half(spec, 60, disk_bytes=5 * 10**9))
    held = decode(spec, hardware, half(spec, 60))
    assert streamed.p50 < 0.5 * held.p50
    assert streamed.p90 / streamed.p10 > held.p90 / held.p10
