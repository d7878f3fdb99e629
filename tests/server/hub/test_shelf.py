import contextlib
import os
import resource
from urllib.parse import unquote

import pytest
from cli_runs import wait_for
from mirror_runs import COMMIT, FILE, OLDER, REPO, Cache, demo, git_oid, sha256
from server.hub.test_asked import HOSTILE_FILES

from edgellm.errors import StorageError
from edgellm.models.repo_files import RepoFile
from edgellm.server.hub.digests import Digests
from edgellm.server.hub.shelf import Shelf
from edgellm.server.hub.told import NotHere

SECRET = b"root:x:0:0"


@pytest.fixture
def cache(tmp_path):
    cache = Cache(tmp_path / "hub")
    cache.add()
    return cache


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.gguf"
    path.write_bytes(SECRET)
    return path


def content(cache, path=FILE, revision="main", repo=REPO):
    opened = cache.shelf().open(repo, revision, path)
    try:
        return os.pread(opened.handle, 1 << 26, 0)
    finally:
        opened.close()


def paths(cache, revision="main"):
    return [file.path for file in cache.shelf().copy(REPO, revision).files]


def is_hidden(cache, path, revision="main"):
    """Neither listed nor sent."""
    with pytest.raises(NotHere):
        content(cache, path, revision)
    return path not in paths(cache)


def test_a_blob_is_called_by_its_name(cache):
    cache.add("config.json", b"{}", by_git=True)
    copy = cache.shelf().copy(REPO, "main")
    assert copy.commit == COMMIT
    assert copy.files == (
        RepoFile("config.json", 2, git_oid=git_oid(b"{}")),
        RepoFile(FILE, len(demo()), sha256=sha256(demo())),
    )
    assert content(cache) == demo()


def test_a_model_that_comes_is_there_at_once(cache):
    shelf = cache.shelf()
    assert [copy.repo for copy in shelf.copies()] == [REPO]
    cache.add(repo="org/new")
    assert [copy.repo for copy in shelf.copies()] == [REPO, "org/new"]


def test_where_nothing_is_nothing_is_there(tmp_path):
    shelf = Cache(tmp_path / "none").shelf()
    assert list(shelf.copies()) == []
    with pytest.raises(NotHere) as raised:
        shelf.copy(REPO, "main")
    assert raised.value.code == "RepoNotFound"


def test_only_models_are_served(cache):
    (cache.root / "datasets--org--data" / "snapshots" / COMMIT).mkdir(parents=True)
    (cache.root / "datasets--org--data" / "snapshots" / COMMIT / "x").write_text("x")
    (cache.root / "notes.gguf").write_text("x")
    assert [copy.repo for copy in cache.shelf().copies()] == [REPO]


def test_main_is_what_this_disk_has(cache):
    """The commit that it means, and what older ones have beside it."""
    cache.add("demo-Q4_0.gguf", b"older Q4", commit=OLDER, ref=None)
    cache.add(FILE, b"older Q8", commit=OLDER, ref=None)
    assert paths(cache) == ["demo-Q4_0.gguf", FILE]
    assert paths(cache, COMMIT) == paths(cache)  # what a client has listed it can fetch
    assert content(cache, FILE) == demo()
    assert content(cache, "demo-Q4_0.gguf", COMMIT) == b"older Q4"
    opened = cache.shelf().open(REPO, "main", "demo-Q4_0.gguf")
    opened.close()
    assert opened.commit == COMMIT


def test_another_commit_is_its_snapshot_alone(cache):
    cache.add("demo-Q4_0.gguf", b"older Q4", commit=OLDER, ref="v1")
    for revision in (OLDER, "v1"):
        assert paths(cache, revision) == ["demo-Q4_0.gguf"]
        with pytest.raises(NotHere) as raised:
            content(cache, FILE, revision)
        assert (raised.value.code, raised.value.commit) == ("EntryNotFound", OLDER)


@pytest.mark.parametrize("revision", ["v2", "c" * 40, "a" * 39, "A" * 40, "HEAD"])
def test_a_revision_that_is_not_here_is_told_so(cache, revision):
    with pytest.raises(NotHere) as raised:
        cache.shelf().copy(REPO, revision)
    assert raised.value.code == "RevisionNotFound"


