"""From a bundle into a cache: checked, gone on with, found by others."""

import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from bundle_runs import (
    COMMIT,
    DATA,
    FILES,
    KINDS,
    REPO,
    TINY,
    TOLD_AT_S,
    Passing,
    bring_all,
    content,
    export,
    filled,
    made,
)

from edgellm.errors import BadBundle, ModelNotFound, StorageError
from edgellm.models.bundles.hub import BundleHub
from edgellm.models.bundles.importing import (
    bring,
    check_room,
    chosen,
    coming,
    missing_together_bytes,
)
from edgellm.models.bundles.layout import MANIFEST
from edgellm.models.bundles.manifest import fingerprint
from edgellm.models.bundles.reading import opened
from edgellm.models.fetching.cache_layout import RepoFolder
from edgellm.models.fetching.hub import Hub
from edgellm.models.names import HubReference
from edgellm.models.store import Store


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_comes_as_it_was_by_every_way(
    store: Store, there: Store, tmp_path: Path, kind: str
):
    place, stdin = made(store, tmp_path, kind)
    seen: list[tuple[int, int]] = []
    (path,) = bring_all(
        there, place, stdin=stdin, progress=lambda done, total, rate: seen.append((done, total))
    )
    assert {name: (path.parent / name).read_bytes() for name in FILES} == FILES
    assert there.find(HubReference(REPO, "Q8_0")) == path
    assert [one.name for one in there.list()] == [one.name for one in store.list()]
    blobs = [
        {*(one.root / f"models--{REPO.replace('/', '--')}" / "blobs").iterdir()}
        for one in (store, there)
    ]
    assert {blob.name for blob in blobs[0]} == {blob.name for blob in blobs[1]}
    assert seen[-1] == (sum(map(len, FILES.values())),) * 2


def test_huggingface_hub_finds_what_was_imported(store: Store, there: Store, tmp_path: Path):
    from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

    (path,) = bring_all(there, made(store, tmp_path, "folder")[0])
    assert snapshot_download(REPO, cache_dir=there.root, local_files_only=True) == str(path.parent)
    assert try_to_load_from_cache(REPO, path.name, cache_dir=there.root) == str(path)
    scanned = scan_cache_dir(there.root)
    assert not scanned.warnings
    assert {one.repo_id: one.size_on_disk for one in scanned.repos} == {
        REPO: sum(map(len, FILES.values()))
    }


def test_what_is_here_is_not_read_again(store: Store, there: Store, tmp_path: Path):
    place, _ = made(store, tmp_path, "folder")
    bring_all(there, place)
    with opened(place, io.BytesIO()) as bundle:
        assert [one.missing_bytes for one in coming(there, bundle.manifest.models)] == [0]
    Path(place, TINY).write_bytes(b"gone bad meanwhile")
    bring_all(there, place)


