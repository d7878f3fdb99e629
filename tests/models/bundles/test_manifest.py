"""What a manifest may say, and what it is refused for."""

import json
from datetime import UTC, datetime

import pytest

from edgellm.errors import BadBundle
from edgellm.models.bundles.layout import cut, parts_of, place_of
from edgellm.models.bundles.manifest import (
    BundledFile,
    BundledModel,
    Manifest,
    decode,
    encode,
    fingerprint,
)

SHA, OTHER_SHA, OID = "a" * 64, "b" * 64, "c" * 40
FILE = {"path": "m-Q8_0.gguf", "size_bytes": 10, "sha256": SHA}
MODEL = {
    "name": "hf.co/org/repo:Q8_0",
    "hub": "huggingface",
    "repo": "org/repo",
    "commit": "0" * 40,
    "revision": "main",
    "told_at": "2026-11-01T00:00:00Z",
    "license": "mit",
    "quant": "Q8_0",
    "files": [FILE],
}
MANIFEST = {
    "format": 1,
    "made_at": "2026-11-28T12:00:00Z",
    "made_by": "edgellm 0.1.0",
    "models": [MODEL],
}


def told(**changes: object) -> bytes:
    """The manifest with changes, to it or to its model or its file."""
    files = [{**FILE, **{k: v for k, v in changes.items() if k in (*FILE, "git_oid", "pieces")}}]
    model = MODEL | {"files": files} | {k: v for k, v in changes.items() if k in MODEL}
    whole = {"models": [model]} | {k: v for k, v in changes.items() if k in MANIFEST}
    rest = {
        k: v for k, v in changes.items() if k not in {*FILE, *MODEL, *MANIFEST, "git_oid", "pieces"}
    }
    return json.dumps(MANIFEST | whole | rest).encode()


def test_what_is_written_is_read_again():
    projector = BundledFile("mmproj-F16.gguf", 5, OTHER_SHA)
    licence = BundledFile("LICENSE", 3, SHA, git_oid=OID)
    files = (licence, projector, BundledFile("m-Q8_0.gguf", 10, SHA, pieces=(6, 4)))
    model = BundledModel(
        "hf.co/org/repo:Q8_0",
        "huggingface",
        "org/repo",
        "0" * 40,
        "main",
        None,
        None,
        "Q8_0",
        files,
    )
    manifest = Manifest(1, datetime(2026, 11, 28, tzinfo=UTC), "edgellm 0.1.0", (model,))
    again = decode(encode(manifest))
    assert again == manifest
    (read,) = again.models
    assert [file.path for file in read.model.files] == ["m-Q8_0.gguf"]
    assert [file.path for file in read.beside] == ["LICENSE", "mmproj-F16.gguf"]
    assert read.parts(read.files[2]) == (
        ("models/org/repo/m-Q8_0.gguf.part001", 6),
        ("models/org/repo/m-Q8_0.gguf.part002", 4),
    )
    assert read.beside[0].sha256 is None  # the hub knows it by git's digest
    assert read.size_bytes == again.size_bytes == 18


def test_one_that_is_sound_passes_the_door_that_the_others_do_not():
    assert decode(told()).models[0].name == "hf.co/org/repo:Q8_0"
    assert len(fingerprint(told())) == 64


