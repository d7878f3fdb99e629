"""The oracle is llama.cpp itself, so these tests hold it against what llama.cpp says elsewhere: the
figures that it logged for real loads, and sums that follow from the header."""

import dataclasses
import json
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil
import pytest
from gguf_files import llama_bytes
from real_model import SHARED_MODELS, demo_path, needs_shared_models

from edgellm.models.gguf.header import GGUFHeader, parse_header
from edgellm.models.known.catalog import find, load_catalog
from edgellm.models.known.shapes import shape_header
from edgellm.models.local import read_headers
from edgellm.models.spec import model_spec
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.runner.oracle.layers import norm_layers
from edgellm.runner.oracle.oracle import LlamaOracle, ask
from edgellm.runner.sandbox import landlock
from edgellm.selector.memory.compute import output_bytes
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import Candidate, Placement, Share
from edgellm.units import GIB, MIB

pytestmark = pytest.mark.model

CPU = Cpu("a CPU", 8, 16, ())
HOST = Share("cpu", "host", (), 0, 0, 0)
CPU_ONLY = Placement((HOST,), 0)


def machine(*sizes_gib: int, backend="cuda") -> Hardware:
    devices = [Device(f"d{i}", "?", "?", backend, f"d{i}") for i in range(len(sizes_gib))]
    pools = [
        MemoryPool(f"d{i}", "dedicated", size * GIB, size * GIB) for i, size in enumerate(sizes_gib)
    ]
    host = MemoryPool("host", "host", 64 * GIB, 64 * GIB)
    return Hardware((*devices, Device("cpu", "?", "?", "cpu", "host")), (*pools, host), CPU)


def placement(n_devices: int, **changes) -> Placement:
    shares = tuple(Share(f"d{i}", f"d{i}", (), 0, 0, 0) for i in range(n_devices))
    return Placement((*shares, HOST), **({"n_gpu_layers": 999} | changes))


def shape(n_ctx=4096, n_seq_max=1, **changes) -> ContextShape:
    values = {"n_ubatch": 512, "n_outputs_max": n_seq_max} | changes
    return ContextShape(n_ctx=n_ctx, n_seq_max=n_seq_max, **values)


def candidate(path: Path) -> Candidate:
    headers = read_headers(path)
    spec = model_spec(headers, path.name)
    return Candidate(path.name, path.name, spec.quant, spec, spec.file_bytes, headers=headers)


def of_catalog(name: str, quant: str) -> Candidate:
    header = shape_header(find(name).shape, quant)
    spec = model_spec((header,), name)
    return Candidate(name, name, quant, spec, spec.file_bytes, headers=(header,))


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    with LlamaOracle(tmp_path_factory.mktemp("answers")) as oracle:
        yield oracle


@pytest.fixture(scope="module")
def demo() -> Candidate:
    return candidate(demo_path())


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


# ---- what may go wrong


def broken() -> Candidate:
    """A header that reads well and that llama.cpp ends its process over: no epsilon, no head."""
    header = parse_header(llama_bytes())
    assert isinstance(header, GGUFHeader)
    spec = model_spec((header,), "broken")
    return Candidate("broken", "broken", "?", spec, 0, headers=(header,))


def test_a_header_that_ends_the_child_costs_that_answer_only(tmp_path, demo):
    with LlamaOracle(tmp_path) as oracle:
        before = oracle.measure(demo, shape(), CPU_ONLY, machine())
        hostile = broken()
        for n_ctx in (512, 1024, 2048, 4096):
            assert oracle.measure(hostile, shape(n_ctx), CPU_ONLY, machine()) is None
        after = oracle.measure(demo, shape(), CPU_ONLY, machine())
        other = oracle.measure(demo, shape(512), CPU_ONLY, machine())
    assert before is not None
    assert before == after
    assert other is not None


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_a_header_is_read_in_a_sandbox(tmp_path, demo):
    def children():
        return {one.pid for one in psutil.Process().children()}

    before = children()
    with LlamaOracle(tmp_path) as oracle:
        assert oracle.measure(demo, shape(), CPU_ONLY, machine()) is not None
        (pid,) = children() - before
        rights = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    assert {one.partition("NoNewPrivs:")[2].split()[0] for one in rights} == {"1"}


def test_an_absurd_vocabulary_is_not_tried_at_the_machines_expense(tmp_path, demo):
    """llama.cpp makes a token of each; four billion are 160 GB."""
    absurd = dataclasses.replace(demo, spec=dataclasses.replace(demo.spec, n_vocab=2**32 - 1))
    with LlamaOracle(tmp_path) as oracle:
        begun_s = time.monotonic()
        assert oracle.measure(absurd, shape(), CPU_ONLY, machine()) is None
        assert time.monotonic() - begun_s < 20  # it starts, fails, and is gone
        assert oracle.measure(demo, shape(), CPU_ONLY, machine()) is not None


