"""A bundle is written whole or goes on; what it didn't write, it leaves."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundle_runs import (
    COMMIT,
    DATA,
    FILES,
    LICENCE,
    MADE,
    REPO,
    bring_all,
    content,
    export,
    filled,
    no_progress,
)

from edgellm.errors import BadBundle, BadGGUF, BadRequest, StorageError
from edgellm.models.bundles.folder import largest_piece_bytes, write_folder
from edgellm.models.bundles.gathering import gather
from edgellm.models.bundles.layout import FAT_PIECE_BYTES, MANIFEST, PENDING, README, SUMS
from edgellm.models.bundles.manifest import FORMAT, Manifest, fingerprint
from edgellm.models.bundles.reading import opened
from edgellm.models.bundles.verifying import Reading, verify_bundled
from edgellm.models.store import Store

PLACE = f"models/{REPO}"
SMALL = {"small-Q4_0.gguf": b"GGUF small", "LICENSE": LICENCE}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "hub")


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


EXPORT_AND_DIE = """
    import os, sys
    from pathlib import Path
    from bundle_runs import export
    from edgellm.models.store import Store

    def die(done, total, rate):
        if done >= int(sys.argv[3]):
            os.kill(os.getpid(), 9)

    piece_bytes = int(sys.argv[4]) or None
    export(Store(Path(sys.argv[1])), sys.argv[2], progress=die, piece_bytes=piece_bytes)
