"""Disks without links, full ones, and those that can't be written."""

import errno
import os
import random
import shutil
from pathlib import Path

import pytest
from hub_server import HubServer
from store_runs import DATA, FAST, REPO, fetch, leftovers, ranges

from edgellm.errors import ModelNotFound, StorageError
from edgellm.models.fetching.cache_layout import LinkMethod
from edgellm.models.fetching.download import storage_error
from edgellm.models.fetching.hub import HuggingFaceHub, Repository
from edgellm.models.names import HubReference
from edgellm.models.repo_files import ModelFiles, RepoFile
from edgellm.models.store import Store


def refused(blob: Path, place: Path) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("methods", [(refused, os.link), (refused, refused, os.replace)])
def test_a_disk_without_links_keeps_a_model_once_and_gives_its_room_back(
    server: HubServer, hub: HuggingFaceHub, tmp_path: Path, methods: tuple[LinkMethod, ...]
):
    server.add(REPO, "tiny-Q4_0.gguf", DATA[:1000])
    store = Store(tmp_path / "hub", methods)
    assert fetch(store, hub, "Q8_0").read_bytes() == DATA
    fetch(store, hub, "Q4_0")
    n_asked = len(ranges(server))
    path = fetch(store, hub, "Q8_0")
    assert len(ranges(server)) == n_asked  # nothing comes twice
    found = store.find(HubReference(REPO, "Q8_0"))
    assert found == path
    assert taken_bytes(store) >= len(DATA) + 1000
    assert store.remove(HubReference(REPO, "Q8_0")) == len(DATA)
    assert store.remove(HubReference(REPO, "Q4_0")) == 1000
    assert store.list() == ()
    assert taken_bytes(store) < 1000


