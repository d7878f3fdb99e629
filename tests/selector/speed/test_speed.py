"""How fast one conversation is on one device."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine
from selector_speeds import SHAPE, SPEED, decode, prefill, whole

from edgellm.models.known import catalog
from edgellm.models.spec import LayerSpec
from edgellm.probe.known.boards import hardware_from_board
from edgellm.probe.known.described import hardware_from_devices
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import ttft_s


@pytest.mark.parametrize(
    ("device", "tok_s"),
    [
        # llama.cpp discussion 15013, Llama-2-7B Q4_0 tg128; August 2025
        ("RTX 4090", 189),
        ("RTX 5090", 277),
        ("H100 SXM 80GB", 268),
        ("A100 SXM 80GB", 191),
        ("RTX 5060 Ti 16GB", 91),
    ],
)
def test_published_decode_rates_lie_in_the_stated_range(device, tok_s):
    spec = catalog.spec(catalog.find("llama2:7b"), "Q4_0")
    rate = decode(spec, hardware_from_devices([device]), depth=64)
    assert rate.p10 <= tok_s <= rate.p90


@pytest.mark.parametrize(("gb_s", "roofline"), [(3350, 24.1), (1008, 7.25)])
def test_nothing_decodes_faster_than_memory_can_be_read(gb_s, roofline):
    rate = decode(specs.llama_70b("F16"), machine((192, gb_s)))
    assert rate.p50 < rate.p90 <= roofline


def test_a_deep_context_is_slower():
    spec, card = specs.dense(), machine((192, 1000))
    assert decode(spec, card, depth=32768).p50 < 0.7 * decode(spec, card, depth=0).p50
    assert prefill(spec, card, depth=32768).p50 < 0.7 * prefill(spec, card, depth=0).p50


def test_without_flash_attention_depth_costs_more():
    spec, card = specs.dense(), machine((192, 1000))
    plain = replace(SHAPE, flash_attention=False)
    assert decode(spec, card, depth=0, shape=plain).p50 == decode(spec, card, depth=0).p50
    assert decode(spec, card, depth=8192, shape=plain).p50 < decode(spec, card, depth=8192).p50


def test_a_quantized_cache_is_read_sooner():
    spec, card = specs.dense(), machine((192, 1000))
    small = replace(SHAPE, kv_type_k="q8_0", kv_type_v="q8_0")
    deep = {"depth": 65536}
    assert decode(spec, card, shape=small, **deep).p50 > 1.2 * decode(spec, card, **deep).p50


def test_an_orin_multiplies_as_an_a100_of_its_size():
    """Their matrix units are alike: 16 of them at 1.3 GHz beside 108 at 1.41."""
    spec = catalog.spec(catalog.find("llama2:7b"), "Q4_0")
    orin, a100 = (
        prefill(spec, hardware_from_devices([name])).p50
        for name in ("Jetson AGX Orin 64GB", "A100 SXM 80GB")
    )
    assert orin / a100 == pytest.approx(16 * 1.3 / (108 * 1.41), rel=0.25)


@pytest.mark.parametrize("device", ["P40", "RTX 3090"])
def test_fewer_bits_are_not_always_faster(device):
    """Tesla P40, Llama-7B: Q2_K 33.5 tok/s, Q3_K_S 30.9, Q4_K_S 54.2 (llama.cpp PR 4766)."""
    hardware = hardware_from_devices([device])
    entry = catalog.find("llama2:7b")
    q2, q4 = (decode(catalog.spec(entry, quant), hardware).p50 for quant in ("Q2_K", "Q4_K_M"))
    assert (q2 < q4) == (device == "P40")


def test_the_first_token_of_a_longer_prompt_comes_later():
    spec, card = specs.dense(), machine((24, 900))
    setup = Setup(spec, SHAPE, whole(spec, card), card, SPEED)
    times = [ttft_s(setup, n) for n in (1, 100, 2048, 8192)]
    assert [t.p50 for t in times] == sorted(t.p50 for t in times)
    assert all(t.p10 < t.p50 < t.p90 for t in times)


def test_older_builds_were_slower():
    spec, card = specs.dense(), machine((24, 900))
    assert decode(spec, card, profile=SPEED.of_build(3000)).p50 < decode(spec, card).p50
    assert SPEED.of_build(10**6).families == SPEED.families


def test_every_board_has_a_speed_for_a_small_model():
    layer = LayerSpec(10_000_000, "full", 2, 64, 64)
    spec = replace(specs.dense("tiny", n_embd=512, n_vocab=32000), layers=(layer,) * 8)
    for name in ("rpi5", "rtx4090", "m3-max-64"):
        plan = choose(hardware_from_board(name), [specs.candidate(spec)], Goal(), load_profiles())
        assert plan.decode_tok_s.p50 > 10
