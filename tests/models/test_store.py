import errno
import hashlib
import os
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf_files import gguf_bytes, llama_bytes
from hub_server import Corrupt, Cut, HubServer, NoRanges, Stall, Status

from edgellm.errors import BadRequest, ModelNotFound, NetworkError, Offline, StorageError
from edgellm.models.fetching.cache_layout import Way
from edgellm.models.fetching.download import Pace, Terms, storage_error
from edgellm.models.fetching.hub import HuggingFaceHub, Repository
from edgellm.models.fetching.journal import journal_of, read_entry
from edgellm.models.names import HubReference, ModelFiles, RepoFile, choose_files
from edgellm.models.store import Store

REPO = "org/tiny-GGUF"
FAST = Terms(first_pause_s=0.001, max_tries=3)
DATA = random.Random(3).randbytes(600_000)


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        running.add(REPO, "tiny-Q8_0.gguf", DATA)
        yield running


@pytest.fixture
def hub(server: HubServer) -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub(
        endpoint=server.endpoint, token="", offline=False, stall_timeout_s=0.3
    ) as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "hub")


def look(hub: HuggingFaceHub, quant: str | None = None) -> tuple[Repository, ModelFiles]:
    repository = hub.list_files(REPO)
    return repository, choose_files(repository.listing, quant)


def fetch(store: Store, hub: HuggingFaceHub, quant: str | None = None, **options: object) -> Path:
    given: dict[str, object] = {"terms": FAST} | options
    return store.fetch(hub, *look(hub, quant), **given)  # type: ignore[arg-type]


def ranges(server: HubServer) -> list[str | None]:
    return [request.range for request in server.requests if request.path.startswith("/cdn/")]


def leftovers(store: Store) -> list[str]:
    return [
        path.name for path in store.root.rglob("*") if "part" in path.name or ".new" in path.name
    ]


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


@pytest.mark.parametrize(
    "faults",
    [
        [Cut(200_000)],
        [Cut(0), Cut(1), Cut(300_000), Cut(500_000)],
        [Stall(100_000)],
        [Status(500), Status(429, (("Retry-After", "0"),)), Status(503)][:2],
        [Cut(100_000), NoRanges()],
    ],
    ids=["one cut", "many cuts", "a stall", "a busy hub", "a server that forgets ranges"],
)
def test_a_bad_connection_costs_only_what_was_not_yet_here(
    server: HubServer, hub: HuggingFaceHub, store: Store, faults: list
):
    server.faults.extend(faults)
    assert fetch(store, hub).read_bytes() == DATA
    assert server.sent_bytes < 2 * len(DATA)
    assert leftovers(store) == []