def full(blob: Path, place: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def killed_after_its_move(blob: Path, place: Path) -> None:
    blob.replace(place)
    raise KeyboardInterrupt


def test_a_link_that_fails_for_another_reason_is_told_and_the_blob_stays(
    server: HubServer, hub: HuggingFaceHub, tmp_path: Path
):
    with pytest.raises(StorageError, match="the disk is full"):
        fetch(Store(tmp_path / "hub", (full, os.link, os.replace)), hub, "Q8_0")
    (blob,) = (tmp_path / "hub").rglob("blobs/*")
    assert blob.read_bytes() == DATA
    assert fetch(Store(tmp_path / "hub"), hub, "Q8_0").resolve() == blob
    assert len(ranges(server)) == 1


def test_a_kill_right_after_the_blob_was_moved_loses_nothing(
    server: HubServer, hub: HuggingFaceHub, tmp_path: Path
):
    with pytest.raises(KeyboardInterrupt):
        fetch(Store(tmp_path / "hub", (refused, refused, killed_after_its_move)), hub, "Q8_0")
    store = Store(tmp_path / "hub", (refused, refused, os.replace))
    assert fetch(store, hub, "Q8_0").read_bytes() == DATA
    assert len(ranges(server)) == 1
    assert leftovers(store) == []


def taken_bytes(store: Store) -> int:
    inodes = {
        path.stat().st_ino: path.stat().st_size for path in store.root.rglob("*") if path.is_file()
    }
    return sum(inodes.values())


def test_a_disk_that_gives_no_second_name_by_any_way_says_so(hub: HuggingFaceHub, tmp_path: Path):
    with pytest.raises(StorageError, match="permission"):
        fetch(Store(tmp_path / "hub", (refused, refused)), hub, "Q8_0")


def test_a_model_in_two_commits_on_a_disk_without_links_is_freed_whole(
    server: HubServer, hub: HuggingFaceHub, tmp_path: Path
):
    store = Store(tmp_path / "hub", (refused, refused, os.replace))
    fetch(store, hub, "Q8_0")
    server.add(REPO, "README.md", b"a new commit")
    fetch(store, hub, "Q8_0")
    assert store.remove(HubReference(REPO, "Q8_0")) == 2 * len(DATA)


def test_no_disk_space_is_seen_before_the_first_byte(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    file = RepoFile("huge-Q8_0.gguf", 1 << 60, "0" * 64, url=f"{server.endpoint}/x")
    repository = Repository(REPO, "main", "0" * 40, None, (file,))
    with pytest.raises(StorageError, match=r"1048576\.0 TiB are to come") as raised:
        store.fetch(hub, repository, ModelFiles("Q8_0", (file,)))
    assert "edgellm rm" in raised.value.hint
    assert ranges(server) == []


def test_a_disk_that_fills_up_on_the_way_ends_it_clearly_and_room_lets_it_go_on(
    server: HubServer, hub: HuggingFaceHub, small_disk: Path
):
    data = random.Random(5).randbytes(4 << 20)
    server.add(REPO, "tiny-Q4_0.gguf", data)
    store, filler = Store(small_disk / "hub"), small_disk / "filler"

    def fill_the_disk(done: int, total: int, rate: float | None) -> None:
        if done > total // 4 and not filler.exists():
            with filler.open("wb") as file:
                room = os.statvfs(small_disk)
                file.write(bytes(room.f_bavail * room.f_frsize - (64 << 10)))

    with pytest.raises(StorageError, match="disk is full"):
        fetch(store, hub, "Q4_0", progress=fill_the_disk)
    assert store.find(HubReference(REPO, "Q4_0")) is None
    filler.unlink()
    assert fetch(store, hub, "Q4_0").read_bytes() == data
    assert any(str(asked).startswith("bytes=") for asked in ranges(server))


def test_a_cache_that_cannot_be_written_says_so(hub: HuggingFaceHub, tmp_path: Path):
    (tmp_path / "hub").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="model cache"):
        fetch(Store(tmp_path / "hub"), hub)


def test_a_name_in_the_cache_that_is_no_text_hides_nothing_else(hub: HuggingFaceHub, store: Store):
    path = fetch(store, hub)
    odd = Path(os.fsdecode(b"\xff-Q4_0.gguf"))
    try:
        (path.parent / odd).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    assert [model.path for model in store.list()] == [path]


def test_a_cache_on_a_disk_that_is_not_mounted_says_so(hub: HuggingFaceHub, store: Store):
    store.root.symlink_to("/nowhere/models")
    with pytest.raises(StorageError, match="isn't there") as told:
        fetch(store, hub)
    assert "mounted" in told.value.hint


def test_a_cache_that_was_copied_through_its_links_is_freed_whole(
    server: HubServer, hub: HuggingFaceHub, store: Store, tmp_path: Path
):
    server.add(REPO, "tiny-Q4_0.gguf", DATA[:1000])
    fetch(store, hub, "Q4_0")
    fetch(store, hub, "Q8_0")
    copy = Store(tmp_path / "copy")
    shutil.copytree(store.root, copy.root)  # which follows links, as scp -r does
    assert copy.remove(HubReference(REPO, "Q8_0")) == 2 * len(DATA)
    blobs = [blob for blob in copy.root.rglob("blobs/*") if blob.is_file()]
    assert [blob.stat().st_size for blob in blobs] == [1000]
    assert copy.find(HubReference(REPO, "Q4_0"))


@pytest.mark.parametrize("name", ["snapshots", "blobs"])
def test_a_folder_of_the_cache_may_be_a_link_to_another_disk(
    hub: HuggingFaceHub, store: Store, tmp_path: Path, name: str
):
    folder = store.root / f"models--{REPO.replace('/', '--')}"
    folder.mkdir(parents=True)
    elsewhere = tmp_path / "another" / "disk" / "deep"
    elsewhere.mkdir(parents=True)
    (folder / name).symlink_to(elsewhere)
    assert fetch(store, hub).read_bytes() == DATA


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_is_for_another_users_eyes_hides_nothing_else(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.add("org/other", "m-Q8_0.gguf", DATA[:1000])
    repository = hub.list_files("org/other")
    theirs = store.fetch(hub, repository, repository.listing.models[0], policy=FAST)
    own = fetch(store, hub)
    folder = theirs.parents[2]
    for shut in (folder, folder / "snapshots", folder / "blobs"):
        shut.chmod(0)
        assert [model.path for model in store.list()] == [own]
        assert store.partials() == ()
        with pytest.raises(ModelNotFound):
            store.remove(HubReference("org/other"))
        shut.chmod(0o700)
    store.root.chmod(0)
    with pytest.raises(StorageError, match="read the model cache"):
        store.list()
    store.root.chmod(0o700)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "permission"),
        (errno.EROFS, "permission"),
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_disk_refuses_is_said_in_words(tmp_path: Path, number: int, said: str):
    error = storage_error(OSError(number, os.strerror(number), "/home/ada/x"), tmp_path)
    assert said in str(error)
    assert "ada" not in f"{error} {error.hint}"