"""


def killed_export(store: Store, out: Path, at_bytes: int, piece_bytes: int = 0) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EXPORT_AND_DIE), store.root, out, str(at_bytes),
         str(piece_bytes)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )  # fmt: skip
    assert done.returncode == -9


@pytest.mark.parametrize("piece_bytes", [0, 3 << 20])
@pytest.mark.parametrize("at_bytes", [1, 100_000, 5 << 20, 9 << 20])
def test_a_killed_export_is_no_bundle_and_goes_on(
    store: Store, tmp_path: Path, at_bytes: int, piece_bytes: int
):
    out = tmp_path / "out"
    killed_export(store, out, at_bytes, piece_bytes)
    assert not (out / MANIFEST).exists()
    with pytest.raises(BadBundle, match="broken off"):
        bring_all(Store(tmp_path / "there"), out)
    export(store, out, piece_bytes=piece_bytes or None)
    assert not (out / PENDING).exists()
    assert not [*out.rglob("*.part"), *out.rglob("*.part.json")]
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert path.read_bytes() == DATA


def test_what_was_written_before_a_kill_is_not_written_again(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    killed_export(store, out, 9 << 20)
    part = next(out.rglob("*.edgellm.part"))
    assert part.stat().st_size >= 4 << 20
    with part.open("r+b") as file:  # so that one sees whose bytes they are
        file.write(b"mark")
    export(store, out)
    assert (out / PLACE / "tiny-Q8_0.gguf").read_bytes() == b"mark" + DATA[4:]


def test_a_part_of_another_content_is_not_gone_on_with(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    killed_export(store, out, 9 << 20)
    other = bytes(reversed(DATA))  # as long, of a newer commit
    newer = filled(tmp_path / "hub", FILES | {"tiny-Q8_0.gguf": other}, commit="1" * 40)
    export(newer, out)
    assert (out / PLACE / "tiny-Q8_0.gguf").read_bytes() == other


def test_a_newer_commit_takes_the_place_of_the_older_one(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    export(store, out)
    newer = filled(tmp_path / "hub", FILES | {"tiny-Q8_0.gguf": DATA[::-1]}, commit="1" * 40)
    export(newer, out)
    assert (out / PLACE / "tiny-Q8_0.gguf").read_bytes() == DATA[::-1]
    (model,) = json.loads((out / MANIFEST).read_text())["models"]
    assert model["commit"] == "1" * 40


def test_a_kill_while_an_older_bundle_is_renewed_leaves_nothing_that_says_too_much(
    store: Store, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out)
    newer = filled(tmp_path / "hub", FILES | {"tiny-Q8_0.gguf": DATA[::-1]}, commit="1" * 40)
    killed_export(newer, out, 5 << 20)
    assert not (out / MANIFEST).exists()
    export(newer, out)
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert path.read_bytes() == DATA[::-1]


def test_models_are_added_to_a_bundle_that_is_there(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    export(store, out)
    filled(tmp_path / "hub", SMALL, repo="org/small")
    both = export(store, out, "hf.co/org/small:Q4_0")
    assert [one.name for one in both.manifest.models] == [
        "hf.co/org/small:Q4_0",
        f"hf.co/{REPO}:Q8_0",
    ]
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


def test_what_another_export_has_brought_meanwhile_is_kept(store: Store, tmp_path: Path):
    """Its manifest is read when nobody else writes there, and not before."""
    out = tmp_path / "out"
    filled(tmp_path / "other", SMALL, repo="org/small")
    gathered = gather(tmp_path / "other", Store(tmp_path / "other").list()[0], "mit")
    model = gathered.model
    paths = {
        model.place(file): path for file, path in zip(model.files, gathered.paths, strict=True)
    }
    alone = Manifest(FORMAT, MADE.at, MADE.by, (model,))  # as it was before the other came
    export(store, out)
    both = write_folder(out, alone, paths, no_progress)[0].manifest
    assert [one.repo for one in both.models] == ["org/small", REPO]
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


def test_a_model_that_was_taken_from_the_bundle_is_not_kept_in_it_and_told(
    store: Store, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out)
    (out / PLACE / "tiny-Q8_0.gguf").unlink()
    filled(tmp_path / "hub", SMALL, repo="org/small")
    left = export(store, out, "hf.co/org/small:Q4_0")
    assert [one.name for one in left.manifest.models] == ["hf.co/org/small:Q4_0"]
    assert left.gone == (f"hf.co/{REPO}:Q8_0",)


@pytest.mark.parametrize("fault", ["gone", "cut"])
def test_a_model_of_which_something_is_missing_is_not_lost_by_what_is_added(
    store: Store, tmp_path: Path, fault: str
):
    out = tmp_path / "out"
    export(store, out, piece_bytes=3 << 20)
    piece = out / PLACE / "tiny-Q8_0.gguf.part002"
    data = piece.read_bytes()
    piece.unlink()
    if fault == "cut":
        piece.write_bytes(data[:-1])
    before = content(out)
    filled(tmp_path / "hub", SMALL, repo="org/small")
    with pytest.raises(BadRequest, match=r"tiny-GGUF:Q8_0.*part002") as told:
        export(store, out, "hf.co/org/small:Q4_0")
    assert "name it too" in told.value.hint
    assert content(out) == before
    export(store, out, piece_bytes=3 << 20)
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


def test_what_is_missing_is_mended_by_the_same_export(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    first = export(store, out)
    (out / PLACE / "tiny-Q8_0.gguf").unlink()
    assert export(store, out).sha256 == first.sha256
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert path.read_bytes() == DATA


def test_what_two_models_share_comes_back_with_one_of_them(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    filled(tmp_path / "hub", FILES | {"tiny-Q4_0.gguf": DATA[:1000]})
    export(store, out)
    (out / PLACE / "mmproj-F16.gguf").unlink()
    export(store, out, f"hf.co/{REPO}:Q4_0")
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


@pytest.mark.parametrize("pieces", [(3000, None), (None, 3000), (3000, 20_000)])
def test_what_a_new_model_shares_is_cut_as_it_lies_there(
    store: Store, tmp_path: Path, pieces: tuple[int | None, int | None]
):
    """Or its projector would be named in other pieces, and nobody had written them."""
    small = {"a-Q8_0.gguf": DATA[:9000], "mmproj-F16.gguf": DATA[:5000], "LICENSE": LICENCE}
    filled(tmp_path / "hub", small | {"a-Q4_0.gguf": DATA[:100]}, repo="org/a")
    out = tmp_path / "out"
    export(store, out, "hf.co/org/a:Q4_0", piece_bytes=pieces[0])
    export(store, out, "hf.co/org/a:Q8_0", piece_bytes=pieces[1])
    with opened(str(out), io.BytesIO()) as bundle:
        read = Reading(1, no_progress)
        found = [verify_bundled(bundle, one, read) for one in bundle.manifest.models]
    assert {one.state for verdicts in found for one in verdicts} == {"whole"}
    first, _ = bring_all(Store(tmp_path / "there"), out)
    assert (first.parent / "mmproj-F16.gguf").read_bytes() == DATA[:5000]


def test_another_commits_projector_does_not_hide_behind_other_pieces(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    export(store, out, piece_bytes=1 << 20)
    eyes = FILES | {"mmproj-F16.gguf": DATA[1:70_001], "tiny-Q4_0.gguf": DATA[:100]}
    newer = filled(tmp_path / "hub", eyes, commit="1" * 40)
    with pytest.raises(BadBundle, match=r"two files at models/org/tiny-GGUF/mmproj"):
        export(newer, out, f"hf.co/{REPO}:Q4_0", piece_bytes=50_000)


def test_an_export_leaves_what_another_that_was_broken_off_has_written(
    store: Store, tmp_path: Path
):
    out = tmp_path / "out"
    killed_export(store, out, 9 << 20)
    before = {path: path.read_bytes() for path in out.rglob("*.edgellm.part*")}
    assert before
    filled(tmp_path / "hub", SMALL, repo="org/small")
    done = export(store, out, "hf.co/org/small:Q4_0")
    assert done.unfinished == (f"hf.co/{REPO}:Q8_0",)
    assert {path: path.read_bytes() for path in out.rglob("*.edgellm.part*")} == before
    assert len(bring_all(Store(tmp_path / "there"), out)) == 1
    again = export(store, out, "hf.co/org/small:Q4_0")
    assert (again.sha256, again.unfinished) == (done.sha256, done.unfinished)
    both = export(store, out, f"hf.co/{REPO}:Q8_0")
    assert both.unfinished == ()
    assert not (out / PENDING).exists()
    assert not [*out.rglob("*.edgellm.part*")]
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


def test_what_was_broken_off_makes_place_for_what_cannot_lie_beside_it(
    store: Store, tmp_path: Path
):
    """Another commit's projector, under the same name."""
    out = tmp_path / "out"
    killed_export(store, out, 9 << 20)
    eyes = FILES | {"mmproj-F16.gguf": b"GGUF eyes", "tiny-Q4_0.gguf": DATA[:1000]}
    newer = filled(tmp_path / "hub", eyes, commit="1" * 40)
    done = export(newer, out, f"hf.co/{REPO}:Q4_0")
    assert done.unfinished == ()
    assert not [*out.rglob("*.edgellm.part*")]
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert (path.parent / "mmproj-F16.gguf").read_bytes() == b"GGUF eyes"


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


