from pathlib import Path

import pytest
from gguf_files import FLOAT64, INT32, INT64, UINT64, Tensor, Typed, gguf_bytes, llama_bytes

from edgellm.models.gguf.header import GGUFHeader, parse_header
from edgellm.models.gguf.skeleton import skeleton, write_skeletons
from edgellm.models.known.catalog import find
from edgellm.models.known.shapes import shape_header


def parsed(data: bytes) -> GGUFHeader:
    header = parse_header(data)
    assert isinstance(header, GGUFHeader)
    return header


def reread(header: GGUFHeader, n_vocab: int = 7) -> GGUFHeader:
    return parsed(skeleton(header, n_vocab))


def test_the_tensors_are_those_of_the_model():
    header = parsed(llama_bytes())
    assert header.tensors
    assert reread(header).tensors == header.tensors


def test_the_vocabulary_is_left_out_and_its_size_is_not():
    tokens = [f"token {n}" for n in range(1000)]
    header = parsed(
        llama_bytes(**{"tokenizer.ggml.tokens": tokens, "tokenizer.chat_template": "x"})
    )
    bones = reread(header, 1000)
    assert bones.text("tokenizer.ggml.model") == "no_vocab"
    assert bones.integer("llama.vocab_size") == 1000
    assert bones.tokens is None
    assert bones.chat_template is None
    assert len(skeleton(header, 1000)) < len(llama_bytes(**{"tokenizer.ggml.tokens": tokens})) / 2


@pytest.mark.parametrize(
    "value",
    [
        3, -3, 2**40, True, False, 0.5, "yarn", [1, 2, 3], [-1, 2], [True, False], [0.5, 1.5],
        ["a", "b"],
    ],
)  # fmt: skip
def test_a_hyperparameter_keeps_its_value_and_its_kind(value):
    written = Typed(UINT64, value) if value == 2**40 else value
    written = Typed(INT32, value) if value == -3 else written
    header = parsed(llama_bytes(**{"llama.some_key": written}))
    before, after = (h.metadata["llama.some_key"] for h in (header, reread(header)))
    assert after == before
    assert type(after) is type(before)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.some_key", Typed(INT64, -(2**40))),
        ("llama.some_key", Typed(FLOAT64, 1e300)),
        ("split.no", 2**17),
    ],
)
def test_a_number_that_its_usual_type_cannot_hold_is_written_all_the_same(key, value):
    """The file is a stranger's; llama.cpp refuses such a key, and not by a crash here."""
    header = parsed(llama_bytes(**{key: value}))

    assert reread(header).metadata[key] == header.metadata[key]


def test_the_counts_of_a_split_model_have_the_types_that_llama_cpp_reads():
    """uint16, and int32 for the tensors' (src/llama-model-loader.cpp); elsewhere it refuses."""
    header = parsed(llama_bytes(**{"split.no": 0, "split.count": 2, "split.tensors.count": 9}))
    data = skeleton(header, 7)
    for key, type_id in (("split.no", 2), ("split.count", 2), ("split.tensors.count", 5)):
        at = data.index(key.encode()) + len(key)
        assert int.from_bytes(data[at : at + 4], "little") == type_id


def test_the_alignment_is_kept_and_the_data_begins_on_it():
    tensors = [Tensor("a", (3,)), Tensor("b", (64,))]
    whole = gguf_bytes(
        {"general.architecture": "llama", "general.alignment": 256}, tensors, alignment=256
    )
    data = skeleton(parsed(whole), 7)
    assert len(data) % 256 == 0
    assert parsed(data).tensors[1].offset == 256


def test_a_file_has_its_true_length_and_takes_no_room(tmp_path: Path):
    header = shape_header(find("llama3.3:70b").shape, "Q4_K_M")
    path = write_skeletons([header], 128_256, tmp_path)
    status = path.stat()
    assert status.st_size > header.file_bytes > 40e9
    assert status.st_blocks * 512 < 200_000
    with path.open("rb") as file:
        bones = parse_header(file.read(1 << 20), status.st_size)
    assert isinstance(bones, GGUFHeader)
    assert bones.tensors == header.tensors


def test_parts_are_named_as_llama_cpp_looks_for_them(tmp_path: Path):
    parts = [parsed(llama_bytes(**{"split.no": n, "split.count": 3})) for n in range(3)]
    first = write_skeletons(parts, 7, tmp_path)
    assert first.name == "model-00001-of-00003.gguf"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_part_that_names_no_architecture_stays_a_part():
    later = parsed(gguf_bytes({"split.no": 1, "split.count": 2}, [Tensor("blk.1.x", (32,))]))
    assert set(reread(later).metadata) == {"split.no", "split.count", "general.alignment"}


def test_a_file_is_taken_at_its_word():
    """What it leaves out, llama.cpp has a default for."""
    header = parsed(llama_bytes())
    assert "llama.attention.layer_norm_epsilon" not in reread(header).metadata
