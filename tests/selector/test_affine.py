"""The first tests go by an oracle whose answers are known; the last by llama.cpp itself."""

import dataclasses
import tarfile

import pytest
from real_model import SHARED_MODELS, needs_shared_models
from selector_machines import machine
from selector_specs import candidate, dense

from edgellm.models.local import read_headers
from edgellm.models.spec import model_spec
from edgellm.runner.oracle import LlamaOracle
from edgellm.selector.affine import AffineOracle
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.plan import Candidate, Placement, Share
from edgellm.selector.shape import ContextShape

HOST = Share("cpu", "host", (), 0, 0, 0)
ONE = Placement((Share("gpu0", "gpu0", (), 0, 0, 0), HOST), 99)
BOX = machine((24, 1000))
CONTEXTS = (131_072, 98_304, 65_536, 49_152, 32_768, 24_576, 16_384, 12_288, 8_192, 6_144)
MODEL = candidate(dense())


def shape(n_ctx: int, **changes) -> ContextShape:
    return ContextShape(
        **({"n_ctx": n_ctx, "n_seq_max": 1, "n_ubatch": 512, "n_outputs_max": 1} | changes)
    )


class Lines:
    """Compute is the larger of two lines, which meet at `kink` cells. Counts what it is asked."""

    def __init__(self, kink: int = 0, answers: bool = True):
        self.kink, self.answers, self.asked = kink, answers, []

    def measure(self, candidate, shape, placement, hardware):
        cells = shape.cells_per_stream
        assert shape not in self.asked
        self.asked.append(shape)
        if not self.answers:
            return None
        compute = 100_000 * (self.kink + 1000) + max(0, 1000 * (cells - self.kink))
        kv = 4096 * cells * shape.n_streams
        return BufferBytes(7, kv, compute), BufferBytes(5, 0, 2 * cells)


def test_three_questions_cover_a_search_over_contexts():
    lines = Lines()
    oracle = AffineOracle(lines)
    told = [oracle.measure(MODEL, shape(n), ONE, BOX) for n in CONTEXTS]
    assert len(lines.asked) == 3
    assert told == [Lines().measure(MODEL, shape(n), ONE, BOX) for n in CONTEXTS]


@pytest.mark.parametrize("kink", [5_000, 16_384, 40_000, 100_000])
@pytest.mark.parametrize("contexts", [CONTEXTS, CONTEXTS[::-1]])
def test_what_is_not_a_line_is_asked_for(kink, contexts):
    oracle, other = AffineOracle(Lines(kink)), Lines(kink)
    for n in contexts:
        told = oracle.measure(MODEL, shape(n), ONE, BOX)
        true = other.measure(MODEL, shape(n), ONE, BOX)
        for mine, theirs in zip(told, true, strict=True):
            assert abs(mine.compute_bytes - theirs.compute_bytes) <= 16 << 10, n


def test_another_placement_model_or_cache_is_another_line():
    lines = Lines()
    oracle = AffineOracle(lines)
    for n in CONTEXTS:
        oracle.measure(MODEL, shape(n), ONE, BOX)
    others = [
        (candidate(dense("other")), shape(65_536), ONE, BOX),
        (MODEL, shape(65_536, kv_type_k="q8_0"), ONE, BOX),
        (MODEL, shape(65_536, n_ubatch=256), ONE, BOX),
        (MODEL, shape(65_536), dataclasses.replace(ONE, n_gpu_layers=9), BOX),
        (MODEL, shape(65_536), ONE, machine((24, 1000), backend="vulkan")),
    ]
    for number, other in enumerate(others, start=4):
        lines.asked.clear()
        oracle.measure(*other)
        assert len(lines.asked) == 1, number


def test_a_plans_bytes_are_no_part_of_the_question():
    lines = Lines()
    oracle = AffineOracle(lines)
    filled = dataclasses.replace(ONE, shares=(Share("gpu0", "gpu0", (), 1, 2, 3), HOST))
    oracle.measure(MODEL, shape(8_192), ONE, BOX)
    oracle.measure(MODEL, shape(8_192), filled, BOX)
    assert len(lines.asked) == 1


def test_streams_have_their_own_cells():
    lines = Lines()
    oracle = AffineOracle(lines)
    for n in CONTEXTS:
        asked = shape(4 * n, n_seq_max=4, kv_unified=False)
        assert oracle.measure(MODEL, asked, ONE, BOX)[0].kv_bytes == 4 * 4096 * n
    assert len(lines.asked) == 3


def test_what_nobody_can_tell_is_asked_once():
    lines = Lines(answers=False)
    oracle = AffineOracle(lines)
    assert [oracle.measure(MODEL, shape(n), ONE, BOX) for n in CONTEXTS] == [None] * len(CONTEXTS)
    assert len(lines.asked) == 1


class Counting:
    def __init__(self, oracle):
        self.oracle, self.n_asked = oracle, 0

    def measure(self, *question):
        self.n_asked += 1
        return self.oracle.measure(*question)


@needs_shared_models
@pytest.mark.model
@pytest.mark.parametrize(
    ("file", "kv", "placement", "is_straight"),
    [
        ("llama-3.3-70b-q4_k_m", "f16", ONE, True),
        ("llama-3.3-70b-q4_k_m", "q8_0", ONE, False),
        ("deepseek-v3-q4_k_m", "f16", ONE, True),
        ("gemma-3-27b-q4_k_m", "f16", ONE, True),
        ("qwen3-30b-a3b-q4_k_m", "f16", dataclasses.replace(ONE, n_cpu_moe=48), True),
        ("qwen3-30b-a3b-q4_k_m", "q8_0", dataclasses.replace(ONE, n_cpu_moe=48), False),
    ],
)
def test_llama_cpp_is_never_misquoted(tmp_path, file, kv, placement, is_straight):
    with tarfile.open(SHARED_MODELS / "headers.tar.gz") as archive:
        archive.extract(f"{file}-header.gguf", tmp_path, filter="data")
    headers = read_headers(tmp_path / f"{file}-header.gguf")
    spec = model_spec(headers, file)
    one = Candidate(file, file, spec.quant, spec, spec.file_bytes, headers=headers)
    with LlamaOracle(tmp_path / "answers") as oracle:
        counting = Counting(oracle)
        affine = AffineOracle(counting)
        for n in CONTEXTS:
            asked = shape(n, kv_type_k=kv, kv_type_v=kv)
            told, true = (o.measure(one, asked, placement, BOX) for o in (affine, oracle))
            for mine, theirs in zip(told, true, strict=True):
                assert mine.weight_bytes == theirs.weight_bytes
                assert abs(mine.kv_bytes - theirs.kv_bytes) <= 1
                assert abs(mine.compute_bytes - theirs.compute_bytes) <= 16 << 10, n
    assert (counting.n_asked == 3) == is_straight