def test_a_dead_connection_ends_after_the_allowed_tries_and_keeps_the_part(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.faults.append(Cut(250_000))
    server.faults.extend([Status(503)] * 3)
    with pytest.raises(NetworkError, match="503"):
        fetch(store, hub)
    assert store.find(HubReference(REPO)) is None
    (partial,) = store.partials()
    assert (partial.repo, partial.file, partial.size_bytes) == (REPO, "tiny-Q8_0.gguf", len(DATA))
    assert 200_000 < partial.done_bytes <= 250_000
    assert fetch(store, hub).read_bytes() == DATA
    assert ranges(server)[-1] == f"bytes={partial.done_bytes}-"


def test_a_corrupted_byte_is_refused_and_the_file_fetched_anew(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.faults.append(Corrupt(at_byte=123_456))
    assert fetch(store, hub).read_bytes() == DATA
    assert len(ranges(server)) == 2


def test_a_file_that_comes_corrupted_twice_is_not_kept(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.faults.extend([Corrupt(1), Corrupt(2)])
    with pytest.raises(NetworkError, match="digest"):
        fetch(store, hub)
    assert store.find(HubReference(REPO)) is None
    assert not [path for path in store.root.rglob("blobs/*") if "part" not in path.name]
    (partial,) = store.partials()
    assert partial.done_bytes == 0
    assert read_entry(journal_of(partial.path)).synced_bytes == 0
    assert fetch(store, hub).read_bytes() == DATA


def test_a_part_with_a_flipped_byte_does_not_survive_its_end(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.faults.append(Cut(300_000))
    server.faults.extend([Status(503)] * 3)
    with pytest.raises(NetworkError):
        fetch(store, hub)
    part = store.partials()[0].path
    with part.open("r+b") as file:
        file.seek(1000)
        file.write(bytes([DATA[1000] ^ 1]))
    assert fetch(store, hub).read_bytes() == DATA


@pytest.mark.parametrize("journal", [b"", b"{}", b"not json", None])
def test_a_part_without_a_sound_journal_is_not_trusted(
    server: HubServer, hub: HuggingFaceHub, store: Store, journal: bytes | None
):
    digest = hashlib.sha256(DATA).hexdigest()
    blobs = store.root / "models--org--tiny-GGUF" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{digest}.edgellm.part").write_bytes(bytes(100_000))
    if journal is not None:
        (blobs / f"{digest}.edgellm.part.json").write_bytes(journal)
    assert fetch(store, hub).read_bytes() == DATA
    assert ranges(server) == [None]


def test_after_a_power_cut_only_synced_bytes_count(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    """Another boot wrote the part: the kernel may have lost what was not fsynced."""
    digest = hashlib.sha256(DATA).hexdigest()
    blobs = store.root / "models--org--tiny-GGUF" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{digest}.edgellm.part").write_bytes(DATA[:50_000] + bytes(50_000))
    (blobs / f"{digest}.edgellm.part.json").write_text(
        f'{{"file":"x","size_bytes":{len(DATA)},"synced_bytes":50000,"boot_id":"another"}}'
    )
    assert fetch(store, hub).read_bytes() == DATA
    assert ranges(server) == ["bytes=50000-"]


FETCH_SLOWLY = """
    import sys
    from pathlib import Path
    from edgellm.models.fetching.download import Terms
    from edgellm.models.fetching.hub import HuggingFaceHub
    from edgellm.models.names import choose_files
    from edgellm.models.store import Store

    endpoint, root, repo, rate = sys.argv[1:]
    hub = HuggingFaceHub(endpoint=endpoint, token="", offline=False)
    repository = hub.list_files(repo)
    terms = Terms(limit_rate_bytes_s=float(rate) or None)
    path = Store(Path(root)).fetch(hub, repository, choose_files(repository.listing), terms=terms)
    print(path)
"""


def fetching_process(server: HubServer, store: Store, rate: int) -> subprocess.Popen[str]:
    program = textwrap.dedent(FETCH_SLOWLY)
    return subprocess.Popen(
        [sys.executable, "-c", program, server.endpoint, str(store.root), REPO, str(rate)],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_partial(store: Store, n_bytes: int) -> None:
    deadline = time.monotonic() + 20
    while not any(part.done_bytes >= n_bytes for part in store.partials()):
        assert time.monotonic() < deadline, "the other process made no progress"
        time.sleep(0.02)


def test_who_waits_for_another_process_sees_how_far_it_is(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    with fetching_process(server, store, rate=400_000) as process:
        wait_for_partial(store, 50_000)
        seen: list[int] = []
        path = fetch(store, hub, progress=lambda done, total, rate: seen.append(done))
        process.communicate()
    assert path.read_bytes() == DATA
    assert server.sent_bytes == len(DATA)
    assert 50_000 <= seen[0] < len(DATA)
    assert seen == sorted(seen)
    assert len(set(seen)) > 2


def test_a_wait_for_another_process_can_be_given_up(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    def enough(done: int, total: int, rate: float | None) -> None:
        raise KeyboardInterrupt

    with fetching_process(server, store, rate=100_000) as process:
        wait_for_partial(store, 1)
        with pytest.raises(KeyboardInterrupt):
            fetch(store, hub, progress=enough)
        process.kill()


def test_a_hub_that_asks_for_an_hour_is_given_a_minute(server: HubServer, store: Store):
    slept: list[float] = []
    server.faults.append(Status(429, (("Retry-After", "3600"),)))
    with HuggingFaceHub(endpoint=server.endpoint, token="", offline=False) as hub:
        fetch(store, hub, terms=Terms(sleep=slept.append))
    assert slept == [60.0]


def test_a_killed_download_goes_on_where_it_was(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    process = fetching_process(server, store, rate=400_000)
    wait_for_partial(store, 150_000)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    assert store.find(HubReference(REPO)) is None
    done = store.partials()[0].done_bytes
    server.requests.clear()
    server.sent_bytes = 0
    assert fetch(store, hub).read_bytes() == DATA
    assert ranges(server) == [f"bytes={done}-"]
    assert server.sent_bytes == len(DATA) - done


def test_two_processes_share_one_download(server: HubServer, hub: HuggingFaceHub, store: Store):
    first = fetching_process(server, store, rate=1_000_000)
    wait_for_partial(store, 1)
    second = fetching_process(server, store, rate=0)
    paths = [process.communicate(timeout=30)[0].strip() for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert paths[0] == paths[1]
    assert Path(paths[0]).read_bytes() == DATA
    assert len(ranges(server)) == 1
    assert server.sent_bytes == len(DATA)


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


def refused(blob: Path, place: Path) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("ways", [(refused, os.link), (refused, refused, os.replace)])
def test_a_disk_without_links_keeps_a_model_once_and_gives_its_room_back(
    server: HubServer, hub: HuggingFaceHub, tmp_path: Path, ways: tuple[Way, ...]
):
    server.add(REPO, "tiny-Q4_0.gguf", DATA[:1000])
    store = Store(tmp_path / "hub", ways)
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


def test_a_commit_that_is_none_is_said_before_anything_comes(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    true = hub.list_files(REPO)
    lying = Repository(REPO, "main", "../../../x", None, true.files)
    with pytest.raises(StorageError, match="no name for a commit"):
        store.fetch(hub, lying, ModelFiles("Q8_0", true.files))
    assert ranges(server) == []


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


def test_a_merged_model_is_served_and_an_adapter_is_not_whatever_they_are_called(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    header = {"general.architecture": "llama", "general.type": "adapter"}
    for repo, data in (("org/merged", llama_bytes()), ("org/lora", gguf_bytes(header, []))):
        server.add(repo, "X-lora-Q8_0.gguf", data)
        repository = hub.list_files(repo)
        store.fetch(hub, repository, choose_files(repository.listing), terms=FAST)
    assert [model.name for model in store.list()] == ["hf.co/org/merged:Q8_0"]
    assert store.find(HubReference("org/merged"))
    assert store.find(HubReference("org/lora")) is None
    assert store.remove(HubReference("org/merged")) == len(llama_bytes())


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


def test_no_disk_space_is_seen_before_the_first_byte(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    file = RepoFile("huge-Q8_0.gguf", 1 << 60, "0" * 64, url=f"{server.endpoint}/x")
    repository = Repository(REPO, "main", "0" * 40, None, (file,))
    with pytest.raises(StorageError, match=r"1048576\.0 TiB are to come") as raised:
        store.fetch(hub, repository, ModelFiles("Q8_0", (file,)))
    assert "edgellm rm" in raised.value.hint
    assert ranges(server) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a tmpfs can't be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


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


def test_a_rate_limit_is_kept():
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    pace = Pace(Terms(limit_rate_bytes_s=1000, sleep=sleep, now=lambda: clock[0]))
    rates = [pace.passed(250) for _ in range(40)]
    assert clock[0] == pytest.approx(10, rel=0.05)
    assert rates[-1] == pytest.approx(1000, rel=0.05)


def test_the_rate_is_that_of_the_last_seconds():
    clock = [0.0]
    pace = Pace(Terms(now=lambda: clock[0]))
    assert pace.passed(0) is None
    for _ in range(20):
        clock[0] += 1
        pace.passed(100)
    for _ in range(10):
        clock[0] += 1
        rate = pace.passed(500)
    assert rate == pytest.approx(500)


def test_the_cache_lies_where_huggingface_hub_says(monkeypatch: pytest.MonkeyPatch):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert Store().root == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/h")
    assert Store().root == Path("/h/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/c")
    assert Store().root == Path("/c")
