"""Several conversations in one step."""

from itertools import pairwise

import pytest
import selector_specs as specs
from selector_machines import machine
from selector_speeds import SPEED, decode

from edgellm.models.known import catalog
from edgellm.probe.known import catalog as devices
from edgellm.probe.known.described import hardware_from_devices


def test_streams_together_are_faster_than_one_and_slower_than_so_many():
    spec, card = specs.dense(), machine((80, 1000))
    rates = [decode(spec, card, n_streams=n, depth=1000).p50 for n in (1, 4, 16, 64)]
    assert rates == sorted(rates)
    assert rates[2] < 16 * rates[0]


def test_weights_are_read_once_for_all_streams():
    """8B on a card of 3.3 TB/s: a step of four streams takes less than two of one."""
    spec = catalog.spec(catalog.find("llama3.1:8b"), "Q4_K_M")
    card = hardware_from_devices(["H100 SXM 80GB"])
    rates = [decode(spec, card, n_streams=n).p50 for n in (1, 4, 8)]
    assert rates[1] > 2 * rates[0]
    assert rates[2] > 1.2 * rates[1]


@pytest.mark.parametrize(
    ("n_tokens", "tok_s"),
    # llama.cpp PR 15131 (10 and 16) and PR 7676, RTX 4090, Llama-3-8B Q4_0, pp512 in micro-batches:
    # as many rows a step as there would be streams, but one cache.
    [(10, 1217), (16, 1931), (32, 3427), (64, 5420), (128, 7443)],
)
def test_steps_of_several_rows_take_as_long_as_published(n_tokens, tok_s):
    spec = catalog.spec(catalog.find("llama3:8b"), "Q4_0")
    rate = decode(spec, hardware_from_devices(["RTX 4090"]), n_streams=n_tokens, depth=2)
    assert rate.p50 == pytest.approx(tok_s, rel=0.15)


def test_one_die_computes_alike_whatever_memory_is_beside_it():
    """A step of some streams waits for the vector lanes: faster memory then saves only reading."""
    spec = catalog.spec(catalog.find("llama3.3:70b"), "Q4_K_M")
    h100, h200 = (hardware_from_devices([f"H{n}"]) for n in ("100 SXM 80GB", "200 SXM 141GB"))
    same = [one.accelerators[0].vector_flops_s for one in (h100, h200)]
    assert same[0] == same[1] > 0
    alone = decode(spec, h200).p50 / decode(spec, h100).p50
    eight = (decode(spec, one, n_streams=8, depth=0).p50 for one in (h200, h100))
    together = next(eight) / next(eight)
    assert alone < 4800 / 3350
    assert 1 <= together < 1.2
    small, large = (hardware_from_devices([f"A100 SXM {gb}GB"]) for gb in (40, 80))
    assert small.accelerators[0].vector_flops_s == large.accelerators[0].vector_flops_s


def test_where_the_matrix_units_are_no_measure_every_known_die_tells_its_lanes():
    """Else it would get them by its memory's bandwidth, which its sisters don't share."""
    by_lanes = [family for family in SPEED.families if family.vector_flops_per_byte is not None]
    dies = [
        device
        for row in devices.load().device
        for device in hardware_from_devices([row.name]).accelerators
        if SPEED.family(device) in by_lanes
    ]
    assert len(dies) > 15
    assert [device.name for device in dies if device.vector_flops_s is None] == []


@pytest.mark.parametrize("device", ["H100 SXM 80GB", "RTX 4090", "GB10", "M2 Ultra"])
@pytest.mark.parametrize(
    ("model", "quant"),
    [
        ("llama3.1:8b", "Q4_K_M"),
        ("gpt-oss:20b", "MXFP4"),
        ("qwen3:30b-a3b", "Q2_K"),
        ("mixtral:8x7b", "Q4_K_M"),
    ],
)
def test_no_step_with_more_streams_is_a_shorter_one(device, model, quant):
    spec, card = catalog.spec(catalog.find(model), quant), hardware_from_devices([device])
    step_s = [n / decode(spec, card, n_streams=n).p50 for n in range(1, 70)]
    assert all(after >= 0.9999 * before for before, after in pairwise(step_s))


def test_streams_gain_less_with_experts_of_their_own():
    card = machine((80, 1000))
    dense, moe = (
        decode(spec, card, n_streams=8).p50 / decode(spec, card).p50
        for spec in (specs.dense(), specs.moe())
    )
    assert moe < dense


def test_up_to_how_many_streams_read_experts_apart_depends_on_the_build():
    """GB10, gpt-oss-20b, 512 tokens of context, b7941 (llama.cpp benches/dgx-spark)."""
    spec = catalog.spec(catalog.find("gpt-oss:20b"), "MXFP4")
    card, then = hardware_from_devices(["GB10"]), SPEED.of_build(7941)
    for n, tok_s in ((1, 80.1), (2, 109.7), (4, 156.0), (8, 271.8), (16, 436.4)):
        rate = decode(spec, card, profile=then, n_streams=n, depth=528)
        assert rate.p50 == pytest.approx(tok_s, rel=0.15)
    assert {family.n_apart for family in then.families if family.backend == "cuda"} == {4}


def test_before_recorded_graphs_served_them_several_streams_were_slower():
    spec, card = specs.dense(), hardware_from_devices(["RTX 4090"])
    old = SPEED.of_build(8000)
    four = [decode(spec, card, profile=profile, n_streams=4).p50 for profile in (old, SPEED)]
    one = [decode(spec, card, profile=profile).p50 for profile in (old, SPEED)]
    assert four[0] < 0.9 * four[1]
    assert one[0] == pytest.approx(one[1], rel=0.05)
