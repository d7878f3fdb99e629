"""Sums that public tables give, computed again from the models' true shapes.

GB are decimal where the tables say so: 70 B parameters of two bytes are 140 GB.
"""

import pytest
from selector_layouts import kv_bytes, shape
from selector_machines import machine

from edgellm.errors import DoesNotFit
from edgellm.models.known.catalog import find
from edgellm.models.known.shapes import shape_header
from edgellm.models.spec import ModelSpec, model_spec
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, Placement, Plan, Share
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_tok_s
from edgellm.units import GIB

GB = 10**9
PROFILES = load_profiles()


def spec_of(name: str, quant: str) -> ModelSpec:
    return model_spec([shape_header(find(name).shape, quant)], name, quant)


def cards(n: int, gib: float, ram: float = 256) -> Hardware:
    return machine(*[(gib, 936)] * n, ram=ram)


def plan_of(hardware: Hardware, spec: ModelSpec, **goal) -> Plan:
    candidate = Candidate(spec.name, f"{spec.name}.gguf", spec.quant, spec, spec.file_bytes)
    return choose(hardware, [candidate], Goal(**goal), PROFILES)


# ---- weights and caches


def test_70_b_in_f16_are_140_gb():
    assert spec_of("llama3.3:70b", "F16").weight_bytes == pytest.approx(140 * GB, rel=0.01)


@pytest.mark.parametrize("quant", ["IQ4_XS", "Q4_0", "Q4_K_S", "Q4_K_M"])
def test_70_b_in_four_bits_are_35_to_43_gb(quant: str):
    assert 35 * GB < spec_of("llama3.3:70b", quant).weight_bytes < 43 * GB


def test_a_conversation_of_8k_with_a_70_b_model_keeps_two_and_a_half_gib():
    assert kv_bytes(spec_of("llama3.3:70b", "Q4_K_M"), shape(8192)) == 2.5 * GIB


def test_thirty_two_of_them_keep_80_gib():
    spec = spec_of("llama3.3:70b", "Q4_K_M")
    for unified in (True, False):
        context = shape(32 * 8192, n_seq_max=32, kv_unified=unified)
        assert kv_bytes(spec, context) == 80 * GIB


# ---- who holds what, all of it on the cards

FITS = [
    ("llama2:7b", "F16", 1, 24),
    ("llama2:13b", "F16", 2, 24),
    ("llama:30b", "F16", 4, 20),
    ("llama:30b", "F16", 2, 48),
    ("llama2:70b", "F16", 8, 24),
    ("llama2:70b", "F16", 4, 48),
    ("glm-130b:130b", "Q8_0", 2, 80),
    ("llama3.3:70b", "Q4_K_M", 2, 24),
]
TOO_MUCH = [
    ("llama2:13b", "F16", 1, 24),
    ("llama:30b", "F16", 3, 20),
    ("llama:30b", "F16", 1, 48),
    ("llama2:70b", "F16", 5, 24),
    ("llama2:70b", "F16", 2, 48),
    ("glm-130b:130b", "Q8_0", 1, 80),
    ("gemma3:27b", "F16", 2, 24),
    ("llama3.3:70b", "Q4_K_M", 1, 24),
]


@pytest.mark.parametrize(("name", "quant", "n_cards", "gib"), FITS)
def test_a_model_is_whole_on_cards_that_hold_it(name: str, quant: str, n_cards: int, gib: int):
    spec = spec_of(name, quant)
    plan = plan_of(cards(n_cards, gib), spec, n_gpu_layers=-1)
    assert plan.placement.n_gpu_layers == spec.n_layers + 1
    assert all(share.total_bytes < gib * GIB for share in plan.shares[:-1])


@pytest.mark.parametrize(("name", "quant", "n_cards", "gib"), TOO_MUCH)
def test_it_is_refused_where_they_do_not(name: str, quant: str, n_cards: int, gib: int):
    with pytest.raises(DoesNotFit):
        plan_of(cards(n_cards, gib), spec_of(name, quant), n_gpu_layers=-1)


def test_gemma_27_b_in_f16_is_refused_on_two_cards_of_24_gb_and_little_ram():
    with pytest.raises(DoesNotFit, match="Card 0"):
        plan_of(cards(2, 24, ram=8), spec_of("gemma3:27b", "F16"))


def test_70_b_in_four_bits_has_the_context_that_is_left_on_two_cards():
    spec = spec_of("llama3.3:70b", "Q4_K_M")
    left = 48 * GIB - spec.weight_bytes
    plan = plan_of(cards(2, 24), spec, n_gpu_layers=-1, kv_type_k="f16", kv_type_v="f16")
    kept = sum(share.kv_bytes for share in plan.shares)
    assert 2.5 * GIB <= kept < left
    longest = int(8192 * left / (2.5 * GIB))
    with pytest.raises(DoesNotFit):
        plan_of(
            cards(2, 24), spec, n_gpu_layers=-1, n_ctx=longest, kv_type_k="f16", kv_type_v="f16"
        )


# ---- rooflines


@pytest.mark.parametrize(("gb_s", "roofline_tok_s"), [(3350, 24), (1008, 7.2)])
def test_nothing_reads_140_gb_faster_than_its_memory_can(gb_s: float, roofline_tok_s: float):
    spec = spec_of("llama3.3:70b", "F16")
    share = Share("gpu0", "gpu0", tuple(range(spec.n_layers + 1)), 0, 0, 0)
    placement = Placement((share, Share("cpu", "host", (), 0, 0, 0)), spec.n_layers + 1)
    setup = Setup(spec, shape(4096), placement, machine((192, gb_s)), PROFILES.speed)
    rate = decode_tok_s(setup, depth=0)
    assert 0.5 * roofline_tok_s < rate.p50 <= roofline_tok_s
