"""What llama.cpp itself reserved: its graph_reserve, measured on virtual devices."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_layouts import on_devices, shape

from edgellm.selector.graph.replay import is_known
from edgellm.selector.memory.compute import compute_bytes, output_bytes
from edgellm.selector.memory.layout import HOST_ONLY
from edgellm.units import MIB


def mib(spec, context, layout) -> list[float]:
    """Each device's, then the host's without the output buffer."""
    *each, host = compute_bytes(spec, context, layout)
    return [n / MIB for n in (*each, host - output_bytes(spec, context))]


# ---- one device, 32k tokens, one output


@pytest.mark.parametrize(
    ("n_ubatch", "device_mib"), [(128, 62), (512, 248), (1024, 496), (2048, 992), (4096, 1984)]
)
def test_llama_70bs_compute_buffer_is_linear_in_the_micro_batch(n_ubatch, device_mib):
    spec = specs.llama_70b()
    device, _ = mib(spec, shape(n_ubatch=n_ubatch), on_devices(spec))
    assert device == pytest.approx(device_mib, rel=1e-4)


@pytest.mark.parametrize(
    ("spec", "device_mib", "host_mib"),
    [
        (specs.llama_70b(), 248.01, 64.01),
        (specs.moe(), 116.01, 40.01),
        (specs.gemma3_27b(), 188.52, 54.52),
        (specs.deepseek_v3(), 410.01, 60.01),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_buffers_are_what_llama_cpp_reserves(spec, device_mib, host_mib):
    assert mib(spec, shape(), on_devices(spec)) == pytest.approx([device_mib, host_mib], abs=0.01)


def test_split_kv_masks_one_stream_only():
    spec = specs.llama_70b()
    split = shape(n_seq_max=4, kv_unified=False)
    assert mib(spec, split, on_devices(spec))[0] == pytest.approx(224, abs=0.02)


def test_without_flash_attention_the_scores_are_kept_whole():
    spec, context = specs.llama_70b(), shape(8192, flash_attention=False)
    scores = 4 * 512 * 8192 * 64
    assert scores < mib(spec, context, on_devices(spec))[0] * MIB < scores * 1.15


def test_a_head_without_a_kernel_turns_flash_attention_off():
    odd = specs.dense(n_head=50, n_head_kv=10, head_dim=82, quant="F16")
    context = shape(8192)
    scores = 4 * 512 * 8192 * 50
    assert compute_bytes(odd, context, on_devices(odd))[0] > scores
    assert compute_bytes(odd, context, HOST_ONLY)[0] < scores


def test_many_sequences_turn_it_off_for_layers_with_the_host():
    # measured: each sequence's one token is a batch of 40, which op_offload takes
    spec = specs.llama_70b()
    many = shape(n_seq_max=40, n_outputs_max=40)
    found = mib(spec, many, on_devices(spec, n_host=41))
    assert found == pytest.approx([4485.5, 97.51], abs=0.01)


def test_a_quantized_cache_costs_an_f16_copy_of_a_layers_on_cuda():
    spec = specs.llama_70b()
    quantized = shape(131072, kv_type_k="q8_0", kv_type_v="q8_0")
    assert mib(spec, quantized, on_devices(spec))[0] == pytest.approx(704.09, abs=0.01)
    vulkan = mib(spec, quantized, on_devices(spec, backend="vulkan"))[0]
    assert vulkan < 360


def test_logits_of_every_token_cost_more_than_the_layers():
    spec = specs.dense()
    every = shape(n_outputs_max=2048)
    assert mib(spec, every, on_devices(spec))[0] == pytest.approx(258.5, abs=0.01)
    assert mib(spec, shape(), on_devices(spec))[0] < 150


# ---- several devices


def test_devices_work_as_a_pipeline_with_four_copies_of_the_inputs():
    spec = specs.llama_70b()
    assert mib(spec, shape(), on_devices(spec, 2)) == pytest.approx(
        [408.04, 408.04, 208.05], abs=0.01
    )


@pytest.mark.parametrize("changes", [{"n_host": 1}, {"n_cpu_moe": 1}, {"backend": "cann"}])
def test_what_is_not_whole_or_not_asynchronous_is_no_pipeline(changes):
    spec = specs.moe()
    copies = mib(spec, shape(), on_devices(spec, 2))[-1]
    assert mib(spec, shape(), on_devices(spec, 2, **changes))[-1] < 0.5 * copies


# ---- layers or experts with the host: device MiB, host MiB


@pytest.mark.parametrize(
    ("spec", "changes", "expected"),
    [
        (specs.llama_70b(), {"n_host": 41}, (411.75, 64.01)),
        (specs.llama_70b(), {"n_host": 41, "op_offload": False}, (232.01, 264.01)),
        (specs.moe(), {"n_cpu_moe": 48}, (249.51, 40.01)),
        (specs.deepseek_v3(), {"n_cpu_moe": 61}, (3176.01, 60.01)),
    ],
    ids=["layers", "layers, not offloaded", "experts", "large experts"],
)
def test_what_the_host_keeps_is_copied_for_a_prompt(spec, changes, expected):
    found = mib(spec, shape(), on_devices(spec, **changes))
    assert found == pytest.approx(expected, rel=1e-4)


def test_weights_are_copied_to_the_first_device_only():
    spec = specs.moe()
    first, second, _ = mib(spec, shape(), on_devices(spec, 2, n_cpu_moe=48))
    assert first > 2 * second


def test_all_quantizations_reserve_the_same_when_nothing_is_copied():
    layouts = [on_devices(spec) for spec in (specs.moe(quant="Q8_0"), specs.moe(quant="Q2_K"))]
    large, small = (
        compute_bytes(specs.moe(quant=quant), shape(), layout)
        for quant, layout in zip(("Q8_0", "Q2_K"), layouts, strict=True)
    )
    assert large == small


# ---- the host alone: n_ctx, sequences, unified, micro-batch, MiB of llama.cpp 0c1e57098 on a CPU


@pytest.mark.parametrize(
    ("spec", "n_ctx", "n_seq_max", "kv_unified", "n_ubatch", "expected"),
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
def test_on_a_cpu_the_compute_buffer_is_exact(
    spec, n_ctx, n_seq_max, kv_unified, n_ubatch, expected
):
    context = shape(
        n_ctx, n_seq_max=n_seq_max, n_ubatch=n_ubatch, n_outputs_max=n_seq_max,
        kv_unified=kv_unified,
    )  # fmt: skip
    assert mib(spec, context, HOST_ONLY) == pytest.approx([expected], abs=0.02)


# ---- outputs, and what nobody knows


def test_the_output_buffer_holds_a_row_of_logits_for_each_sequence():
    four = shape(n_seq_max=4, n_outputs_max=4)
    assert output_bytes(specs.dense(), four) == 4 * 4 * 128256


def test_an_embedding_models_outputs_are_logits_and_vectors():
    texts = shape(2048, n_outputs_max=512, embedding=True)
    assert output_bytes(specs.bert(), texts) == 4 * 512 * (30522 + 384)


def test_an_unknown_architecture_is_estimated_upwards_and_says_so():
    for spec in (specs.dense(), specs.llama_70b(), specs.moe(), specs.gemma3_27b()):
        stranger = replace(spec, architecture="nobody-knows")
        assert is_known(spec)
        assert not is_known(stranger)
        for layout in (on_devices(spec), on_devices(spec, 2), on_devices(spec, n_host=9)):
            pairs = zip(
                compute_bytes(stranger, shape(), layout),
                compute_bytes(spec, shape(), layout),
                strict=True,
            )
            assert all(exact <= guess < 3 * exact + 256 * MIB for guess, exact in pairs)


def test_a_spec_without_tensors_is_estimated_too():
    spec = specs.dense()
    bare = replace(spec, layers=tuple(replace(layer, tensors=()) for layer in spec.layers))
    assert not is_known(bare)
    guess, exact = (compute_bytes(s, shape(), on_devices(s))[0] for s in (bare, spec))
    assert exact <= guess < 3 * exact