def test_threads_get_their_own_answers(tmp_path, demo):
    """A gateway plans in several at once."""
    contexts = [512 * n for n in range(1, 17)]
    with LlamaOracle(tmp_path) as oracle, ThreadPoolExecutor(8) as pool:
        told = list(
            pool.map(lambda n: oracle.measure(demo, shape(n), CPU_ONLY, machine()), contexts)
        )
    each = [rows[0].kv_bytes for rows in told]
    assert each == [n * each[0] // 512 for n in contexts]


def test_an_answer_is_kept_and_a_broken_file_of_answers_is_not_believed(tmp_path, demo):
    with LlamaOracle(tmp_path) as oracle:
        told = oracle.measure(demo, shape(), placement(1), machine(24))
    (file,) = tmp_path.iterdir()
    kept = msgspec.msgpack.decode(file.read_bytes())
    (key,) = kept["answers"]
    kept["answers"][key][0][0] += 1  # a byte that nobody but the file can have told
    file.write_bytes(msgspec.msgpack.encode(kept))
    with LlamaOracle(tmp_path) as oracle:
        again = oracle.measure(demo, shape(), placement(1), machine(24))
    assert again[0].weight_bytes == told[0].weight_bytes + 1
    file.write_bytes(b"\xff" + file.read_bytes())
    with LlamaOracle(tmp_path) as oracle:
        assert oracle.measure(demo, shape(), placement(1), machine(24)) == told


def test_the_child_comes_up_for_a_model_that_was_never_asked_about(tmp_path, demo):
    def n_children() -> int:
        return len(psutil.Process().children())

    n_before = n_children()
    with LlamaOracle(tmp_path) as first:
        first.expect(demo)
        assert n_children() == n_before + 1
        told = first.measure(demo, shape(), CPU_ONLY, machine())
        assert n_children() == n_before + 1
    assert n_children() == n_before

    with LlamaOracle(tmp_path) as second:
        second.expect(demo)
        assert second.measure(demo, shape(), CPU_ONLY, machine()) == told
        assert n_children() == n_before


def test_answers_of_another_llama_cpp_are_not_believed(tmp_path, demo):
    with LlamaOracle(tmp_path) as oracle:
        told = oracle.measure(demo, shape(), placement(1), machine(24))
    (file,) = tmp_path.iterdir()
    kept = msgspec.msgpack.decode(file.read_bytes())
    (key,) = kept["answers"]
    kept["answers"][key][0][0] += 1
    kept["version"] = "0.0.1/1"
    file.write_bytes(msgspec.msgpack.encode(kept))
    with LlamaOracle(tmp_path) as oracle:
        assert oracle.measure(demo, shape(), placement(1), machine(24)) == told


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path, demo):
    (tmp_path / "file").write_text("not a folder")
    with LlamaOracle(tmp_path / "file" / "below") as oracle:
        assert oracle.measure(demo, shape(), CPU_ONLY, machine()) is not None


def test_one_answer_serves_every_machine_that_it_is_true_of(demo):
    """Sizes are in the question only where llama.cpp would split by them."""
    n = demo.spec.n_layers
    one = ask(n, shape(), placement(1), machine(24))
    assert one == ask(n, shape(), placement(1), machine(80))
    assert one != ask(n, shape(), placement(1), machine(24, backend="vulkan"))
    assert ask(n, shape(), placement(2), machine(24, 24)) != ask(
        n, shape(), placement(2), machine(24, 12)
    )
    split = placement(2, tensor_split=(1.0, 2.0))
    assert ask(n, shape(), split, machine(24, 24)) == ask(n, shape(), split, machine(24, 12))


_WITHOUT_SYMBOL = """
import sys
from pathlib import Path
import msgspec
from edgellm.models.local import read_headers
from edgellm.models.gguf.skeleton import write_skeletons
from edgellm.runner.llama.oracle import LlamaMemory
from edgellm.runner.oracle.messages import Question
question = msgspec.json.decode(sys.argv[1], type=Question)
for symbols in ((), None):
    memory = LlamaMemory() if symbols is None else LlamaMemory(symbols)
    print(msgspec.json.encode(memory.answer(question)).decode())
"""


def test_without_the_symbol_the_log_tells_the_cpus_part(tmp_path, demo):
    """The C API alone: KV cache and compute as in the full answer, rounded to 0.01 MiB."""
    from edgellm.models.gguf.skeleton import write_skeletons

    path = write_skeletons(demo.headers, demo.spec.n_vocab, tmp_path)
    question = ask(demo.spec.n_layers, shape(32_768), CPU_ONLY, machine())
    question = msgspec.structs.replace(question, path=str(path))
    asked = [sys.executable, "-c", _WITHOUT_SYMBOL, msgspec.json.encode(question).decode()]
    lines = subprocess.run(asked, capture_output=True, check=True).stdout.splitlines()
    (logged,), (full,) = (json.loads(line)["rows"] for line in lines)
    assert logged[0] is None
    assert full[0] > 0
    assert logged[1] == pytest.approx(full[1], abs=0.011 * MIB)
    assert logged[2] == pytest.approx(full[2], abs=0.006 * MIB)
