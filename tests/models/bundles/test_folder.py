"""A bundle is written whole or goes on; what it didn't write, it leaves."""

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from bundle_runs import (
    COMMIT,
    DATA,
    FILES,
    LICENCE,
    PLACE,
    bring_all,
    content,
    export,
    filled,
)

from edgellm.errors import BadBundle, BadGGUF, BadRequest, StorageError
from edgellm.models.bundles.layout import MANIFEST, PENDING, README, SUMS
from edgellm.models.bundles.manifest import fingerprint
from edgellm.models.store import Store


def test_a_bundle_has_the_model_and_all_that_goes_with_it_by_their_names(
    store: Store, tmp_path: Path
):
    seen: list[tuple[int, int]] = []
    out = tmp_path / "out"
    done = export(store, out, progress=lambda done, total, rate: seen.append((done, total)))
    there = content(out)
    assert {name: there.pop(f"{PLACE}/{name}") for name in FILES} == FILES
    assert fingerprint(there.pop(MANIFEST)) == done.sha256
    assert sorted(there) == [README, SUMS]
    assert b"edgellm import" in there[README]
    assert seen[-1] == (sum(map(len, FILES.values())),) * 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    subprocess.run(["sha256sum", "-c", SUMS], cwd=out, check=True, capture_output=True)


def test_the_manifest_says_what_list_says_and_whose_digest_is_whose(store: Store, tmp_path: Path):
    export(store, tmp_path / "out")
    (model,) = json.loads((tmp_path / "out" / MANIFEST).read_text())["models"]
    assert model["name"] == store.list()[0].name
    assert (model["commit"], model["revision"]) == (COMMIT, "main")
    assert model["told_at"] == "2026-11-01T00:00:00Z"
    by_path = {file["path"]: file for file in model["files"]}
    assert "git_oid" in by_path["LICENSE"]
    assert "git_oid" not in by_path["tiny-Q8_0.gguf"]


def test_the_same_export_again_copies_nothing_and_keeps_the_manifest(store: Store, tmp_path: Path):
    first = export(store, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    seen: list[int] = []
    second = export(store, tmp_path / "out", progress=lambda done, *_: seen.append(done))
    assert second.sha256 == first.sha256
    assert seen == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("name", ["OUT.TAR", "out.Tar"])
def test_a_tar_is_one_in_capitals_too(store: Store, tmp_path: Path, name: str):
    export(store, tmp_path / name)
    assert tarfile.is_tarfile(tmp_path / name)


def test_what_no_export_has_written_is_never_overwritten(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    mine = out / PLACE / "tiny-Q8_0.gguf"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    (out / README).write_text("my notes")
    with pytest.raises(BadRequest, match="no export has written it"):
        export(store, out)
    assert content(out) == {f"{PLACE}/tiny-Q8_0.gguf": b"mine", README: b"my notes"}
    mine.unlink()
    mine.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadRequest):
        export(store, out)
    mine.unlink()
    mine.write_bytes(DATA)  # the very file, copied by hand
    export(store, out)
    assert (out / README).read_text() == "my notes"
    assert (out / f"edgellm-{README}").exists()


@pytest.mark.parametrize("name", [MANIFEST, PENDING])
def test_a_pipe_in_a_manifests_place_is_not_waited_for(store: Store, tmp_path: Path, name: str):
    out = tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / name)
    with pytest.raises(BadRequest, match="no export has written it"):
        export(store, out)
    assert content(out) == {}


def test_a_readme_that_is_no_file_is_left_alone(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / README)
    export(store, out)
    assert (out / README).is_fifo()
    assert (out / f"edgellm-{README}").is_file()


def test_a_manifest_that_cannot_be_read_is_not_overwritten(store: Store, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text("{}")
    with pytest.raises(BadBundle) as told:
        export(store, tmp_path / "out")
    assert "not overwritten" in told.value.hint


@pytest.mark.parametrize("piece_bytes", [None, 3 << 20])
def test_what_has_gone_bad_on_this_disk_is_found_here(
    store: Store, tmp_path: Path, piece_bytes: int | None
):
    blob = store.list()[0].path.resolve()
    with blob.open("r+b") as file:
        file.seek(7 << 20)
        file.write(b"?")
    out = tmp_path / "out"
    with pytest.raises(BadGGUF, match="not what was downloaded"):
        export(store, out, piece_bytes=piece_bytes)
    assert not (out / MANIFEST).exists()
    assert not [*out.rglob("tiny-Q8_0.gguf*")]
    with pytest.raises(BadGGUF):
        export(store, tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()
    blob.write_bytes(DATA)
    export(store, out)
    blob.write_bytes(DATA[:-1])
    with pytest.raises(BadGGUF):
        export(store, tmp_path / "another")


def test_a_small_file_that_has_gone_bad_is_found_too(store: Store, tmp_path: Path):
    (store.list()[0].snapshot / "LICENSE").resolve().write_bytes(LICENCE[::-1])
    with pytest.raises(BadGGUF, match="LICENSE"):
        export(store, tmp_path / "out")


def test_a_file_without_a_digest_is_read_for_one(tmp_path: Path):
    store = filled(tmp_path / "hub")
    path = store.list()[0].path
    blob = path.resolve()
    path.unlink()
    blob.replace(path)  # as on a disk without links
    export(store, tmp_path / "out")
    (brought,) = bring_all(Store(tmp_path / "there"), tmp_path / "out")
    assert brought.read_bytes() == DATA


def test_pieces_are_joined_by_cat_as_the_readme_says(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    assert export(store, out, piece_bytes=3 << 20).is_cut
    assert not (out / PLACE / "tiny-Q8_0.gguf").exists()
    (joining,) = [
        line for line in (out / README).read_text().splitlines() if line.startswith("    cat ")
    ]
    subprocess.run(["sh", "-c", joining], cwd=out, check=True)
    assert (out / "tiny-Q8_0.gguf").read_bytes() == DATA


def test_a_tar_that_no_export_has_written_is_not_overwritten(store: Store, tmp_path: Path):
    out = tmp_path / "out.tar"
    with tarfile.open(out, "w") as mine:
        mine.add(__file__, "mine")
    before = out.read_bytes()
    with pytest.raises(BadRequest, match="no export has written it"):
        export(store, out)
    assert out.read_bytes() == before
    out.unlink()
    out.mkdir()
    with pytest.raises(BadRequest, match="no export has written it"):
        export(store, out)
    assert content(tmp_path).keys().isdisjoint({"out.tar.part"})


def test_a_place_that_is_a_file_is_no_folder(store: Store, tmp_path: Path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(BadRequest, match="is a file"):
        export(store, tmp_path / "out")


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_no_two_exports_write_at_one_place(store: Store, tmp_path: Path, name: str):
    """The second begins while the first is at it."""
    told: list[str] = []

    def begin_another(done: int, total: int, rate: float | None) -> None:
        with pytest.raises(StorageError, match="another export writes to") as refused:
            export(store, tmp_path / name)
        told.append(str(refused.value))

    export(store, tmp_path / name, progress=begin_another)
    assert told
    (path,) = bring_all(Store(tmp_path / "there"), tmp_path / name)
    assert path.read_bytes() == DATA


def test_whoever_stops_reading_a_bundle_that_passes_has_not_got_it(store: Store):
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "wb", buffering=0) as out,
        pytest.raises(StorageError, match="broken off"),
    ):
        export(store, "-", stdout=out)
