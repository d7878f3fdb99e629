from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import GB_S, machine

from edgellm.models.spec import LayerSpec
from edgellm.profiles import hardware_from_board, load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.memory import ContextShape
from edgellm.selector.plan import Goal, Placement, Share
from edgellm.selector.speed import active_bytes, decode_tok_s, prefill_tok_s

SPEED = load_profiles().speed
SHAPE = ContextShape(4096, n_seq_max=1, n_ubatch=512, n_outputs_max=1)


def on_one_card(spec, bandwidth_gb_s: float, name: str = "NVIDIA GeForce RTX 3090", depth=0):
    hardware = machine((192, bandwidth_gb_s))
    card = replace(hardware.devices[0], name=name)
    hardware = replace(hardware, devices=(card, *hardware.devices[1:]))
    share = Share("gpu0", "gpu0", tuple(range(spec.n_layers + 1)), 0, 0, 0)
    placement = Placement((share,), spec.n_layers + 1)
    return decode_tok_s(spec, SHAPE, placement, hardware, SPEED, depth)


@pytest.mark.parametrize(
    ("name", "gb_s", "tok_s"),
    [
        # llama.cpp discussion 15013, Llama-2-7B Q4_0 tg128
        ("NVIDIA GeForce RTX 3090", 936, 158),
        ("NVIDIA GeForce RTX 4090", 1008, 189),
        ("NVIDIA H100 80GB HBM3", 3350, 268),
        ("NVIDIA A100-SXM4-80GB", 2039, 191),
    ],
)
def test_published_decode_rates_lie_in_the_stated_range(name, gb_s, tok_s):
    bits = 4.55  # 3.56 GiB of 6.74 B parameters
    spec = specs.dense("7b", n_ff=11008, n_head_kv=32, n_vocab=32000, quant="Q4_K_M")
    ratio = bits / specs.BITS["Q4_K_M"]
    layers = tuple(
        replace(layer, weight_bytes=int(layer.weight_bytes * ratio)) for layer in spec.layers
    )
    rate = on_one_card(replace(spec, layers=layers), gb_s, name)
    assert rate.p10 <= tok_s <= rate.p90


@pytest.mark.parametrize(("gb_s", "roofline"), [(3350, 24), (1008, 7.2)])
def test_nothing_decodes_faster_than_memory_can_be_read(gb_s, roofline):
    assert on_one_card(specs.llama_70b("F16"), gb_s).p50 <= roofline


def test_a_deep_context_is_slower():
    shallow, deep = (on_one_card(specs.dense(), 1000, depth=depth) for depth in (0, 32768))
    assert deep.p50 < 0.7 * shallow.p50


def test_of_the_experts_only_the_used_are_read():
    spec = specs.moe()
    layer = spec.layers[0]
    dense = layer.weight_bytes - layer.expert_bytes
    assert active_bytes(spec, layer) == pytest.approx(dense + layer.expert_bytes / 16, rel=1e-6)
    assert active_bytes(spec, layer, 4096) == layer.weight_bytes


def test_times_add_over_devices():
    spec = specs.dense()
    hardware = machine((24, 500), (24, 500))
    one = Placement((Share("gpu0", "gpu0", tuple(range(33)), 0, 0, 0),), 33)
    two = Placement(
        (
            Share("gpu0", "gpu0", tuple(range(16)), 0, 0, 0),
            Share("gpu1", "gpu1", tuple(range(16, 33)), 0, 0, 0),
        ),
        33,
    )
    alone = decode_tok_s(spec, SHAPE, one, hardware, SPEED)
    together = decode_tok_s(spec, SHAPE, two, hardware, SPEED)
    assert together.p50 == pytest.approx(alone.p50, rel=0.01)
    assert together.p50 < alone.p50


def test_a_recurrent_state_is_read_and_written():
    spec = specs.lfm2_350m()
    heavy = tuple(
        replace(layer, state_bytes=10**9) if layer.kv_kind == "recurrent" else layer
        for layer in spec.layers
    )
    assert on_one_card(replace(spec, layers=heavy), 1000).p50 < 0.1 * on_one_card(spec, 1000).p50


def test_a_card_computes_prompts_for_layers_it_does_not_hold():
    spec, hardware = specs.llama_70b(), machine((24, 1000))
    hardware = replace(
        hardware, pools=tuple(replace(p, bandwidth_bytes_s=50 * GB_S) for p in hardware.pools)
    )
    shared = Placement(
        (
            Share("gpu0", "gpu0", tuple(range(41, 81)), 0, 0, 0),
            Share("cpu", "host", tuple(range(41)), 0, 0, 0),
        ),
        40,
    )
    alone = Placement((Share("cpu", "host", tuple(range(81)), 0, 0, 0),), 0)
    helped = prefill_tok_s(spec, SHAPE, shared, hardware, SPEED)
    assert helped.p50 > 3 * prefill_tok_s(spec, SHAPE, alone, hardware, SPEED).p50


def test_every_board_has_a_speed_for_a_small_model():
    layer = LayerSpec(10_000_000, "full", 2, 64, 64)
    spec = replace(specs.dense("tiny", n_embd=512, n_vocab=32000), layers=(layer,) * 8)
    for name in ("rpi5", "rtx4090", "m3-max-64"):
        plan = choose(hardware_from_board(name), [specs.candidate(spec)], Goal(), load_profiles())
        assert plan.decode_tok_s.p50 > 10