def test_where_a_file_may_be_as_large_as_it_is_none_is_cut(tmp_path: Path):
    assert largest_piece_bytes(tmp_path, 1 << 20) is None
    assert largest_piece_bytes(tmp_path, FAT_PIECE_BYTES + 1) is None
    assert [*tmp_path.iterdir()] == []


@contextlib.contextmanager
def disk(tmp_path: Path, size_bytes: int, *mkfs: str) -> Iterator[Path]:
    """A file system of its own kind, in a file."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(size_bytes)
    for command in ((*mkfs, image), ("mount", "-o", "loop", image, folder)):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no such disk can be made here (needs root and {mkfs[0]}): {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_whose_files_end_somewhere_says_so_before_it_is_written(tmp_path: Path):
    """As FAT32 does at 4 GiB, ext2 with blocks of 1 KiB does at 16 GiB (ext2: ext2_max_size)."""
    with disk(tmp_path, 8 << 20, "mke2fs", "-q", "-t", "ext2", "-b", "1024") as folder:
        assert largest_piece_bytes(folder, 15 << 30) is None
        assert largest_piece_bytes(folder, 17 << 30) == FAT_PIECE_BYTES


def test_of_a_disk_that_cannot_be_written_nobody_can_tell(tmp_path: Path):
    with disk(tmp_path, 8 << 20, "mke2fs", "-q", "-t", "ext2", "-b", "1024") as folder:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        assert largest_piece_bytes(folder, 17 << 30) is None


def test_a_disk_that_shares_blocks_between_files_has_the_model_once(tmp_path: Path):
    with disk(tmp_path, 200 << 20, "mkfs.btrfs", "-q") as folder:
        store = filled(folder / "hub")
        os.sync()
        before = shutil.disk_usage(folder).used
        export(store, folder / "out")
        os.sync()
        assert shutil.disk_usage(folder).used - before < len(DATA) // 4
        (path,) = bring_all(Store(folder / "there"), folder / "out")
        assert path.read_bytes() == DATA


LIMITED = """
    import os, resource, sys
    from pathlib import Path
    from bundle_runs import export
    from edgellm.models.bundles import writing
    from edgellm.models.store import Store

    writing.FAT_PIECE_BYTES = 3 << 20
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
    print(export(Store(Path(sys.argv[1])), sys.argv[2]).is_cut)
