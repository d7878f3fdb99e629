"""Several cards: one after the other, and side by side."""

import pytest
import selector_specs as specs
from selector_machines import machine
from selector_speeds import SHAPE, SPEED, decode, prefill, whole, with_cards

from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import ttft_s


def test_times_add_over_devices_and_every_hop_costs():
    spec = specs.dense()
    one = decode(spec, machine((24, 500)))
    two, four = (decode(spec, machine(*[(24, 500)] * n)) for n in (2, 4))
    assert one.p50 > two.p50 > four.p50 > 0.8 * one.p50


def test_a_weak_card_beside_a_strong_one_slows_it():
    spec = specs.dense()
    strong, mixed = machine((24, 1000)), machine((24, 1000), (24, 200))
    assert decode(spec, mixed).p50 < 0.5 * decode(spec, strong).p50


def test_side_by_side_two_cards_are_faster_than_one_after_the_other():
    spec, cards = specs.llama_70b(), machine((48, 800), (48, 800))
    in_turn = decode(spec, cards)
    together = decode(spec, cards, whole(spec, cards, split_mode="tensor"))
    assert 1.3 * in_turn.p50 < together.p50 < 2 * in_turn.p50
    assert together.p90 / together.p10 > in_turn.p90 / in_turn.p10


def test_side_by_side_each_doubling_of_the_cards_adds_a_round_to_every_sum():
    spec = specs.dense(quant="F16")

    def step_s(n):
        cards = machine(*[(48, 1e6)] * n)  # reading takes no time, waiting does
        return 1 / decode(spec, cards, whole(spec, cards, split_mode="tensor")).p50

    two, three, four, eight = map(step_s, (2, 3, 4, 8))
    assert four - two == pytest.approx(eight - four, rel=0.1)
    assert three == pytest.approx(eight, rel=0.1)  # folded in before, told after


def test_the_link_between_cards_prices_a_tensor_split():
    spec, cards = specs.dense(), machine((24, 900), (24, 900))
    placement = whole(spec, cards, split_mode="tensor")
    slow = with_cards(cards, link="PCIe 3.0 x1")
    fast = with_cards(cards, peer_bytes_s=600e9)
    prompt = {"placement": placement}
    assert prefill(spec, slow, **prompt).p50 < 0.5 * prefill(spec, fast, **prompt).p50


def test_a_long_prompt_overlaps_on_whole_devices_in_a_row():
    spec = specs.llama_70b()
    one, four = machine((192, 1000)), machine(*[(48, 1000)] * 4)
    assert prefill(spec, four).p50 > 1.3 * prefill(spec, one).p50
    alone, in_a_row = (
        ttft_s(Setup(spec, SHAPE, whole(spec, cards), cards, SPEED), n_prompt=100)
        for cards in (one, four)
    )
    assert in_a_row.p50 > alone.p50
