"""Known sums: published ones, and what llama.cpp itself reserves (its graph_reserve, measured)."""

from dataclasses import replace

import pytest
import selector_specs as specs

from edgellm.selector.memory import (
    ContextShape,
    device_compute_bytes,
    host_compute_bytes,
    host_weight_bytes,
    kv_bytes,
    layer_kv_bytes,
    logits_bytes,
    output_bytes,
)
from edgellm.units import GIB, MIB


def shape(n_ctx: int = 32768, **changes) -> ContextShape:
    return replace(ContextShape(n_ctx, n_seq_max=1, n_ubatch=512, n_outputs_max=1), **changes)


def device_mib(spec, context, **changes) -> float:
    facts = {"holds_head": True, "n_accelerators": 1, "is_first": True, **changes}
    return device_compute_bytes(spec, context, **facts) / MIB


# ---- KV cache


def test_llama3_8b_keeps_one_gib_of_kv_at_8192_tokens():
    # 8192 × 32 layers × 8 heads × (128 + 128) × 2 bytes
    assert kv_bytes(specs.dense(), shape(8192)) == 1 * GIB


def test_q8_0_kv_is_17_32nds_of_f16():
    quantized = shape(8192, kv_type_k="q8_0", kv_type_v="q8_0")
    assert kv_bytes(specs.dense(), quantized) == GIB * 17 // 32


def test_llama_70b_keeps_2_5_gib_at_8k_and_32_sequences_of_it_80_gib():
    assert kv_bytes(specs.llama_70b(), shape(8192)) == int(2.5 * GIB)
    assert kv_bytes(specs.llama_70b(), shape(8192 * 32, n_seq_max=32)) == 80 * GIB


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


def test_an_encoder_keeps_nothing():
    assert kv_bytes(specs.bert(), shape(2048, embedding=True)) == 0


def test_contexts_are_padded_to_256_cells_per_stream():
    spec = specs.dense()
    assert kv_bytes(spec, shape(8000)) == kv_bytes(spec, shape(8192))
    # split: 8192 / 3 = 2730 cells, padded to 2816, three times
    split = shape(8192, n_seq_max=3, kv_unified=False)
    assert kv_bytes(spec, split) == GIB * 3 * 2816 // 8192


# ---- compute buffers: MiB that llama.cpp reserved on one CUDA device, 32k tokens, one output


@pytest.mark.parametrize(
    ("n_ubatch", "mib"), [(128, 62), (512, 248), (1024, 496), (2048, 992), (4096, 1984)]
)
def test_llama_70bs_compute_buffer_is_linear_in_the_micro_batch(n_ubatch, mib):
    assert device_mib(specs.llama_70b(), shape(n_ubatch=n_ubatch)) == mib


