"""The oracle is llama.cpp itself, so these tests hold it against what llama.cpp says elsewhere: the
figures that it logged for real loads, and sums that follow from the header."""

import dataclasses
import json
import tarfile
from pathlib import Path

import pytest
from oracle_runs import CPU_ONLY, candidate, machine, of_catalog, placement, shape
from real_model import SHARED_MODELS, needs_shared_models

from edgellm.models.known.catalog import load_catalog
from edgellm.runner.oracle.layers import norm_layers
from edgellm.runner.oracle.oracle import LlamaOracle, ask
from edgellm.selector.memory.compute import output_bytes
from edgellm.selector.plan import Candidate
from edgellm.units import MIB

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    with LlamaOracle(tmp_path_factory.mktemp("answers")) as oracle:
        yield oracle


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """The folder with the headers of large models."""
    folder = tmp_path_factory.mktemp("headers")
    with tarfile.open(SHARED_MODELS / "headers.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


# ---- against llama.cpp's own figures


@needs_shared_models
def test_it_says_what_llama_cpp_logged_for_the_same_context(oracle, large):
    """memory_truth.json: split KV, logits for every token; each figure rounded to 0.01 MiB."""
    paths = {path.name: path for folder in (large, SHARED_MODELS) for path in folder.glob("*.gguf")}
    truth = json.loads((SHARED_MODELS / "memory_truth.json").read_text())
    rows = [row for row in truth if row["file"] in paths]
    candidates = {name: candidate(paths[name]) for name in {row["file"] for row in rows}}
    assert len(candidates) >= 15
    for row in rows:
        one = candidates[row["file"]]
        asked = shape(
            row["n_ctx"], row["seqs"], n_outputs_max=2048, kv_unified=False, kv_type_k=row["kv"],
            kv_type_v=row["kv"], flash_attention=bool(row["fa"]), embedding=one.spec.is_embedding,
        )  # fmt: skip
        (host,) = oracle.measure(one, asked, CPU_ONLY, machine())
        compute = host.compute_bytes - output_bytes(one.spec, asked)
        told_kv, told_compute = sum(row["kv_MiB"]) + sum(row["rs_MiB"]), sum(row["compute_MiB"])
        assert host.kv_bytes / MIB == pytest.approx(told_kv, abs=0.011), row
        assert compute / MIB == pytest.approx(told_compute, abs=0.006), row
        assert host.weight_bytes == pytest.approx(row["model_size"], rel=1e-4), row


@needs_shared_models
@pytest.mark.parametrize(
    ("file", "n_ctx", "kv", "backend", "compute_mib"),
    [
        ("llama-3.3-70b-q4_k_m", 32_768, "f16", "cuda", 248),
        ("llama-3.3-70b-q4_k_m", 131_072, "q8_0", "vulkan", 328),
        ("llama-3.3-70b-q4_k_m", 131_072, "q8_0", "cuda", 704),  # an F16 copy of one layer's cache
        ("qwen3-30b-a3b-q4_k_m", 131_072, "q8_0", "vulkan", 212),
        ("qwen3-30b-a3b-q4_k_m", 131_072, "q8_0", "cuda", 408),
    ],
)
def test_known_compute_buffers_come_out(oracle, large, file, n_ctx, kv, backend, compute_mib):
    """Sums that were published or worked out by hand: 12 × ub × (n_ff + n_embd) + mask, and CUDA's
    copy of 2 × n_kv × (n_embd_k + n_embd_v) bytes."""
    one = candidate(large / f"{file}-header.gguf")
    asked = shape(n_ctx, kv_type_k=kv, kv_type_v=kv)
    device, _ = oracle.measure(one, asked, placement(1), machine(24, backend=backend))
    assert device.compute_bytes / MIB == pytest.approx(compute_mib, abs=0.5)


@needs_shared_models
def test_a_model_in_parts_takes_what_it_takes_in_one_piece(oracle):
    whole, parts = (
        candidate(SHARED_MODELS / name)
        for name in (
            "stories260K-pad-f16.gguf", "stories260K-pad-split-f16-00001-of-00003.gguf",
        )
    )  # fmt: skip
    assert len(parts.headers) == 3
    measured = [oracle.measure(one, shape(), placement(1), machine(24)) for one in (whole, parts)]
    assert measured[0] is not None
    assert measured[0] == measured[1]


# ---- placements


def test_all_weights_are_counted_wherever_they_lie(oracle):
    one = of_catalog("qwen3:8b", "Q4_K_M")
    hosts = oracle.measure(one, shape(), CPU_ONLY, machine())
    for where in (placement(1), placement(1, n_gpu_layers=10), placement(2)):
        parts = oracle.measure(one, shape(), where, machine(24, 12))
        assert sum(part.weight_bytes for part in parts) == hosts[0].weight_bytes
        assert sum(part.kv_bytes for part in parts) == hosts[0].kv_bytes


def test_without_a_split_the_layers_go_by_the_devices_sizes(oracle):
    one = of_catalog("llama3.1:8b", "Q4_K_M")
    big, small, _ = oracle.measure(one, shape(), placement(2), machine(24, 12))
    assert (
        big.kv_bytes == 2 * small.kv_bytes + one_layer_kv(one) * 2
    )  # 22 layers and 10, and the head


def one_layer_kv(one: Candidate) -> int:
    layer = one.spec.layers[0]
    return 2 * 4096 * layer.n_head_kv * (layer.head_dim_k + layer.head_dim_v)


def test_a_tensor_split_is_obeyed(oracle):
    one = of_catalog("llama3.1:8b", "Q4_K_M")
    where = placement(2, tensor_split=(4.5, 28.5))
    first, second, _ = oracle.measure(one, shape(), where, machine(24, 24))
    assert first.kv_bytes == 5 * one_layer_kv(one)  # of 33 layers, those below 4.5/33
    assert second.kv_bytes == 27 * one_layer_kv(one)


def test_the_experts_of_the_first_layers_stay_with_the_cpu(oracle):
    one = of_catalog("qwen3:30b-a3b", "Q4_K_M")
    box = machine(24, backend="vulkan")  # which pads nothing
    every, _ = oracle.measure(one, shape(), placement(1), box)
    some, host = oracle.measure(one, shape(), placement(1, n_cpu_moe=12), box)
    experts = sum(layer.expert_bytes for layer in one.spec.layers[:12])
    assert every.weight_bytes - some.weight_bytes == experts
    assert host.weight_bytes == experts + one.spec.input_bytes
    assert some.kv_bytes == every.kv_bytes


def test_a_pipelines_devices_take_four_sets_of_inputs_and_no_more(oracle):
    """4 × (mask + a row of activations for each token) + 12 × ub × (n_ff + n_embd): 408 MiB.

    A real load over two ggml-rpc servers takes as much on each (scripts/bench/multi_device.py);
    llama.cpp's own estimate with `no_alloc` says 472 for the second.
    """
    one = of_catalog("llama3.3:70b", "Q4_K_M")
    first, second, _ = oracle.measure(one, shape(32_768), placement(2), machine(24, 24))
    assert first.compute_bytes / MIB == pytest.approx(408, abs=0.5)
    assert second.compute_bytes / MIB == pytest.approx(408, abs=0.5)


@pytest.mark.parametrize(
    ("n_gpu_layers", "split", "n_ubatch", "expected"),
    [
        (999, (4.5, 28.5), 512, [range(5), range(5, 33)]),
        (-1, (1.0, 1.0), 512, [range(17), range(17, 33)]),
        (20, (1.0, 1.0), 512, [None, None]),  # nothing is told while the host has layers …
        (20, (1.0, 1.0), 16, [range(13, 23), range(23, 33)]),  # … but for a few tokens
    ],
)
def test_norms_are_their_layers_devices(n_gpu_layers, split, n_ubatch, expected):
    where = placement(2, n_gpu_layers=n_gpu_layers, tensor_split=split)
    asked = ask(32, shape(n_ubatch=n_ubatch), where, machine(24, 24))
    assert norm_layers(asked) == expected


def test_llama_cpps_own_estimate_can_be_had_too():
    asked = ask(0, shape(), placement(2), machine(24, 24))
    assert norm_layers(asked) == [None, None]


def test_op_offload_costs_the_device_a_copy_of_the_largest_experts(oracle):
    one = of_catalog("qwen3:30b-a3b", "Q4_K_M")
    on, off = (
        oracle.measure(one, shape(), placement(1, n_cpu_moe=48, op_offload=flag), machine(24))
        for flag in (True, False)
    )
    largest = max(t.n_bytes for header in one.headers for t in header.tensors if "_exps" in t.name)
    assert on[0].compute_bytes - off[0].compute_bytes > largest / 2


def test_what_cannot_be_stood_in_for_is_not_answered(oracle, demo):
    assert oracle.measure(demo, shape(), placement(2, split_mode="row"), machine(24, 24)) is None
    bare = dataclasses.replace(demo, headers=())
    assert oracle.measure(bare, shape(), CPU_ONLY, machine()) is None


@pytest.mark.slow
def test_every_shape_of_the_catalog_is_one_that_llama_cpp_loads(oracle):
    """One of each architecture and family; F16 is a mix that every shape has."""
    families = {entry.name.partition(":")[0]: entry for entry in load_catalog()}
    for entry in (entry for entry in families.values() if entry.is_servable):
        one = of_catalog(entry.name, "F16")
        asked = shape(512, embedding=one.spec.is_embedding)
        assert oracle.measure(one, asked, CPU_ONLY, machine()) is not None, entry.name
