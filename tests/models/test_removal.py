"""What goes with a model, and what stays."""

import os
from pathlib import Path

import pytest
from hub_server import Cut, HubServer, NoRanges, Status
from store_runs import (
    DATA,
    FAST,
    REPO,
    fetch,
    fetching_process,
    leftovers,
    look,
    ranges,
    wait_for_partial,
)

from edgellm.errors import BadRequest, ModelNotFound, NetworkError, StorageError
from edgellm.models.fetching.cache_layout import RepoFolder
from edgellm.models.fetching.hub import HuggingFaceHub
from edgellm.models.fetching.lock import locked
from edgellm.models.names import HubReference
from edgellm.models.repo_files import choose_files
from edgellm.models.store import Store


def test_removing_a_model_frees_its_blob_only_when_no_commit_needs_it(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.add(REPO, "tiny-Q4_0.gguf", DATA[:1000])
    fetch(store, hub, "Q8_0")
    fetch(store, hub, "Q4_0")
    server.add(REPO, "README.md", b"a new commit")
    fetch(store, hub, "Q8_0")
    assert len(list((store.root / "models--org--tiny-GGUF" / "snapshots").iterdir())) == 2
    assert [model.quant for model in store.list()] == ["Q4_0", "Q8_0"]
    assert store.find(HubReference(REPO, "Q4_0"))  # only the older commit has it
    with pytest.raises(BadRequest, match="Q4_0, Q8_0"):
        store.remove(HubReference(REPO))
    assert store.remove(HubReference(REPO, "Q8_0")) == len(DATA)
    assert [model.quant for model in store.list()] == ["Q4_0"]
    assert store.remove(HubReference(REPO)) == 1000
    assert store.list() == ()
    with pytest.raises(ModelNotFound):
        store.remove(HubReference(REPO))


def test_other_tools_take_what_is_left_for_no_broken_cache(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    from huggingface_hub import scan_cache_dir

    server.add(REPO, "tiny-Q4_0.gguf", DATA[:1000])
    fetch(store, hub, "Q4_0")
    older = store.root / "models--org--tiny-GGUF" / "refs" / "older"
    older.write_text(server.commit(REPO))
    coming = older.with_name("coming")  # another tool names a commit before its files are here
    server.add(REPO, "README.md", b"a new commit")
    fetch(store, hub, "Q8_0")
    store.remove(HubReference(REPO, "Q8_0"))
    assert older.exists()
    assert not scan_cache_dir(store.root).warnings
    coming.write_text("c" * 40)
    store.remove(HubReference(REPO))
    assert [path.name for path in older.parent.iterdir()] == ["coming"]
    coming.unlink()
    assert not scan_cache_dir(store.root).warnings


def test_another_tools_unfinished_download_is_left_alone(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    path = fetch(store, hub)
    theirs = path.resolve().with_name("f" * 64 + ".incomplete")
    theirs.write_bytes(b"on its way")
    store.remove(HubReference(REPO))
    assert theirs.exists()


def test_a_broken_off_download_can_be_removed(server: HubServer, hub: HuggingFaceHub, store: Store):
    server.faults.append(Cut(100_000))
    server.faults.extend([Status(503)] * 3)
    with pytest.raises(NetworkError):
        fetch(store, hub)
    assert store.remove(HubReference(REPO, "Q8_0")) > 0
    assert store.partials() == ()
    assert leftovers(store) == []


@pytest.mark.parametrize(
    "reference",
    [
        HubReference(REPO, "Q4_K_M"),
        HubReference(REPO),
        HubReference(REPO, file="big-Q4_K_M-00001-of-00003.gguf"),
    ],
)
@pytest.mark.parametrize("has_part", [True, False])
def test_of_a_broken_off_split_model_the_whole_parts_are_removed_too(
    server: HubServer, hub: HuggingFaceHub, store: Store, reference: HubReference, has_part: bool
):
    for number in (1, 2, 3):
        server.add(REPO, f"big-Q4_K_M-{number:05}-of-00003.gguf", DATA[number:])
    server.faults.extend([NoRanges(), Cut(100_000), *[Status(503)] * 3])
    with pytest.raises(NetworkError):
        fetch(store, hub, "Q4_K_M")
    (part,) = store.partials()
    if not has_part:  # as after a kill between two files
        part.path.unlink()
        (part.path.parent / f"{part.path.name}.json").unlink()
    assert store.remove(reference) == len(DATA) - 1 + (part.done_bytes if has_part else 0)
    blobs = store.root / f"models--{REPO.replace('/', '--')}" / "blobs"
    assert [*blobs.iterdir()] == []
    with pytest.raises(ModelNotFound):
        store.remove(HubReference(REPO, "Q8_0"))


def test_a_projector_goes_with_the_last_model_that_sees_through_it(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.add(REPO, "tiny-Q4_0.gguf", DATA[:1000])
    server.add(REPO, "mmproj-F16.gguf", DATA[:300_000])
    for quant in ("Q8_0", "Q4_0"):
        repository, model = look(hub, quant)
        path = store.fetch(
            hub, repository, model, beside=[repository.listing.sidecars[0].file], policy=FAST
        )
    other = path.with_name("mmproj-BF16.gguf")  # somebody else's wish, while a model is here
    other.write_bytes(b"theirs")
    assert path.with_name("mmproj-F16.gguf") not in store.places(HubReference(REPO, "Q8_0"))
    assert store.remove(HubReference(REPO, "Q8_0")) == len(DATA)
    assert path.with_name("mmproj-F16.gguf").exists()
    assert other.exists()
    assert path.with_name("mmproj-F16.gguf") in store.places(HubReference(REPO))
    assert store.remove(HubReference(REPO)) == 1000 + 300_000 + len(b"theirs")
    assert not [*(store.root / f"models--{REPO.replace('/', '--')}" / "snapshots").iterdir()]


def test_the_projector_of_a_model_that_is_on_its_way_stays(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.add(REPO, "tiny-Q4_0.gguf", DATA[:1000])
    server.add(REPO, "mmproj-F16.gguf", DATA[:300_000])
    beside = [look(hub)[0].listing.sidecars[0].file]
    path = store.fetch(hub, *look(hub, "Q4_0"), beside=beside, policy=FAST)
    server.faults.extend([Cut(100_000), *[Status(503)] * 3])
    with pytest.raises(NetworkError):
        store.fetch(hub, *look(hub, "Q8_0"), beside=beside, policy=FAST)
    assert store.remove(HubReference(REPO, "Q4_0")) == 1000
    assert path.with_name("mmproj-F16.gguf").exists()
    part = store.partials()[0].done_bytes
    assert store.remove(HubReference(REPO, "Q8_0")) == part + 300_000


def test_a_projector_stays_while_another_tool_fetches_into_its_repository(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    """Nobody knows what comes: it may be the model that sees through it."""
    server.add(REPO, "mmproj-F16.gguf", DATA[:300_000])
    beside = [look(hub)[0].listing.sidecars[0].file]
    path = store.fetch(hub, *look(hub), beside=beside, policy=FAST)
    with locked(RepoFolder(store.root, REPO).lock("f" * 64)):
        assert path.with_name("mmproj-F16.gguf") not in store.places(HubReference(REPO))
        assert store.remove(HubReference(REPO)) == len(DATA)
    assert path.with_name("mmproj-F16.gguf").exists()
    assert fetch(store, hub) == path
    assert store.remove(HubReference(REPO)) == len(DATA) + 300_000


def test_models_are_told_apart_by_their_labels_and_by_their_files_where_those_do_not(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    for name in ("a-Q4_0.gguf", "b-Q4_0.gguf"):
        server.add(REPO, name, DATA[:1000] + name.encode())
    repository = hub.list_files(REPO)
    for model in repository.listing.models:
        store.fetch(hub, repository, model, policy=FAST)
    with pytest.raises(BadRequest, match=r"Q8_0, a-Q4_0\.gguf, b-Q4_0\.gguf") as asked:
        store.remove(HubReference(REPO))
    assert asked.value.hint == "say which: add :QUANT or /FILE"


def test_a_question_back_deletes_nothing(server: HubServer, hub: HuggingFaceHub, store: Store):
    server.add(REPO, "tiny-Q4_0.gguf", DATA[:1000])
    server.add(REPO, "tiny-Q6_K.gguf", DATA[:400_000])
    fetch(store, hub, "Q8_0")
    fetch(store, hub, "Q4_0")
    server.faults.append(Cut(100_000))
    server.faults.extend([Status(503)] * 3)
    with pytest.raises(NetworkError):
        fetch(store, hub, "Q6_K")
    with pytest.raises(BadRequest, match="Q4_0, Q8_0"):
        store.remove(HubReference(REPO))
    assert [part.file for part in store.partials()] == ["tiny-Q6_K.gguf"]
    assert len(store.list()) == 2
    assert store.remove(HubReference(REPO, "Q6_K")) > 0
    assert store.partials() == ()
    assert len(store.list()) == 2


@pytest.mark.parametrize("names", [("a-Q8_0.gguf", "b-Q8_0.gguf"), ("a.gguf", "b.gguf")])
def test_models_that_no_label_tells_apart_are_listed_and_removed_by_their_files(
    server: HubServer, hub: HuggingFaceHub, store: Store, names: tuple[str, str]
):
    server.repos[REPO].clear()
    for name in names:
        server.add(REPO, name, DATA[: 1000 + len(server.repos[REPO])])
    repository = hub.list_files(REPO)
    for name in names:
        store.fetch(hub, repository, choose_files(repository.listing, file=name), policy=FAST)
    with pytest.raises(BadRequest, match=", ".join(names)) as asked:
        store.remove(HubReference(REPO))
    assert asked.value.hint == "say which: add /FILE"
    assert len(store.list()) == 2
    assert all("?" not in model.name for model in store.list())
    assert store.remove(HubReference(REPO, file=names[1])) == 1001
    assert [model.files for model in store.list()] == [names[:1]]


def test_a_running_download_is_not_removed_under_its_feet(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    process = fetching_process(server, store, rate=300_000)
    wait_for_partial(store, 1)
    with pytest.raises(StorageError, match="right now"):
        store.remove(HubReference(REPO))
    process.kill()
    process.communicate()
    assert store.remove(HubReference(REPO)) > 0


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf"),
        ("mmproj-F16.gguf", "m-Q4_0.gguf"),
    ],
)
def test_what_has_come_of_a_newer_one_that_broke_off_is_not_older(
    server: HubServer, hub: HuggingFaceHub, store: Store, first: str, last: str
):
    def pull(data: bytes) -> Path:
        server.repos[REPO] = {first: data, last: data[1:]}
        repository, model = look(hub)
        beside = [side.file for side in repository.listing.sidecars]
        return store.fetch(hub, repository, model, beside=beside, policy=FAST)

    older, newer = DATA[:1000], DATA[-2000:]
    pull(older)
    server.faults.extend([Cut(len(newer)), Cut(100), Status(404)])
    with pytest.raises(ModelNotFound):
        pull(newer)
    assert store.older_bytes(HubReference(REPO)) == 0
    assert store.remove_older(HubReference(REPO)) == 0
    server.requests.clear()
    assert pull(newer).with_name(first).read_bytes() == newer
    assert ranges(server) == ["bytes=100-"]
    assert store.remove_older(HubReference(REPO)) == len(older) * 2 - 1


def test_a_commit_that_was_asked_for_after_main_is_not_replaced_by_it(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    """As `hf download --revision` leaves a newer commit than main's, or an older one on purpose."""
    path, reference = fetch(store, hub), HubReference(REPO)
    folder = RepoFolder(store.root, REPO)
    pinned = folder.path / "snapshots" / ("c" * 40) / path.name
    blob = folder.path / "blobs" / ("e" * 64)
    blob.write_bytes(DATA[:5000])
    pinned.parent.mkdir()
    pinned.symlink_to(blob)
    later_s = folder.told_at_s("main") + 10
    os.utime(pinned, (later_s, later_s), follow_symlinks=False)
    assert store.older_bytes(reference) == 0
    assert store.remove_older(reference) == 0
    server.add(REPO, path.name, DATA[:2000])
    fetch(store, hub)
    folder.write_ref("main", folder.commit("main"), later_s + 10)  # is told after that
    assert store.older_bytes(reference) == len(DATA) + 5000
    assert store.remove_older(reference) == len(DATA) + 5000
    assert not pinned.exists()