@pytest.mark.parametrize(
    ("spec", "mib", "tolerance_mib"),
    [
        (specs.llama_70b(), 248, 0),
        (specs.moe(), 116, 0),
        (specs.gemma3_27b(), 189, 2),
        (specs.deepseek_v3(), 410, 20),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_compute_buffer_is_what_llama_cpp_reserves(spec, mib, tolerance_mib):
    assert device_mib(spec, shape()) == pytest.approx(mib, abs=tolerance_mib + 0.5)


@pytest.mark.parametrize(
    ("spec", "mib"), [(specs.llama_70b(), 64), (specs.moe(), 40), (specs.deepseek_v3(), 60)]
)
def test_with_all_layers_elsewhere_the_host_keeps_the_inputs(spec, mib):
    total = host_compute_bytes(spec, shape(), n_layers=0, n_accelerators=1)
    assert (total - output_bytes(spec, shape())) / MIB == pytest.approx(mib, abs=0.5)


# n_ctx, sequences, unified, micro-batch, MiB: llama.cpp 0c1e57098 on a CPU, no_alloc, flash
# attention on, n_outputs_max = the sequences
@pytest.mark.parametrize(
    ("spec", "n_ctx", "n_seq_max", "kv_unified", "n_ubatch", "mib"),
    [
        (specs.dense(), 4096, 1, True, 512, 120.01),
        (specs.dense(), 32768, 4, True, 512, 148.01),
        (specs.dense(), 32768, 4, False, 512, 124.01),
        (specs.dense(), 8192, 1, True, 1024, 248.02),
        (specs.llama_70b(), 4096, 1, True, 512, 236.01),
        (specs.llama_70b(), 32768, 4, True, 512, 264.01),
        (specs.llama_70b(), 8192, 1, True, 1024, 480.02),
        (specs.llama2_13b(), 4096, 1, True, 512, 125.01),
        (specs.llama2_13b(), 32768, 4, False, 512, 129.01),
        (specs.moe(), 4096, 1, True, 512, 92.01),
        (specs.moe(), 32768, 4, True, 512, 120.01),
    ],
)
def test_on_a_cpu_the_compute_buffer_is_exact(spec, n_ctx, n_seq_max, kv_unified, n_ubatch, mib):
    context = ContextShape(n_ctx, n_seq_max, n_ubatch, n_seq_max, kv_unified=kv_unified)
    total = host_compute_bytes(spec, context, n_layers=spec.n_layers + 1, n_accelerators=0)
    assert (total - output_bytes(spec, context)) / MIB == pytest.approx(mib, abs=0.02)


def test_two_devices_work_as_a_pipeline_with_four_copies_of_the_inputs():
    spec = specs.llama_70b()
    first = device_mib(spec, shape(), n_accelerators=2, holds_head=False)
    second = device_mib(spec, shape(), n_accelerators=2, is_first=False)
    host = host_compute_bytes(spec, shape(), n_layers=0, n_accelerators=2)
    assert (first, second) == (408, 472)
    assert (host - output_bytes(spec, shape())) / MIB == 208


def test_split_kv_masks_one_stream_only():
    split = shape(n_seq_max=4, kv_unified=False)
    assert device_mib(specs.llama_70b(), split) == 224


def test_without_flash_attention_the_scores_are_kept_whole():
    spec, context = specs.llama_70b(), shape(8192, flash_attention=False)
    scores = 4 * 512 * 8192 * 64
    assert scores < device_mib(spec, context) * MIB < scores * 1.15


def test_logits_of_every_token_cost_more_than_the_layers():
    every = shape(n_outputs_max=2048)
    assert device_mib(specs.dense(), every) == 266.5
    assert device_mib(specs.dense(), shape()) < 150


def test_layers_left_to_the_host_cost_a_copy_of_their_largest_tensor():
    spec = specs.moe()
    copied = device_mib(spec, shape(), host_layers=spec.layers[:3]) - device_mib(spec, shape())
    assert copied == pytest.approx(spec.layers[0].expert_bytes * 0.42 / MIB)


def test_the_output_buffer_holds_a_row_of_logits_for_each_sequence():
    four = shape(n_seq_max=4, n_outputs_max=4)
    assert output_bytes(specs.dense(), four) == 4 * 4 * 128256
    assert logits_bytes(specs.bert(), shape(2048, embedding=True)) == 0


# ---- weights


def test_a_tied_head_is_a_second_copy_only_away_from_the_host():
    spec = specs.gemma3_27b()
    norm = 4 * spec.n_embd
    assert host_weight_bytes(spec, holds_head=True) == spec.input_bytes + norm
    assert host_weight_bytes(spec, holds_head=False) == spec.input_bytes
    assert spec.output_bytes == spec.input_bytes + norm


@pytest.mark.parametrize(
    ("spec", "gb"),
    [
        (specs.llama_70b("F16"), (140, 142)),
        (specs.llama_70b("Q4_K_M"), (40, 44)),
        (specs.llama2_13b("F16"), (25, 27)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_published_weight_sums_come_out(spec, gb):
    assert gb[0] * 10**9 < spec.weight_bytes < gb[1] * 10**9
