import hashlib
import os
from pathlib import Path

import pytest
from gguf_files import gguf_bytes, llama_bytes
from hub_server import Cut, HubServer, NoRanges, Status
from store_runs import (
    DATA,
    FAST,
    REPO,
    fetch,
    leftovers,
    look,
    ranges,
)

from edgellm.errors import NetworkError, Offline, StorageError
from edgellm.models.fetching.cache_layout import RepoFolder
from edgellm.models.fetching.hub import HuggingFaceHub, Repository
from edgellm.models.fetching.policy import DownloadPolicy, Pace
from edgellm.models.names import HubReference
from edgellm.models.repo_files import ModelFiles, RepoFile, choose_files
from edgellm.models.store import Store


def test_a_fetched_model_is_whole_linked_read_only_and_found(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    seen: list[tuple[int, int]] = []
    path = fetch(store, hub, progress=lambda done, total, rate: seen.append((done, total)))
    assert path.read_bytes() == DATA
    assert path.name == "tiny-Q8_0.gguf"
    blob = path.resolve()
    assert blob.name == hashlib.sha256(DATA).hexdigest()
    assert blob.stat().st_mode & 0o777 == 0o444
    assert store.find(HubReference(REPO)) == path
    assert store.find(HubReference(REPO, "Q8_0")) == path
    assert store.find(HubReference(REPO, file="tiny-Q8_0.gguf")) == path
    assert store.find(HubReference(REPO, "Q4_0")) is None
    assert store.find(HubReference(REPO, file="other.gguf")) is None
    assert store.find(HubReference("org/other")) is None
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(DATA), len(DATA))
    assert leftovers(store) == []


def test_what_is_here_is_not_fetched_again(server: HubServer, hub: HuggingFaceHub, store: Store):
    fetch(store, hub)
    fetch(store, hub)
    assert len(ranges(server)) == 1


def test_huggingface_hub_finds_what_we_fetched_and_we_find_what_it_fetched(
    server: HubServer, hub: HuggingFaceHub, store: Store, tmp_path: Path
):
    from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache

    path = fetch(store, hub)
    assert try_to_load_from_cache(REPO, path.name, cache_dir=store.root) == str(path)
    scanned = scan_cache_dir(store.root)
    assert not scanned.warnings
    assert {repo.repo_id: repo.size_on_disk for repo in scanned.repos} == {REPO: len(DATA)}

    theirs = Store(tmp_path / "theirs")
    downloaded = hf_hub_download(
        REPO, "tiny-Q8_0.gguf", cache_dir=theirs.root, endpoint=server.endpoint, token=False
    )
    assert theirs.find(HubReference(REPO, "Q8_0")) == Path(downloaded)
    assert [model.name for model in theirs.list()] == [f"hf.co/{REPO}:Q8_0"]


def test_all_parts_and_a_projector_come_together(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    parts = [DATA[:200_000], DATA[200_000:350_000], DATA[350_000:]]
    for number, part in enumerate(parts, 1):
        server.add(REPO, f"big/big-Q4_K_M-{number:05}-of-00003.gguf", part)
    server.add(REPO, "mmproj-F16.gguf", b"projector")
    repository, model = look(hub, "Q4_K_M")
    projector = repository.listing.sidecars[0].file
    seen: list[int] = []
    path = store.fetch(
        hub,
        repository,
        model,
        beside=[projector],
        progress=lambda done, total, rate: seen.append(done),
    )
    assert path.name == "big-Q4_K_M-00001-of-00003.gguf"
    assert [p.read_bytes() for p in sorted(path.parent.iterdir())] == parts
    assert (path.parents[1] / "mmproj-F16.gguf").read_bytes() == b"projector"
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA) + len(b"projector")


