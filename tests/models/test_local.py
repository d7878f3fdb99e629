import io
import os
from pathlib import Path

import pytest
from gguf_files import Tensor, gguf_bytes, llama_bytes
from models_fakes import SHARED_MODELS, needs_shared_models

from edgellm.errors import BadGGUF, ModelNotFound, StorageError
from edgellm.models.local import (
    check,
    header_of,
    model_name,
    projector_beside,
    read_header,
    read_headers,
    read_spec,
    shards,
    unreadable,
)

AS_ROOT = os.geteuid() == 0


def test_a_header_longer_than_the_first_read_is_read_on(tmp_path: Path):
    path = tmp_path / "long.gguf"
    tokens = [f"{n:0100}" for n in range(30_000)]
    path.write_bytes(llama_bytes(**{"tokenizer.ggml.tokens": tokens}))
    assert path.stat().st_size > 3 << 20
    header = read_header(path)
    assert header.tokens is not None
    assert header.tokens[29_999] == tokens[-1]


def test_a_truncated_file_is_bad_and_named(tmp_path: Path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(llama_bytes()[:-1000])
    with pytest.raises(BadGGUF, match=r"cut\.gguf: .*cut off") as raised:
        read_spec(path)
    assert "fetch" in raised.value.hint


class Shrinking(io.BytesIO):
    """Somebody cuts it as soon as its first bytes have been read."""

    def read(self, size: int | None = -1, /) -> bytes:
        self.truncate(min(1000, len(self.getbuffer())))
        return super().read(size)


def test_a_file_that_is_cut_while_it_is_read_is_told_and_not_waited_for():
    with pytest.raises(BadGGUF, match="cut while it was read") as raised:
        header_of(Shrinking(llama_bytes()))
    assert "fetch" in raised.value.hint


@pytest.mark.parametrize("data", [b"", b"GG", b"<!doctype html><html>", bytes(100)])
def test_a_file_that_is_no_gguf_is_bad(tmp_path: Path, data: bytes):
    path = tmp_path / "page.gguf"
    path.write_bytes(data)
    with pytest.raises(BadGGUF, match=r"page\.gguf"):
        read_spec(path)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"<!doctype html><html></html>", "web page"),
        (b"<html><body>Not found</body></html>", "web page"),
        (b"\x10\0\0\0\0\0\0\0" + b'{"w":{"dtype":"F32"', "convert_hf_to_gguf.py"),
        (b"PK\x03\x04 a PyTorch file", "convert_hf_to_gguf.py"),
    ],
)
def test_what_lies_in_a_models_place_is_told(tmp_path: Path, data: bytes, hint: str):
    path = tmp_path / "m-Q8_0.gguf"
    path.write_bytes(data)
    with pytest.raises(BadGGUF, match="not a GGUF") as told:
        read_header(path)
    assert hint in told.value.hint


def test_an_empty_file_is_called_so(tmp_path: Path):
    path = tmp_path / "m-Q8_0.gguf"
    path.touch()
    with pytest.raises(BadGGUF, match=r"m-Q8_0\.gguf: the file is empty"):
        read_header(path)


def test_what_is_wrong_with_a_model_is_told_with_its_files_name(tmp_path: Path):
    path = tmp_path / "adapter.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": "llama", "general.type": "adapter"}))
    with pytest.raises(BadGGUF, match=r"adapter\.gguf: this is an adapter") as raised:
        read_spec(path)
    assert "--lora" in raised.value.hint