"""


def test_a_disk_that_tells_only_when_it_is_written_has_pieces_too(store: Store, tmp_path: Path):
    """EFBIG, as FAT32 says it, by a limit of the system's own."""
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), store.root, out],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr
    assert max(len(data) for data in content(out).values()) == 3 << 20
    assert not [*out.rglob("*.part"), *out.rglob("*.edgellm.part")]
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert path.read_bytes() == DATA


def test_no_room_is_seen_before_the_first_byte(store: Store, small_disk: Path):
    for place in (small_disk / "out", small_disk / "out.tar"):
        with pytest.raises(StorageError, match=r"10\.1 MiB are to come, 24\.0 MiB are free"):
            export(store, place)
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


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


def test_a_tar_is_not_written_over_one_that_has_more_in_it(store: Store, tmp_path: Path):
    out = tmp_path / "out.tar"
    export(store, out)
    before = out.read_bytes()
    filled(tmp_path / "hub", SMALL, repo="org/small")
    with pytest.raises(BadRequest, match="tiny-GGUF:Q8_0 in it") as told:
        export(store, out, "hf.co/org/small:Q4_0")
    assert "into a folder" in str(told.value.hint)
    assert out.read_bytes() == before
    export(store, out)  # both
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


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


def test_a_full_disk_takes_what_it_has_already(store: Store, tmp_path: Path):
    with disk(tmp_path, 12 << 20, "mke2fs", "-q", "-t", "ext2", "-m", "0") as folder:
        filled(folder / "hub", SMALL, repo="org/small")
        small = Store(folder / "hub")
        (folder / "filler").write_bytes(bytes(shutil.disk_usage(folder).free - (64 << 10)))
        export(small, tmp_path / "out")
        (path,) = bring_all(small, tmp_path / "out")
        assert path.read_bytes() == SMALL["small-Q4_0.gguf"]


def test_a_stick_that_was_in_other_hands_leads_no_export_elsewhere(store: Store, tmp_path: Path):
    """By a link in a folder's place, in a part's, in that of a tar that is being made."""
    out, mine = tmp_path / "out", tmp_path / "mine"
    export(store, out)
    (out / "models").rename(mine)
    (out / "models").symlink_to(mine)
    filled(tmp_path / "hub", FILES | {"tiny-Q8_0.gguf": DATA[::-1]}, commit="1" * 40)
    before = content(mine)
    with pytest.raises(BadRequest, match="is a link"):
        export(store, out)
    assert content(mine) == before
    (out / "models").unlink()

    killed_export(store, out, 9 << 20)
    part = next(out.rglob("tiny*.edgellm.part"))
    secret = tmp_path / "secret"
    secret.write_bytes(DATA[: 4 << 20])
    part.unlink()
    part.symlink_to(secret)
    (tmp_path / "out.tar.part").symlink_to(secret)
    export(store, out)
    export(store, tmp_path / "out.tar")
    assert secret.read_bytes() == DATA[: 4 << 20]
    for place in ("out", "out.tar"):
        (path,) = bring_all(Store(tmp_path / f"there-{place}"), tmp_path / place)
        assert path.read_bytes() == DATA[::-1]