def test_main_without_a_ref_is_the_newest(tmp_path):
    cache = Cache(tmp_path)
    old = cache.add("old.gguf", b"old", commit=OLDER, ref=None).parent
    cache.add("new.gguf", b"new", commit=COMMIT, ref=None)
    os.utime(old, (1, 1))
    assert cache.shelf().copy(REPO, "main").commit == COMMIT
    cache.name("main", "d" * 40)  # whose snapshot was removed
    assert cache.shelf().copy(REPO, "main").commit == COMMIT


def test_names_are_told_that_mean_something_here(cache):
    cache.name("v1", COMMIT)
    cache.name("refs/pr/1", COMMIT)
    cache.name("gone", "d" * 40)
    cache.folder().joinpath("refs/binary").write_bytes(b"\xff\xfe\x00")
    cache.folder().joinpath("refs/a b\n").write_text(COMMIT)
    assert cache.shelf().refs(REPO) == {"main": COMMIT, "v1": COMMIT, "refs/pr/1": COMMIT}


@pytest.mark.parametrize("path", HOSTILE_FILES)
def test_a_name_that_leaves_its_folder_is_not_opened(cache, path):
    """As if the request's reader had let it through."""
    for wanted in (path, unquote(path)):
        with pytest.raises(NotHere):
            cache.shelf().open(REPO, "main", wanted)


@pytest.mark.parametrize("repo", ["../x", "org/../x", "org", "", "a/b/c", "org/\0", "/etc/passwd"])
def test_a_repository_that_leaves_the_cache_is_not_opened(cache, repo):
    with pytest.raises(NotHere):
        cache.shelf().open(repo, "main", FILE)


def test_a_link_out_of_the_repository_leads_nowhere(cache, secret):
    cache.place("absolute.gguf").symlink_to(secret)
    cache.place("relative.gguf").symlink_to("../../../../secret.gguf")
    other = cache.add("other.gguf", b"other", repo="org/other")
    cache.place("other.gguf").symlink_to(other)
    for path in ("absolute.gguf", "relative.gguf", "other.gguf"):
        assert is_hidden(cache, path)


def test_a_linked_folder_or_snapshot_leads_nowhere(cache, secret):
    cache.place("folder").symlink_to(secret.parent)
    assert is_hidden(cache, f"folder/{secret.name}")
    (cache.folder() / "snapshots" / OLDER).symlink_to(secret.parent)
    assert is_hidden(cache, secret.name, OLDER)
    assert is_hidden(cache, secret.name, "main")


def test_a_blob_that_is_a_link_leads_nowhere(cache, secret):
    blob = cache.folder() / "blobs" / ("e" * 64)
    blob.symlink_to(secret)
    cache.place("blob.gguf").symlink_to(blob)
    assert is_hidden(cache, "blob.gguf")


def test_other_files_of_the_cache_are_not_served(cache):
    """Downloads on their way, names, and what else lies there."""
    blobs, names = cache.folder() / "blobs", cache.folder() / "refs"
    for place in (
        blobs / ("f" * 64 + ".edgellm.part"),
        blobs / ("f" * 64 + ".incomplete"),
        blobs / "notes",
        names / "main",
        cache.folder() / "trees.json",
    ):
        if not place.exists():
            place.write_bytes(b"half")
        cache.place(f"{place.name[-9:]}.gguf").symlink_to(place)
        assert is_hidden(cache, f"{place.name[-9:]}.gguf")


def test_links_in_a_ring_and_to_nothing_are_no_files(cache):
    cache.place("ring.gguf").symlink_to("ring.gguf")
    cache.place("nothing.gguf").symlink_to("../../blobs/" + "9" * 64)
    os.mkfifo(cache.place("pipe.gguf"))
    for path in ("ring.gguf", "nothing.gguf", "pipe.gguf"):
        assert is_hidden(cache, path)


@pytest.mark.parametrize(
    "name", ["a\x1b[2J.gguf", "a\u202eb.gguf", "a\nb.gguf", "nul.gguf", "a?.gguf"]
)
def test_a_name_that_no_system_should_have_is_not_there(cache, name):
    """It lies on the disk, and would steer a terminal or a client's file system."""
    cache.add(name, b"odd")
    assert is_hidden(cache, name)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is hidden from root")
