"""The arithmetic against llama.cpp itself, asked about the same headers on the same devices.

A new llama.cpp that reserves otherwise fails here. Figures that it logged for real loads are the
other half; those files are not in the repository.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from models_fakes import SHARED_MODELS, needs_shared_models
from selector_architectures import SKETCHES
from selector_layouts import shape

from edgellm.models.gguf.header import GGUFHeader
from edgellm.models.known.catalog import load_catalog
from edgellm.models.known.shape import Shape
from edgellm.models.known.shapes import shape_header
from edgellm.models.local import read_spec
from edgellm.models.spec import ModelSpec, model_spec
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.runner.oracle.oracle import LlamaOracle
from edgellm.selector.graph.replay import is_known
from edgellm.selector.memory.compute import output_bytes
from edgellm.selector.memory.layout import HOST_ONLY, layout_of
from edgellm.selector.memory.memory import needs
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.placing.proportions import tensor_split
from edgellm.selector.plan import Candidate, ExpertPart, Placement, Share
from edgellm.units import GIB, MIB

NEAR_BYTES = MIB // 4  # tensors' padding in the files, mostly


def smallest_of_each_kind() -> dict[str, Shape]:
    """By architecture, with experts and without."""
    found: dict[str, Shape] = {}
    for entry in load_catalog():
        if entry.is_servable:
            kind = entry.shape.architecture + (" with experts" if entry.shape.n_expert else "")
            known = found.setdefault(kind, entry.shape)
            if entry.shape.n_layers < known.n_layers:
                found[kind] = entry.shape
    return found


SHAPES = smallest_of_each_kind()


@pytest.fixture(scope="module")
def oracle() -> Iterator[LlamaOracle]:
    with LlamaOracle() as oracle:
        yield oracle


def machine(n_devices: int) -> Hardware:
    """Devices with room for anything."""
    ids = [f"d{i}" for i in range(n_devices)]
    devices = [Device(name, "?", "?", "cuda", name) for name in ids]
    pools = [MemoryPool(name, "dedicated", 2048 * GIB, 2048 * GIB) for name in ids]
    host = MemoryPool("host", "host", 2048 * GIB, 2048 * GIB)
    cpu = Device("cpu", "?", "?", "cpu", "host")
    return Hardware((*devices, cpu), (*pools, host), Cpu("?", 8, 16, ()))


def placement(spec: ModelSpec, n_devices: int, *, n_host: int = 0, **changes) -> Placement:
    n = spec.n_layers + 1 - n_host
    bounds = [n_host + n * i // n_devices for i in range(n_devices + 1)]
    shares = [
        Share(f"d{i}", f"d{i}", tuple(range(low, high)), 0, 0, 0)
        for i, (low, high) in enumerate(pairwise(bounds))
    ]
    host = Share("cpu", "host", tuple(range(n_host)), 0, 0, 0)
    split = tensor_split([len(share.layers) for share in shares])
    return Placement((*shares, host), n, split, **changes)


def in_parts(spec: ModelSpec, placed: Placement) -> Placement:
    """Of the lower half of the layers all experts, of the next two matrices, of the last one."""
    n, last = spec.n_layers // 2, spec.n_layers - spec.n_draft_layers - 1
    *shares, host = placed.shares
    parts = ExpertPart(n, ("gate", "down")), ExpertPart(last, ("down",))
    host = replace(host, expert_layers=tuple(range(n)), expert_parts=parts)
    return replace(placed, shares=(*shares, host), n_cpu_moe=n)


def on_the_host() -> Placement:
    return Placement((Share("cpu", "host", (), 0, 0, 0),), 0)


def cells(spec: ModelSpec) -> Iterator[tuple[str, ContextShape, Placement]]:
    n, experts = spec.n_layers, any(layer.expert_bytes for layer in spec.layers)
    of = {"embedding": spec.is_embedding, "n_outputs_max": 512 if spec.is_embedding else 4}
    four = shape(32768, n_seq_max=4, **of)
    yield "a pipeline", four, placement(spec, 3)
    yield "half of the layers", shape(**of), placement(spec, 2, n_host=n // 2)
    yield "without flash attention", shape(8192, flash_attention=False, **of), placement(spec, 1)
    yield "split caches on the host", shape(kv_unified=False, n_seq_max=4, **of), on_the_host()
    if experts:
        yield "experts on the host", four, placement(spec, 2, n_cpu_moe=n)
        yield "parts of experts on the host", four, in_parts(spec, placement(spec, 2))
        computing = placement(spec, 1, op_offload=False)
        yield "parts of experts that the host computes", four, in_parts(spec, computing)
    if all(not layer.head_dim_k % 32 and not layer.head_dim_v % 32 for layer in spec.layers):
        small = shape(kv_type_k="q8_0", kv_type_v="q8_0", **of)
        yield "quantized caches", small, placement(spec, 1, n_host=n // 2, op_offload=False)


@pytest.mark.model
@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_an_architectures_buffers_are_what_llama_cpp_reserves(kind: str, oracle: LlamaOracle):
    quant = "MXFP4_MOE" if kind.startswith("gpt-oss") else "Q4_K_M"
    compare(shape_header(SHAPES[kind], quant), oracle)


@pytest.mark.model
@pytest.mark.parametrize("name", sorted(SKETCHES))
def test_so_are_those_of_architectures_beyond_the_catalog(name: str, oracle: LlamaOracle):
    compare(SKETCHES[name].header, oracle)


def compare(header: GGUFHeader, oracle: LlamaOracle) -> None:
    spec = model_spec([header], header.architecture)
    assert is_known(spec)
    candidate = Candidate(spec.name, "-", spec.quant, spec, spec.file_bytes, headers=(header,))
    for name, context, placed in cells(spec):
        hardware = machine(len(placed.shares) - 1)
        told = oracle.measure(candidate, context, placed, hardware)
        assert told is not None, name
        ours = needs(spec, context, layout_of(placed, hardware), exact=True)
        for mine, theirs in zip(ours, told, strict=True):
            assert off_bytes(mine, theirs) <= NEAR_BYTES, (name, mine, theirs)


def off_bytes(mine: BufferBytes, theirs: BufferBytes) -> int:
    return max(
        abs(mine.weight_bytes - theirs.weight_bytes),
        abs(mine.kv_bytes - theirs.kv_bytes),
        abs(mine.compute_bytes - theirs.compute_bytes),
    )


# ---- real loads: llama.cpp's log, with split caches and room for the logits of every token


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> list[tuple[dict, ModelSpec]]:
    """(row, spec) of every file that is here: headers of large models, and the tiny ones."""
    unpacked = tmp_path_factory.mktemp("headers")
    with tarfile.open(SHARED_MODELS / "headers.tar.gz") as archive:
        archive.extractall(unpacked, filter="data")
    folders: tuple[Path, ...] = (unpacked, SHARED_MODELS)
    paths = {path.name: path for folder in folders for path in folder.rglob("*.gguf")}
    truth = json.loads((SHARED_MODELS / "memory_truth.json").read_text())
    specs = {name: read_spec(paths[name]) for name in {row["file"] for row in truth} & set(paths)}
    return [(row, specs[row["file"]]) for row in truth if row["file"] in specs]


def logged_shape(row: dict, spec: ModelSpec) -> ContextShape:
    return shape(
        row["n_ctx"], n_seq_max=row["seqs"], n_outputs_max=2048, kv_type_k=row["kv"],
        kv_type_v=row["kv"], kv_unified=False, flash_attention=bool(row["fa"]),
        embedding=spec.is_embedding,
    )  # fmt: skip


@needs_shared_models
def test_what_llama_cpp_logged_for_real_loads_is_what_the_arithmetic_says(logged):
    assert len({row["file"] for row, _ in logged}) >= 15
    for row, spec in logged:
        context = logged_shape(row, spec)
        (host,) = needs(spec, context, HOST_ONLY)
        compute = (host.compute_bytes - output_bytes(spec, context)) / MIB
        # Each figure is rounded to 0.01 MiB, and a cache may be two.
        told = sum(row["kv_MiB"]) + sum(row["rs_MiB"])
        assert host.kv_bytes / MIB == pytest.approx(told, abs=0.011), row
        assert compute == pytest.approx(sum(row["compute_MiB"]), abs=0.011), row
        assert host.weight_bytes == pytest.approx(row["model_size"], rel=1e-3), row