def test_a_split_model_with_a_part_gone_is_not_found(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    for number in (1, 2):
        server.add(REPO, f"big-Q4_K_M-{number:05}-of-00002.gguf", DATA[number:])
    path = fetch(store, hub, "Q4_K_M")
    path.with_name("big-Q4_K_M-00002-of-00002.gguf").resolve().unlink()
    assert store.find(HubReference(REPO, "Q4_K_M")) is None


def test_a_small_file_of_git_is_checked_by_gits_own_digest(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.add(REPO, "small-Q4_0.gguf", b"GGUF small")
    server.plain_git.add("small-Q4_0.gguf")
    assert fetch(store, hub, "Q4_0").read_bytes() == b"GGUF small"


@pytest.mark.parametrize("sha256", ["../../../etc/cron.d/x", "abc", "A" * 64, "0" * 63, "0" * 65])
def test_a_digest_that_is_none_never_becomes_a_path(hub: HuggingFaceHub, store: Store, sha256: str):
    file = RepoFile("x-Q8_0.gguf", 10, sha256, url="http://127.0.0.1:1/x")
    repository = Repository(REPO, "main", "0" * 40, None, (file,))
    with pytest.raises(NetworkError, match="digest"):
        store.fetch(hub, repository, ModelFiles("Q8_0", (file,)))


@pytest.mark.parametrize(
    ("path", "commit", "revision"),
    [
        ("../../x-Q8_0.gguf", "0" * 40, "main"),
        ("x-Q8_0.gguf", "../..", "main"),
        ("x-Q8_0.gguf", "0" * 40, "../../../x"),
    ],
)
def test_a_name_that_leaves_the_cache_is_refused(
    server: HubServer, hub: HuggingFaceHub, store: Store, path: str, commit: str, revision: str
):
    true = hub.list_files(REPO).files[0]
    file = RepoFile(path, true.size_bytes, true.sha256, url=true.url)
    repository = Repository(REPO, revision, commit, None, (file,))
    with pytest.raises(StorageError, match="no name"):
        store.fetch(hub, repository, ModelFiles("Q8_0", (file,)))
    outside = [p for p in store.root.parent.rglob("*") if store.root not in (p, *p.parents)]
    assert outside == []


def test_a_commit_that_is_none_is_said_before_anything_comes(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    true = hub.list_files(REPO)
    lying = Repository(REPO, "main", "../../../x", None, true.files)
    with pytest.raises(StorageError, match="no name for a commit"):
        store.fetch(hub, lying, ModelFiles("Q8_0", true.files))
    assert ranges(server) == []


def test_a_commit_that_is_none_takes_no_file_away_elsewhere(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    true, folder = hub.list_files(REPO), RepoFolder(store.root, REPO)
    folder.note_hub("f" * 40, "modelscope")
    mine = store.root / "mine"
    mine.write_text("mine")
    with pytest.raises(StorageError, match="no name for a commit"):
        store.fetch(
            hub,
            Repository(REPO, "main", "../../mine", None, true.files),
            ModelFiles("Q8_0", true.files),
        )
    assert mine.exists()


def test_a_model_is_not_whole_before_its_projector_is(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.add(REPO, "mmproj-F16.gguf", DATA[:300_000])
    repository, model = look(hub)
    beside = [repository.listing.sidecars[0].file]
    server.faults.extend([Cut(100_000), *[Status(503)] * 3])
    with pytest.raises(NetworkError):
        store.fetch(hub, repository, model, beside=beside, policy=FAST)
    assert store.list() == ()
    assert [part.file for part in store.partials()] == ["mmproj-F16.gguf"]
    server.faults.extend([NoRanges(), Cut(100_000), *[Status(503)] * 3])
    with pytest.raises(NetworkError):
        store.fetch(hub, repository, model, beside=beside, policy=FAST)
    assert store.list() == ()
    path = store.fetch(hub, repository, model, beside=beside, policy=FAST)
    assert path.read_bytes() == DATA
    assert path.with_name("mmproj-F16.gguf").read_bytes() == DATA[:300_000]


def test_what_main_means_is_newer_than_what_only_came_later(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    old = fetch(store, hub)
    server.add(REPO, "tiny-Q8_0.gguf", DATA[:5000])
    new = fetch(store, hub)
    os.utime(old, (2e9, 2e9))  # as if the hub had gone back and forth
    assert [model.path for model in store.list()] == [new]


def test_a_merged_model_is_served_and_an_adapter_is_not_whatever_they_are_called(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    header = {"general.architecture": "llama", "general.type": "adapter"}
    for repo, data in (("org/merged", llama_bytes()), ("org/lora", gguf_bytes(header, []))):
        server.add(repo, "X-lora-Q8_0.gguf", data)
        repository = hub.list_files(repo)
        store.fetch(hub, repository, choose_files(repository.listing), policy=FAST)
    assert [model.name for model in store.list()] == ["hf.co/org/merged:Q8_0"]
    assert store.find(HubReference("org/merged"))
    assert store.find(HubReference("org/lora")) is None
    assert store.remove(HubReference("org/merged")) == len(llama_bytes())


def test_a_pinned_commit_is_not_satisfied_by_another(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    fetch(store, hub)
    commit = server.commit(REPO)
    assert store.find(HubReference(REPO, revision=commit))
    assert store.find(HubReference(REPO, revision="0" * 40)) is None


def test_offline_a_model_that_is_here_is_found_and_another_is_refused(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    path = fetch(store, hub)
    server.requests.clear()
    assert store.find(HubReference(REPO)) == path
    with pytest.raises(Offline):
        HuggingFaceHub(endpoint=server.endpoint, offline=True).list_files("org/other")
    assert server.requests == []


def test_a_rate_limit_is_kept():
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    pace = Pace(DownloadPolicy(limit_rate_bytes_s=1000, sleep=sleep, now=lambda: clock[0]))
    rates = [pace.passed(250) for _ in range(40)]
    assert clock[0] == pytest.approx(10, rel=0.05)
    assert rates[-1] == pytest.approx(1000, rel=0.05)


def test_the_rate_is_that_of_the_last_seconds():
    clock = [0.0]
    pace = Pace(DownloadPolicy(now=lambda: clock[0]))
    assert pace.passed(0) is None
    for _ in range(20):
        clock[0] += 1
        pace.passed(100)
    for _ in range(10):
        clock[0] += 1
        rate = pace.passed(500)
    assert rate == pytest.approx(500)


def test_the_cache_lies_where_huggingface_hub_says(monkeypatch: pytest.MonkeyPatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert Store().root == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/h")
    assert Store().root == Path("/h/hub")
    monkeypatch.setenv("HF_HOME", "~nobody-here/h")  # a name, as in a shell
    assert Store().root == Path("~nobody-here/h/hub")
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", "/old")
    assert Store().root == Path("/old")
    monkeypatch.setenv("HF_HUB_CACHE", "/c")
    assert Store().root == Path("/c")