def test_another_users_files_are_not_there(cache):
    place = cache.add("theirs.gguf", b"theirs")
    place.resolve().chmod(0)
    assert is_hidden(cache, "theirs.gguf")


def test_a_name_in_other_letters_is_the_same(cache):
    copy = cache.shelf().copy(REPO.upper(), "main")
    assert (copy.repo, copy.commit) == (REPO, COMMIT)
    assert content(cache, repo=REPO.lower()) == demo()


@contextlib.contextmanager
def files_left(n_files):
    """To be opened by this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    handles = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        with contextlib.suppress(OSError):
            while True:
                handles.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(n_files):
            os.close(handles.pop())
        yield
    finally:
        for handle in handles:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_where_too_many_files_are_open_nothing_is_missing(cache):
    """It is told as what it is: a 404 would have clients believe that the model is gone."""
    shelf = cache.shelf()
    with files_left(0), pytest.raises(StorageError, match="Too many open files"):
        shelf.open(REPO, COMMIT, FILE)


def test_where_too_many_files_are_open_no_list_is_shorter(cache):
    """One is left: a file that is read for its digest takes two."""
    cache.place("copied-F16.gguf").write_bytes(b"copied")
    shelf = cache.shelf()
    with files_left(1), pytest.raises(StorageError, match="Too many open files"):
        shelf.copy(REPO, "main")
    assert "copied-F16.gguf" in [file.path for file in shelf.copy(REPO, "main").files]


def test_a_repository_on_another_disk_is_served(cache, tmp_path):
    """Its whole folder is a link, as people make them: what is in it is its own."""
    elsewhere = tmp_path / "disk"
    cache.folder().rename(elsewhere)
    cache.folder().symlink_to(elsewhere)
    assert content(cache) == demo()
    assert paths(cache) == [FILE]


def test_a_file_without_a_blob_is_read_for_its_digest(cache):
    """As on disks that make no links. Small files hash as git's, models by sha256."""
    cache.place("copied-F16.gguf").write_bytes(b"copied")
    cache.place("config.json").write_bytes(b"{ }")
    cache.place("f" * 64).write_bytes(b"called like a blob")
    by_path = {file.path: file for file in cache.shelf().copy(REPO, "main").files}
    assert by_path["copied-F16.gguf"].sha256 == sha256(b"copied")
    assert by_path["config.json"].git_oid == git_oid(b"{ }")
    assert by_path["f" * 64].git_oid == git_oid(b"called like a blob")


def test_a_large_one_is_there_when_it_has_been_read(cache):
    place = cache.place("large-F16.gguf")
    with place.open("wb") as file:
        file.truncate(65 << 20)
    told = []
    digests = Digests(lambda path, size_bytes: told.append((path.name, size_bytes)))
    shelf = Shelf(cache.root, digests)
    assert [file.path for file in shelf.copy(REPO, "main").files] == [FILE]
    with pytest.raises(NotHere):
        shelf.open(REPO, "main", "large-F16.gguf")
    wait_for(lambda: len(shelf.copy(REPO, "main").files) == 2)
    assert told == [("large-F16.gguf", 65 << 20)]
    listed = {file.path: file.sha256 for file in shelf.copy(REPO, "main").files}
    assert listed["large-F16.gguf"] == sha256(bytes(65 << 20))


def test_a_file_that_has_changed_is_read_again(cache):
    place = cache.place("notes-F16.gguf")
    shelf = cache.shelf()
    for data in (b"one", b"another"):
        place.write_bytes(data)
        listed = {file.path: file.sha256 for file in shelf.copy(REPO, "main").files}
        assert listed["notes-F16.gguf"] == sha256(data)


def test_a_file_that_has_changed_since_it_was_found_has_not_its_digest(tmp_path):
    """It would be told for the content that is open already, and sent."""
    path, newer = tmp_path / "x.gguf", tmp_path / "newer"
    path.write_bytes(b"older")
    newer.write_bytes(b"newer")
    found, digests = path.stat(), Digests()
    newer.replace(path)
    with pytest.raises(OSError, match="has changed"):
        digests.of(path, found)
    assert digests.of(path, path.stat()) == sha256(b"newer")
