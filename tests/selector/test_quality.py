import json
from dataclasses import replace

import numpy as np
import pytest
import selector_specs as specs
from models_fakes import SHARED_MODELS, needs_shared_models

from edgellm.models.anatomy.tensor_types import TypeShare
from edgellm.models.known.catalog import find
from edgellm.models.known.shapes import shape_header
from edgellm.models.local import read_header
from edgellm.models.quants import BY_NAME
from edgellm.models.spec import model_spec
from edgellm.profiles import load_profiles
from edgellm.selector.quality import kld_of_bits, kv_kld, weight_kld

QUALITY = load_profiles().quality


def loss(quant: str, spec=None) -> float:
    return weight_kld(QUALITY, quant, spec or labelled())


def labelled():
    """A model whose types nobody told, so that its label counts."""
    return replace(specs.dense(), types=())


def test_the_usual_ladder_is_in_order():
    ladder = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "IQ3_XXS", "Q2_K", "IQ1_S"]
    losses = [loss(quant) for quant in ladder]
    assert losses == sorted(losses)


@pytest.mark.parametrize("label", ["q4_k_m", "UD-Q4_K_M", "i1-Q4_K_M", "Q4_K_M_L", "Q4_K_M_XL"])
def test_the_dialects_of_a_label_are_one(label):
    assert loss(label) == loss("Q4_K_M")


def test_an_unknown_label_is_placed_by_its_real_bits():
    spec = replace(specs.dense(), types=())
    between = replace(spec, file_bytes=int(spec.n_params * 5.2 / 8))
    assert loss("Q5_K_S") < loss("UD-Q4_K_XL", between) < loss("Q4_1")
    assert loss("SOMETHING", replace(spec, file_bytes=spec.n_params * 8)) == kld_of_bits(
        QUALITY, 64
    )


def test_a_q8_0_cache_costs_almost_nothing_and_q4_0_some():
    assert kv_kld(QUALITY, "f16", "f16") == 0
    assert kv_kld(QUALITY, "q8_0", "q8_0") < 0.002 < kv_kld(QUALITY, "q4_0", "q4_0") < 0.01


# ---- by the types in the header


def shares(**types: str) -> tuple[TypeShare, ...]:
    """A million weights in each class."""
    return tuple(TypeShare(kind, name, 1_000_000) for kind, name in types.items())


def of_types(architecture="llama", tied=False, imatrix=None, **types: str) -> float:
    spec = replace(
        specs.dense(),
        architecture=architecture,
        tied_embeddings=tied,
        imatrix=imatrix,
        types=shares(**types),
    )
    return weight_kld(QUALITY, "Q4_K_M", spec)


def test_the_types_of_a_real_mix_give_about_what_was_measured_for_its_label():
    entry = find("llama3.1:8b")
    for quant in ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q3_K_M", "Q2_K"):
        spec = model_spec([shape_header(entry.shape, quant)], entry.name, quant)
        assert loss(quant, spec) == pytest.approx(loss(quant), rel=0.2)


def test_one_label_is_two_qualities_when_its_makers_spent_the_bits_elsewhere():
    plain = of_types(attention="q4_k", ffn_down="q4_k", ffn="q4_k")
    careful = of_types(attention="q6_k", ffn_down="q6_k", ffn="q4_k")
    careless = of_types(attention="q4_k", ffn_down="iq2_s", ffn="q4_k")
    assert careful < plain < careless / 2


def test_good_attention_cannot_make_up_for_poor_experts():
    poor = of_types(attention="q4_k", ffn_down="iq2_xxs", ffn="iq2_xxs")
    mended = of_types(attention="q8_0", ffn_down="iq2_xxs", ffn="iq2_xxs")
    assert 0.9 * poor < mended < poor


def test_without_an_importance_matrix_a_type_loses_more():
    made = {name: of_types(ffn="q2_k", imatrix=name) for name in (True, False, None)}
    assert made[False] > 1.5 * made[True]
    assert made[None] == made[True], "published files are made with one"


def test_a_type_that_the_model_was_trained_in_loses_nothing():
    assert of_types("gpt-oss", ffn="mxfp4") == 0
    assert of_types("qwen3moe", ffn="mxfp4") > 0.01


def test_tied_embeddings_are_the_head_too():
    types = {"embedding": "q2_k", "ffn": "q8_0"}
    assert of_types(tied=True, **types) > 1.5 * of_types(tied=False, **types)


def test_every_type_that_is_known_has_a_loss():
    for name in BY_NAME:
        assert 0 < of_types(ffn=name) < 10


@needs_shared_models
def test_real_files_of_one_model_are_in_the_order_of_their_perplexity():
    told = json.loads((SHARED_MODELS / "quality.json").read_text())
    rows = []
    for path in sorted(SHARED_MODELS.glob("stories260K-pad-*.gguf")):
        if path.name in told:
            header = read_header(path)
            rows.append((loss("?", model_spec([header], path.name)), told[path.name]["ppl"]))
    assert len(rows) >= 6
    ranks = [[sorted(column).index(x) for x in column] for column in zip(*rows, strict=True)]
    assert np.corrcoef(ranks)[0, 1] > 0.9