IMPORT_AND_DIE = """
    import os, sys
    from pathlib import Path
    from bundle_runs import bring_all
    from edgellm.models.store import Store

    def die(done, total, rate):
        if done >= int(sys.argv[3]):
            os.kill(os.getpid(), 9)

    bring_all(Store(Path(sys.argv[1])), sys.argv[2], stdin=sys.stdin.buffer, progress=die)
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_bytes", [1, 9 << 20])
def test_a_killed_import_goes_on_and_has_shown_nothing_that_is_not_whole(
    store: Store, there: Store, tmp_path: Path, kind: str, at_bytes: int
):
    place, stdin = made(store, tmp_path, kind)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IMPORT_AND_DIE), there.root, place, str(at_bytes)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        input=stdin.getvalue(),
        check=False,
    )
    assert done.returncode == -9
    assert there.list() == ()
    before = sum(part.done_bytes for part in there.partials())
    assert before >= min(at_bytes, 4 << 20) or at_bytes == 1
    with opened(place, stdin) as bundle:
        (one,) = coming(there, bundle.manifest.models)
        assert one.missing_bytes <= one.model.size_bytes - before
        path, _ = bring(there, bundle, one.model)
    assert path.read_bytes() == DATA
    assert there.partials() == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_is_refused_and_gets_no_name(
    store: Store, there: Store, tmp_path: Path, kind: str
):
    place, stdin = made(store, tmp_path, kind)
    if kind == "pipe":
        data = bytearray(stdin.getvalue())
        at = data.index(DATA[5 << 20 : (5 << 20) + 64])
        data[at] ^= 1
        stdin = Passing(bytes(data))
    else:
        file = (
            Path(place)
            if kind == "tar"
            else next(Path(place).rglob("tiny*.part002"), Path(place, TINY))
        )
        data = bytearray(file.read_bytes())
        at = data.index(DATA[5 << 20 : (5 << 20) + 64])
        data[at] ^= 1
        file.write_bytes(data)
    with pytest.raises(BadBundle, match="not what was exported; nothing of it was kept"):
        bring_all(there, place, stdin=stdin)
    assert there.list() == ()
    assert not [*there.root.rglob("*.edgellm.part*")]


def test_what_is_cut_short_says_so(store: Store, there: Store, tmp_path: Path):
    place, _ = made(store, tmp_path, "tar")
    data = Path(place).read_bytes()
    for n_bytes in (0, 100, 512, 5000, 6 << 20, len(data) - 1024):
        Path(place).write_bytes(data[:n_bytes])
        with pytest.raises(BadBundle):
            bring_all(there, place)
    for n_bytes in (0, 100, 512, 5000, 6 << 20):
        with pytest.raises(BadBundle):
            bring_all(there, "-", stdin=Passing(data[:n_bytes]))
    assert there.list() == ()


def test_a_model_is_called_there_by_the_hub_that_it_came_from(
    store: Store, there: Store, tmp_path: Path
):
    RepoFolder(store.root, REPO).note_hub(COMMIT, "modelscope")
    bring_all(there, made(store, tmp_path, "folder")[0])
    assert [one.name for one in there.list()] == [f"modelscope.cn/{REPO}:Q8_0"]


def test_where_nothing_comes_that_is_said(there: Store):
    with pytest.raises(BadBundle, match="nothing in it"):
        bring_all(there, "-", stdin=Passing())


def test_the_sha256_that_export_told_refuses_every_other_manifest(
    store: Store, there: Store, tmp_path: Path
):
    place, _ = made(store, tmp_path, "folder")
    manifest = Path(place, MANIFEST)
    sha256 = fingerprint(manifest.read_bytes())
    with opened(place, io.BytesIO(), sha256.upper()) as bundle:
        assert bundle.sha256 == sha256
    told = json.loads(manifest.read_text())
    told["models"][0]["license"] = "another"
    manifest.write_text(json.dumps(told))
    with pytest.raises(BadBundle, match="--sha256"), opened(place, io.BytesIO(), sha256):
        pass


def test_a_bundle_on_a_medium_that_cannot_be_written_is_read(
    store: Store, there: Store, tmp_path: Path
):
    place, _ = made(store, tmp_path, "pieces")
    before = content(Path(place))
    for path in (Path(place), *Path(place).rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    bring_all(there, place)
    assert content(Path(place)) == before
    for path in (Path(place), *Path(place).rglob("*")):
        path.chmod(0o755)


def test_those_that_are_named_come_and_no_others(store: Store, there: Store, tmp_path: Path):
    small = {"small-Q4_0.gguf": b"GGUF small", "small-Q8_0.gguf": b"GGUF larger"}
    filled(tmp_path / "hub", small, repo="org/small")
    place, _ = made(store, tmp_path, "tar")
    with opened(place, io.BytesIO()) as bundle:
        for wanted, names in (
            ([HubReference("org/small", "Q4_0")], ["hf.co/org/small:Q4_0"]),
            ([HubReference("org/small")], ["hf.co/org/small:Q4_0", "hf.co/org/small:Q8_0"]),
            ([HubReference(REPO, file="tiny-Q8_0.gguf")], [f"hf.co/{REPO}:Q8_0"]),
        ):
            assert [one.name for one in chosen(bundle, wanted)] == names
        with pytest.raises(ModelNotFound, match="has no org/none") as told:
            chosen(bundle, [HubReference("org/none")])
        assert f"hf.co/{REPO}:Q8_0" in told.value.hint
        bring(there, bundle, chosen(bundle, [HubReference("org/small", "Q8_0")])[0])
    assert [one.name for one in there.list()] == ["hf.co/org/small:Q8_0"]


@pytest.mark.parametrize(
    ("told_at_s", "moves"),
    [(TOLD_AT_S - 1000, True), (TOLD_AT_S + 1000, False)],
    ids=["told before", "told later"],
)
def test_main_moves_to_what_the_hub_told_later_and_never_back(
    store: Store, tmp_path: Path, told_at_s: float, moves: bool
):
    place, _ = made(store, tmp_path, "folder")
    other = FILES | {"tiny-Q8_0.gguf": DATA[::-1]}
    there = filled(tmp_path / "there", other, commit="f" * 40, told_at_s=told_at_s)
    with opened(place, io.BytesIO()) as bundle:
        path, stays_at = bring(there, bundle, bundle.manifest.models[0])
    assert path.read_bytes() == DATA
    assert stays_at == (None if moves else "f" * 40)
    ref = there.root / f"models--{REPO.replace('/', '--')}" / "refs" / "main"
    assert ref.read_text() == (COMMIT if moves else "f" * 40)
    assert ref.stat().st_mtime == (TOLD_AT_S if moves else told_at_s)


def test_of_a_commit_that_no_name_meant_main_is_set_and_whatever_is_told_later_is_newer(
    store: Store, there: Store, tmp_path: Path
):
    (store.root / f"models--{REPO.replace('/', '--')}" / "refs" / "main").unlink()
    bring_all(there, made(store, tmp_path, "folder")[0])
    ref = there.root / f"models--{REPO.replace('/', '--')}" / "refs" / "main"
    assert (ref.read_text(), ref.stat().st_mtime) == (COMMIT, 0)


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_can_hardly_be_harms_nothing(
    store: Store, there: Store, tmp_path: Path, year: str
):
    place, _ = made(store, tmp_path, "folder")
    manifest = Path(place, MANIFEST)
    told = json.loads(manifest.read_text())
    told["models"][0]["told_at"] = year
    manifest.write_text(json.dumps(told))
    for _ in range(2):
        (path,) = bring_all(there, place)
    assert path.read_bytes() == DATA


def test_what_two_models_share_takes_room_once(store: Store, there: Store, tmp_path: Path):
    filled(store.root, FILES | {"tiny-Q4_0.gguf": DATA[:1000]})
    export(store, tmp_path / "out")
    with opened(str(tmp_path / "out"), io.BytesIO()) as bundle:
        models = bundle.manifest.models
        assert len(models) == 2
        assert missing_together_bytes(there, models) == bundle.manifest.size_bytes
        bring(there, bundle, models[0])
        left_bytes = sum(file.size_bytes for file in models[1].model.files)
        assert missing_together_bytes(there, models) == left_bytes


def test_no_room_for_all_together_is_seen_before_the_first_byte(
    store: Store, tmp_path: Path, small_disk: Path
):
    place, _ = made(store, tmp_path, "folder")
    there = Store(small_disk / "deep" / "hub")
    with opened(place, io.BytesIO()) as bundle:
        listed = coming(there, bundle.manifest.models)
        with pytest.raises(StorageError, match="are to come"):
            check_room(there, listed)


def test_a_bundle_is_a_hub(store: Store, tmp_path: Path):
    place, _ = made(store, tmp_path, "pieces")
    with opened(place, io.BytesIO()) as bundle:
        hub: Hub = BundleHub(bundle)
        repository = hub.list_files(REPO)
        assert (repository.commit, repository.license) == (COMMIT, "mit")
        assert hub.list_files(REPO, COMMIT).files == repository.files
        (model,) = repository.listing.models
        url = model.files[0].url
        size = len(DATA)
        for start, end in ((0, 10), ((3 << 20) - 5, (3 << 20) + 5), (size - 3, size + 9), (5, 5)):
            assert hub.read_range(url, start, end) == DATA[start:end]
        assert b"".join(hub.stream(url, (6 << 20) + 1)) == DATA[(6 << 20) + 1 :]
        with pytest.raises(ModelNotFound):
            hub.list_files("org/none")
        with pytest.raises(ModelNotFound, match="of revision v2"):
            hub.list_files(REPO, "v2")
        with pytest.raises(BadBundle):
            hub.read_range("models/org/none/x", 0, 1)