def test_a_missing_file_and_a_folder_have_their_own_errors(tmp_path: Path):
    with pytest.raises(ModelNotFound, match=r"gone\.gguf"):
        read_spec(tmp_path / "gone.gguf")
    with pytest.raises(StorageError, match="folder"):
        read_header(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    path = tmp_path / "pipe.gguf"
    os.mkfifo(path)
    with pytest.raises(StorageError, match="is a pipe"):
        read_header(path)


@pytest.mark.skipif(AS_ROOT, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path: Path):
    path = tmp_path / "secret.gguf"
    path.write_bytes(llama_bytes())
    path.chmod(0)
    with pytest.raises(StorageError, match=r"permission .*secret\.gguf"):
        read_header(path)


def test_an_error_names_the_file_and_never_its_folder():
    denied = unreadable(Path("/home/ada/secret.gguf"), PermissionError(13, "Permission denied"))
    broken = unreadable(Path("/home/ada/secret.gguf"), OSError(5, "Input/output error"))
    assert isinstance(denied, StorageError)
    assert isinstance(broken, StorageError)
    assert "no permission to read secret.gguf" in str(denied)
    assert "Input/output error" in str(broken)
    assert "ada" not in f"{denied} {denied.hint} {broken} {broken.hint}"


def write_shards(folder: Path, n: int = 3) -> list[Path]:
    whole = {"general.architecture": "llama", "llama.block_count": n, "llama.context_length": 64}
    whole |= {"llama.embedding_length": 16, "llama.attention.head_count": 2, "llama.vocab_size": 8}
    paths = []
    for no in range(n):
        keys: dict[str, object] = {"split.no": no, "split.count": n, "split.tensors.count": n + 1}
        tensors = [Tensor(f"blk.{no}.attn_norm.weight", (16,))]
        if no == 0:
            keys, tensors = keys | whole, [Tensor("token_embd.weight", (16, 8)), *tensors]
        path = folder / f"m-Q8_0-{no + 1:05}-of-{n:05}.gguf"
        path.write_bytes(gguf_bytes(keys, tensors))
        paths.append(path)
    return paths


def test_any_part_of_a_split_model_finds_all_the_others(tmp_path: Path):
    paths = write_shards(tmp_path)
    for path in paths:
        assert shards(path) == tuple(paths)
        spec = read_spec(path)
        assert spec.name == "m-Q8_0"
        assert spec.quant == "Q8_0"
        assert [layer.weight_bytes for layer in spec.layers] == [64] * 3
        assert spec.file_bytes == sum(read_header(p).file_bytes for p in paths)


def test_missing_parts_are_listed(tmp_path: Path):
    paths = write_shards(tmp_path)
    paths[1].unlink()
    with pytest.raises(ModelNotFound, match="1 of 3 files are missing: m-Q8_0-00002-of-00003"):
        read_spec(paths[0])


def test_parts_in_the_wrong_order_are_refused(tmp_path: Path):
    first, second, third = write_shards(tmp_path)
    swapped = second.read_bytes()
    second.write_bytes(third.read_bytes())
    third.write_bytes(swapped)
    with pytest.raises(BadGGUF, match="says it is part 3 of 3, its name says 2 of 3"):
        read_headers(first)


def test_a_raw_piece_must_be_joined_first(tmp_path: Path):
    path = tmp_path / "big.gguf.part1of2"
    path.write_bytes(b"GGUF")
    with pytest.raises(BadGGUF) as raised:
        read_spec(path)
    assert "cat" in raised.value.hint


def test_a_token_that_is_there_twice_is_found_before_llama_cpp_aborts(tmp_path: Path):
    path = tmp_path / "twice.gguf"
    path.write_bytes(llama_bytes(**{"tokenizer.ggml.tokens": ["a", "b", "c", "b"]}))
    read_spec(path)  # a plain look costs nothing for this
    with pytest.raises(BadGGUF, match=r"token 3 .*b'b'.* twice"):
        check(path)


@pytest.mark.parametrize("scores", [[0.5, 0.5], ["x", "y", "z"], 7])
def test_scores_of_the_wrong_length_or_type_are_found(tmp_path: Path, scores: object):
    path = tmp_path / "scores.gguf"
    keys = {"tokenizer.ggml.tokens": ["a", "b", "c"], "tokenizer.ggml.scores": scores}
    path.write_bytes(llama_bytes(**keys))
    with pytest.raises(BadGGUF, match="scores"):
        check(path)


def test_a_models_name_is_its_file_without_part_and_ending():
    assert model_name(Path("/m/Qwen3-8B-Q4_K_M-00001-of-00002.gguf")) == "Qwen3-8B-Q4_K_M"
    assert model_name(Path("x.gguf")) == "x"


@needs_shared_models
def test_every_real_model_is_read_and_passes_the_check():
    for path in sorted(SHARED_MODELS.glob("*.gguf")):
        header = read_header(path)
        assert header.file_bytes <= path.stat().st_size
        if "lora" not in path.name and "mmproj" not in path.name:
            assert read_spec(path).n_layers >= 1
            check(path)


@needs_shared_models
@pytest.mark.parametrize("kind", ["lora", "mmproj"])
def test_real_sidecars_are_no_models(kind: str):
    for path in SHARED_MODELS.glob(f"*{kind}*.gguf"):
        with pytest.raises(BadGGUF):
            read_spec(path)


def test_a_projector_beside_a_model_is_found_and_among_strangers_is_nobodys(tmp_path):
    for name in ("gemma-3-4b-it-Q4_K_M.gguf", "gemma-3-4b-it-Q8_0.gguf", "mmproj-F16.gguf"):
        (tmp_path / name).write_bytes(b"x" * 10)
    found = projector_beside(tmp_path / "gemma-3-4b-it-Q8_0.gguf")
    assert (found.path, found.size_bytes) == (str(tmp_path / "mmproj-F16.gguf"), 10)
    (tmp_path / "gemma-3-4b-it-fp16.gguf").write_bytes(b"x")  # a label that is F16 elsewhere
    (tmp_path / "moved-away.gguf").symlink_to(tmp_path / "nowhere.gguf")
    assert projector_beside(tmp_path / "gemma-3-4b-it-Q8_0.gguf") == found
    (tmp_path / "qwen3-8b-Q4_0.gguf").write_bytes(b"x")
    assert projector_beside(tmp_path / "gemma-3-4b-it-Q8_0.gguf") is None
    assert projector_beside(tmp_path / "missing" / "m.gguf") is None