HOSTILE = {
    "nothing": b"",
    "no JSON": b"PK\x03\x04",
    "no UTF-8": b'{"format": 1, "made_by": "\xff\xfe"}',
    "a list": b"[]",
    "an endless depth": b'{"format":' + b"[" * 100_000,
    "no format": json.dumps({"models": [MODEL]}).encode(),
    "format zero": told(format=0),
    "a format that is text": told(format="1"),
    "a newer format": told(format=2, wings=True),
    "a field that nobody knows": told(run="rm -rf /"),
    "a model's field that nobody knows": told(models=[MODEL | {"run": "x"}]),
    "a file's field that nobody knows": told(files=[FILE | {"mode": "0777"}]),
    "no model": told(models=[]),
    "no file": told(files=[]),
    "no time zone": told(made_at="2026-11-28T12:00:00"),
    "no digest": told(files=[{"path": "m-Q8_0.gguf", "size_bytes": 10}]),
    "a digest that is a path": told(sha256="../../../../etc/cron.d/x"),
    "a digest of another length": told(sha256="a" * 63),
    "a digest and a newline": told(sha256="a" * 64 + "\n"),
    "a digest in capitals": told(sha256="A" * 64),
    "git's digest that is a path": told(git_oid="../" * 13 + "x"),
    "a size below nothing": told(size_bytes=-1),
    "a size of half a byte": told(size_bytes=0.5),
    "a size beyond all disks": told(size_bytes=1 << 60),
    "a size that is text": told(size_bytes="10"),
    "a path that climbs": told(path="../../m-Q8_0.gguf"),
    "a path that climbs later": told(path="a/../../../m-Q8_0.gguf"),
    "an absolute path": told(path="/etc/m-Q8_0.gguf"),
    "a path of Windows": told(path="C:\\m-Q8_0.gguf"),
    "a device of Windows": told(path="con/m-Q8_0.gguf"),
    "an empty path": told(path=""),
    "a path with nothing in the middle": told(path="a//m-Q8_0.gguf"),
    "a path that ends in a blank": told(path="m-Q8_0.gguf "),
    "a path with a zero byte": told(path="m\0-Q8_0.gguf"),
    "a path with an escape": told(path="m\x1b[2J-Q8_0.gguf"),
    "a path that turns the line": told(path="m\u202e-Q8_0.gguf"),
    "a path without end": told(path="a/" * 3000 + "m-Q8_0.gguf"),
    "a repository that climbs": told(repo="../x", name="hf.co/../x:Q8_0"),
    "a repository of one word": told(repo="org", name="hf.co/org:Q8_0"),
    "a repository of three": told(repo="a/b/c", name="hf.co/a/b/c:Q8_0"),
    "a repository that is another's folder": told(repo="a--b/c", name="hf.co/a--b/c:Q8_0"),
    "a commit that climbs": told(commit="../../x"),
    "a commit that is two folders": told(commit="a/b"),
    "no commit": told(commit=""),
    "a revision that climbs": told(revision="../../main"),
    "a hub that nobody knows": told(hub="evil.example"),
    "a name that is another's": told(name="hf.co/Qwen/Qwen3-8B-GGUF:Q8_0"),
    "a label that is another's": told(quant="Q4_K_M", name="hf.co/org/repo:Q4_K_M"),
    "no model among the files": told(path="README.md"),
    "a part without the others": told(path="m-Q8_0-00001-of-00002.gguf"),
    "two models as one": told(
        files=[FILE, {"path": "n-Q4_0.gguf", "size_bytes": 1, "sha256": OTHER_SHA}]
    ),
    "the same model twice": told(models=[MODEL, MODEL]),
    "one path twice": told(files=[FILE, FILE]),
    "one path with two contents": told(files=[FILE, FILE | {"sha256": OTHER_SHA}]),
    "paths that a stick takes for one": told(
        files=[
            {"path": "license", "size_bytes": 1, "sha256": SHA},
            {"path": "LICENSE", "size_bytes": 1, "sha256": OTHER_SHA},
            FILE,
        ]
    ),
    "a file in the place of a folder": told(
        files=[
            {"path": "NOTICE", "size_bytes": 1, "sha256": SHA},
            FILE | {"path": "NOTICE/m-Q8_0.gguf"},
        ]
    ),
    "a file in the place of a piece": told(
        files=[
            {"path": "m-Q8_0.gguf.part001", "size_bytes": 1, "sha256": OTHER_SHA},
            FILE | {"pieces": [5, 5]},
        ]
    ),
    "pieces that make more": told(pieces=[6, 6]),
    "pieces that make less": told(pieces=[6, 3]),
    "a piece of nothing": told(pieces=[10, 0]),
    "pieces without end": told(size_bytes=2000, pieces=[1] * 2000),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_no_export_has_written_is_refused(data: bytes):
    with pytest.raises(BadBundle):
        decode(data)


def test_a_newer_format_is_told_from_a_damaged_one():
    with pytest.raises(BadBundle, match="format 7, and this edgellm reads 1") as told_so:
        decode(b'{"format": 7, "anything": {"else": []}}')
    assert "up to date" in told_so.value.hint


def test_models_of_a_repository_may_share_a_file_that_they_tell_alike():
    beside = {"path": "mmproj-F16.gguf", "size_bytes": 5, "sha256": OTHER_SHA}
    small = MODEL | {
        "name": "hf.co/org/repo:Q4_0",
        "quant": "Q4_0",
        "files": [beside, FILE | {"path": "m-Q4_0.gguf", "size_bytes": 4}],
    }
    both = decode(told(models=[MODEL | {"files": [beside, FILE]}, small]))
    assert [file.path for _, file in both.files] == [
        "mmproj-F16.gguf",
        "m-Q8_0.gguf",
        "m-Q4_0.gguf",
    ]
    assert both.size_bytes == 19


@pytest.mark.parametrize(
    ("size", "piece", "pieces"),
    [(10, None, ()), (10, 10, ()), (10, 11, ()), (10, 5, (5, 5)), (10, 4, (4, 4, 2)), (0, 4, ())],
)
def test_a_file_is_cut_into_equal_pieces_and_a_rest(size: int, piece: int | None, pieces: tuple):
    assert cut(size, piece) == pieces
    parts = parts_of("models/org/repo/m", size, pieces)
    assert sum(n_bytes for _, n_bytes in parts) == size
    assert sorted(name for name, _ in parts) == [name for name, _ in parts]


def test_a_place_is_under_its_repository():
    assert place_of("org/repo", "f16/m.gguf") == "models/org/repo/f16/m.gguf"
