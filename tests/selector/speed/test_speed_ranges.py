"""How sure a speed is, and what this machine's own measurements change."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine
from selector_speeds import SPEED, decode, prefill, with_cards

from edgellm.models.known import catalog
from edgellm.selector.speed.speed_profile import Calibration


def test_an_unknown_bandwidth_gives_a_wide_range():
    spec = specs.dense()
    known, unknown = (decode(spec, machine((24, gb_s))) for gb_s in (300, None))
    assert unknown.p90 / unknown.p10 > 3 * (known.p90 / known.p10)
    assert unknown.p10 < unknown.p50 < unknown.p90


def test_an_unknown_peak_makes_prompts_unsure():
    spec, card = specs.dense(), machine((24, 900))
    sure, guess = prefill(spec, with_cards(card, fp16_flops_s=80e12)), prefill(spec, card)
    assert guess.p90 / guess.p10 > 2 * (sure.p90 / sure.p10)


def test_what_this_machine_measured_moves_and_narrows_the_range():
    spec, card = specs.dense(), machine((24, 900))
    row = Calibration(
        "Card 0", "cuda", build="1", architecture="llama", decode_ratio=0.7, n_decode=3
    )
    profile = replace(SPEED, build="1", calibrations=(row,))
    before, after = decode(spec, card), decode(spec, card, profile=profile)
    assert after.p50 == pytest.approx(0.7 * before.p50, rel=0.02)
    assert after.p90 / after.p10 < 1.2
    assert prefill(spec, card, profile=profile) == prefill(spec, card)


def test_a_calibration_by_another_type_of_weights_is_less_sure_and_its_own_goes_before():
    entry = catalog.find("llama3.1:8b")
    spec = catalog.spec(entry, "Q8_0")
    card = machine((24, 900))
    other = Calibration("Card 0", "cuda", "1", "llama", "q4_0", decode_ratio=0.7, n_decode=9)
    own = Calibration("Card 0", "cuda", "1", "qwen3", "q8_0", decode_ratio=0.9, n_decode=1)
    plain, one, both = (
        decode(spec, card, profile=replace(SPEED, build="1", calibrations=rows))
        for rows in ((), (other,), (other, own))
    )
    assert one.p50 == pytest.approx(0.7 * plain.p50, rel=0.02)
    assert both.p50 == pytest.approx(0.9 * plain.p50, rel=0.02)
    assert both.p90 / both.p10 < one.p90 / one.p10


def test_what_larger_models_told_makes_nobody_sure_of_a_tiny_one():
    tiny = specs.dense(n_layers=5, n_embd=256, n_ff=512, n_head=4, n_head_kv=4, n_vocab=512)
    card = machine((24, 900))
    row = Calibration("Card 0", "cuda", "1", "llama", decode_ratio=0.7, n_decode=3)
    for profile in (SPEED, replace(SPEED, build="1", calibrations=(row,))):
        found = decode(tiny, card, profile=profile)
        assert found.p10 < 0.6 * found.p50
        assert found.p90 > 1.5 * found.p50


def test_a_calibration_of_another_device_changes_nothing():
    spec, card = specs.dense(), machine((24, 900))
    row = Calibration(
        "Other", "cuda", build="1", architecture="llama", decode_ratio=0.7, n_decode=3
    )
    assert decode(spec, card, profile=replace(SPEED, calibrations=(row,))) == decode(spec, card)
