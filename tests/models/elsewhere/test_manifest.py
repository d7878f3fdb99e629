import json
from pathlib import Path

import pytest
from elsewhere_stores import layer, manifest

from edgellm.errors import BadGGUF, ModelNotFound
from edgellm.models.elsewhere.manifest import BlobDigest, decode, parts_of

CAPTURES = Path(__file__).parent / "captures"
HEX = "0123456789abcdef" * 4


def test_ollamas_own_text_is_understood():
    parts = parts_of(decode((CAPTURES / "qwen2.5-7b.json").read_bytes()))
    assert parts.model.size == 4683074048
    assert parts.model.digest.file_name.startswith("sha256-60e05f21")
    assert parts.projector is None
    assert parts.adapters == ()


def test_what_is_kept_for_mlx_is_told_apart():
    with pytest.raises(BadGGUF, match="tensor by tensor, for MLX"):
        parts_of(decode((CAPTURES / "mlx.json").read_bytes()))


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha256-{HEX}", f"sha256:{HEX.upper()}"])
def test_a_digest_is_a_files_name_as_ollama_writes_it(text):
    assert BlobDigest(text).file_name == f"sha256-{HEX}"


@pytest.mark.parametrize(
    "text",
    [
        "", "sha256:", HEX, f"sha256:{HEX[:-1]}", f"sha256:{HEX}0", f"sha256:{HEX}\n",
        f"\nsha256:{HEX}", f"md5:{HEX}", f"SHA256:{HEX}", f"sha256/{HEX}", f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX[:-3]}/..", "sha256:../../../../etc/passwd", "sha256:..\\..\\x",
        f"sha256:{HEX[:-1]}\0", f"sha256:{HEX[:-1]}\u0663", f"../sha256-{HEX}",
        f"sha256:{HEX}-partial",
    ],
)  # fmt: skip
def test_nothing_else_is_a_digest(text):
    with pytest.raises(ValueError, match="is no sha256 digest"):
        BlobDigest(text)


def test_a_list_gives_the_entry_that_llama_cpp_loads():
    entries = [
        {"digest": f"sha256:{'1' * 64}", "runner": "mlx", "format": "safetensors"},
        {"digest": f"sha256:{'2' * 64}", "runner": "llamacpp", "format": "gguf"},
        {"digest": f"sha256:{'3' * 64}", "runner": "Ollama", "format": "gguf"},
    ]
    chosen = decode(json.dumps({"manifests": entries}).encode()).for_llama_cpp()
    assert chosen.digest.file_name == f"sha256-{'3' * 64}"
    with pytest.raises(BadGGUF, match="for MLX alone"):
        decode(json.dumps({"manifests": entries[:1]}).encode()).for_llama_cpp()


def test_lists_in_lists_are_none_that_ollama_writes():
    nested = {"manifests": [{"runner": "ollama", "manifests": []}]}
    with pytest.raises(BadGGUF, match="for MLX alone"):
        decode(json.dumps(nested).encode()).for_llama_cpp()


def test_a_model_of_the_cloud_has_no_file_here():
    document = manifest() | {"layers": None}
    with pytest.raises(ModelNotFound, match="in its cloud"):
        parts_of(decode(json.dumps(document).encode()))


def test_several_weights_are_pieces_that_llama_cpp_cannot_join():
    pieces = [layer("model", f"sha256:{digit * 64}", 5) for digit in "12"]
    with pytest.raises(BadGGUF, match="2 pieces"):
        parts_of(decode(json.dumps(manifest(*pieces)).encode()))


def test_what_a_layers_kind_says_of_it_is_no_part_of_the_kind():
    one = layer("model; name=x", f"sha256:{HEX}", 5)
    assert parts_of(decode(json.dumps(manifest(one)).encode())).model.size == 5
