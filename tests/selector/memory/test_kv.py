"""Known sums: published ones, and what llama.cpp itself allocates."""

import pytest
import selector_specs as specs
from selector_layouts import kv_bytes, on_devices, shape

from edgellm.models.spec import LayerSpec
from edgellm.selector.memory.kv import (
    cumulated_kv_bytes,
    kv_bytes_of_parts,
    layer_kv_bytes,
)
from edgellm.units import GIB, MIB


def test_llama3_8b_keeps_one_gib_of_kv_at_8192_tokens():
    # 8192 × 32 layers × 8 heads × (128 + 128) × 2 bytes
    assert kv_bytes(specs.dense(), shape(8192)) == 1 * GIB


def test_q8_0_kv_is_17_32nds_of_f16():
    quantized = shape(8192, kv_type_k="q8_0", kv_type_v="q8_0")
    assert kv_bytes(specs.dense(), quantized) == GIB * 17 // 32


@pytest.mark.parametrize(
    ("n_seq_max", "changes", "mib"),
    [
        (1, {}, 3184),
        (4, {"kv_unified": True}, 4432),
        (4, {"kv_unified": False}, 5056),
        (1, {"swa_full": True}, 15872),
    ],
)
def test_gemmas_sliding_layers_keep_a_window_for_each_sequence(n_seq_max, changes, mib):
    assert kv_bytes(specs.gemma3_27b(), shape(n_seq_max=n_seq_max, **changes)) == mib * MIB


def test_a_latent_cache_has_no_v():
    assert kv_bytes(specs.deepseek_v3(), shape()) == 2196 * MIB


def test_recurrent_state_grows_with_sequences_and_not_with_context():
    spec = specs.lfm2_350m()
    layer = spec.layers[0]
    assert layer.kv_kind == "recurrent"
    assert layer_kv_bytes(spec, layer, shape(4096)) == layer.state_bytes
    assert layer_kv_bytes(spec, layer, shape(131072, n_seq_max=4)) == 4 * layer.state_bytes
    assert layer_kv_bytes(spec, layer, shape(n_rs_seq=2)) == 3 * layer.state_bytes


def test_a_layer_may_keep_a_cache_and_a_state():
    both = LayerSpec(1, "full", 2, 64, 64, state_bytes=1000)
    cache = LayerSpec(1, "full", 2, 64, 64)
    spec = specs.dense()
    context = shape(4096, n_seq_max=3)
    assert layer_kv_bytes(spec, both, context) == layer_kv_bytes(spec, cache, context) + 3000


def test_an_encoder_keeps_nothing():
    assert kv_bytes(specs.bert(), shape(2048, embedding=True)) == 0


def test_contexts_are_padded_to_256_cells_per_stream():
    spec = specs.dense()
    assert kv_bytes(spec, shape(8000)) == kv_bytes(spec, shape(8192))
    # split: 8192 / 3 = 2730 cells, padded to 2816, three times
    split = shape(8192, n_seq_max=3, kv_unified=False)
    assert kv_bytes(spec, split) == GIB * 3 * 2816 // 8192


def test_the_cache_lies_with_its_layers_and_none_is_lost():
    spec = specs.gemma3_27b()
    layout = on_devices(spec, 3, n_host=10)
    parts = kv_bytes_of_parts(spec, shape(), layout)
    up_to = cumulated_kv_bytes(spec, shape())
    assert parts[-1] == up_to[10]
    assert sum(parts) == up_to[-1]
