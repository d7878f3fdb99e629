"""Shapes of the catalog before the one judge that counts: llama.cpp's loader."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgellm.errors import ConfigError
from edgellm.models.gguf.loadable import LOADABLE
from edgellm.models.gguf.skeleton import write_skeletons
from edgellm.models.known import catalog
from edgellm.models.known.architectures import ARCHITECTURES
from edgellm.models.known.catalog import CatalogEntry, load_catalog
from edgellm.models.known.shape import Shape
from edgellm.models.known.shapes import shape_header
from edgellm.runner.oracle.messages import DescribedDevice, Question
from edgellm.runner.oracle.process import OracleProcess

ENTRIES = load_catalog()
ONE_OF_EACH = list({e.shape.architecture: e for e in reversed(ENTRIES) if e.is_servable}.values())
ROOM = 1 << 42


@pytest.fixture(scope="module")
def oracle() -> Iterator[OracleProcess]:
    process = OracleProcess()
    yield process
    process.close()


@pytest.mark.model
@pytest.mark.parametrize("entry", ONE_OF_EACH, ids=lambda entry: entry.shape.architecture)
def test_llama_cpp_loads_the_shape_and_counts_the_same_bytes(
    entry: CatalogEntry, oracle: OracleProcess, tmp_path: Path
):
    quant = catalog.plannable_quants(entry)[-1]
    header, spec = catalog.model(entry, quant)
    path = write_skeletons([header], spec.n_vocab, tmp_path)
    answer = oracle.ask(question(path, spec.is_embedding))
    assert answer is not None, "the loader aborted"
    assert answer.rows, answer.error
    told = sum(row.weight_bytes or 0 for row in answer.rows)
    assert told == pytest.approx(spec.weight_bytes, rel=1e-4, abs=64 << 10)


def question(path: Path, is_embedding: bool) -> Question:
    return Question(
        path=str(path),
        n_layers=0,
        devices=(DescribedDevice("cuda", ROOM, ROOM),),
        n_gpu_layers=-1,
        tensor_split=(),
        n_cpu_moe=0,
        expert_parts=(),
        no_host=False,
        op_offload=True,
        n_ctx=512,
        n_batch=512,
        n_ubatch=512,
        n_seq_max=1,
        n_outputs_max=0 if is_embedding else 1,
        n_rs_seq=0,
        type_k=1,
        type_v=1,
        flash_attention=-1,
        kv_unified=True,
        swa_full=False,
        embeddings=is_embedding,
    )


def test_every_architecture_of_the_catalog_has_its_row_and_no_row_is_idle():
    used = {entry.shape.architecture for entry in ENTRIES}
    assert used == set(ARCHITECTURES)
    assert used - LOADABLE == {"glm-130b"}


def test_an_architecture_without_a_row_is_refused_by_name():
    shape = Shape("gpt-9", 1, 64, 128, 2, 2, 32, 100, 512)
    with pytest.raises(ConfigError, match="gpt-9"):
        shape_header(shape, "F16")


def test_experts_start_after_the_dense_blocks_and_skip_as_told():
    shape = catalog.find("llama4:maverick").shape
    names = {tensor.name for tensor in shape_header(shape, "F16").tensors}
    assert "blk.0.ffn_up.weight" in names
    assert "blk.1.ffn_up_exps.weight" in names
    assert "blk.1.ffn_up_shexp.weight" in names
    deepseek = catalog.find("deepseek-v3").shape
    assert [deepseek.has_experts(il) for il in range(5)] == [False, False, False, True, True]


def test_a_draft_block_is_not_a_part_of_the_shape():
    header = shape_header(catalog.find("glm4.5:air").shape, "F16")
    assert not any("nextn" in tensor.name for tensor in header.tensors)
    assert header.need_integer("glm4moe.block_count") == 46
