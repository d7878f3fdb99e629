"""Arithmetic against llama.cpp's own figures, for real headers. Skipped where they are absent."""

import json
import tarfile
from pathlib import Path

import pytest

from edgellm.models.local import read_spec
from edgellm.selector.memory import (
    ContextShape,
    host_compute_bytes,
    host_weight_bytes,
    kv_bytes,
    output_bytes,
)
from edgellm.units import MIB

MODELS = Path(__file__).parents[3] / "shared" / "models"
DENSE = {"llama", "qwen2", "qwen3", "gemma3"}

pytestmark = pytest.mark.skipif(
    not (MODELS / "memory_truth.json").exists(), reason="no shared/models beside the repository"
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """(row, spec) of every file that is here: headers of large models, and the tiny ones."""
    unpacked = tmp_path_factory.mktemp("headers")
    with tarfile.open(MODELS / "headers.tar.gz") as archive:
        archive.extractall(unpacked, filter="data")
    paths = {path.name: path for folder in (unpacked, MODELS) for path in folder.rglob("*.gguf")}
    truth = json.loads((MODELS / "memory_truth.json").read_text())
    specs = {name: read_spec(paths[name]) for name in {row["file"] for row in truth} & set(paths)}
    return [(row, specs[row["file"]]) for row in truth if row["file"] in specs]


def shape_of(row, spec) -> ContextShape:
    """Those rows were taken with split KV and room for the logits of every token."""
    return ContextShape(
        n_ctx=row["n_ctx"],
        n_seq_max=row["seqs"],
        n_ubatch=512,
        n_outputs_max=2048,
        kv_type_k=row["kv"],
        kv_type_v=row["kv"],
        kv_unified=False,
        flash_attention=bool(row["fa"]),
        embedding=spec.is_embedding,
    )


def test_the_truth_covers_large_and_tiny_files(rows):
    assert len({row["file"] for row, _ in rows}) >= 15


def test_the_cache_is_exact_for_every_kind_of_memory(rows):
    for row, spec in rows:
        told = sum(row["kv_MiB"]) + sum(row["rs_MiB"])
        ours = kv_bytes(spec, shape_of(row, spec)) / MIB
        # llama.cpp rounds each figure to 0.01 MiB; there are up to two
        assert ours == pytest.approx(told, abs=0.011), (row, ours)


def test_weights_on_the_host_are_the_models_size(rows):
    for row, spec in rows:
        layers = sum(layer.weight_bytes for layer in spec.layers)
        ours = layers + host_weight_bytes(spec, holds_head=True)
        assert ours == pytest.approx(row["model_size"], rel=0.001), row["file"]


def test_dense_transformers_are_exact_to_one_percent(rows):
    checked = 0
    for row, spec in rows:
        if spec.architecture not in DENSE or spec.n_expert:
            continue
        context = shape_of(row, spec)
        total = host_compute_bytes(spec, context, n_layers=spec.n_layers + 1, n_accelerators=0)
        ours = (total - output_bytes(spec, context)) / MIB
        told = sum(row["compute_MiB"])
        assert abs(ours - told) <= max(0.01 * (told + sum(row["kv_MiB"])), 0.6), (row, ours)
        checked += 1
    assert checked >= 25


def test_the_others_are_within_a_tenth(rows):
    for row, spec in rows:
        if spec.is_embedding or (spec.architecture in DENSE and not spec.n_expert):
            continue
        context = shape_of(row, spec)
        total = host_compute_bytes(spec, context, n_layers=spec.n_layers + 1, n_accelerators=0)
        ours = (total - output_bytes(spec, context)) / MIB
        told = sum(row["compute_MiB"])
        assert abs(ours - told) <= max(0.1 * (told + sum(row["kv_MiB"])), 1.5), (row, ours)
