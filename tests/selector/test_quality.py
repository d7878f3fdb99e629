from dataclasses import replace

import pytest
import selector_specs as specs

from edgellm.profiles import load_profiles
from edgellm.selector.quality import kld_of_bits, kv_kld, weight_kld

QUALITY = load_profiles().quality


def loss(quant: str, spec=None) -> float:
    return weight_kld(QUALITY, quant, spec or specs.dense())


def test_the_usual_ladder_is_in_order():
    ladder = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "IQ3_XXS", "Q2_K", "IQ1_S"]
    losses = [loss(quant) for quant in ladder]
    assert losses == sorted(losses)


@pytest.mark.parametrize("label", ["q4_k_m", "UD-Q4_K_M", "i1-Q4_K_M", "Q4_K_M_L", "Q4_K_M_XL"])
def test_the_dialects_of_a_label_are_one(label):
    assert loss(label) == loss("Q4_K_M")


def test_an_unknown_label_is_placed_by_its_real_bits():
    spec = specs.dense()
    between = replace(spec, file_bytes=int(spec.n_params * 5.2 / 8))
    assert loss("Q5_K_S") < loss("UD-Q4_K_XL", between) < loss("Q4_1")
    assert loss("SOMETHING", replace(spec, file_bytes=spec.n_params * 8)) == kld_of_bits(
        QUALITY, 64
    )


def test_a_q8_0_cache_costs_almost_nothing_and_q4_0_some():
    assert kv_kld(QUALITY, "f16", "f16") == 0
    assert kv_kld(QUALITY, "q8_0", "q8_0") < 0.002 < kv_kld(QUALITY, "q4_0", "q4_0") < 0.01
