"""A download survives bad lines, bad bytes, power cuts, kills, and others who fetch the same."""

import hashlib
from pathlib import Path

import pytest
from hub_server import Corrupt, Cut, HubServer, Instead, NoRanges, Stall, Status
from store_runs import DATA, REPO, fetch, fetching_process, leftovers, ranges, wait_for_partial

from edgellm.errors import NetworkError
from edgellm.models.fetching.hub import HuggingFaceHub
from edgellm.models.fetching.journal import journal_of
from edgellm.models.fetching.policy import DownloadPolicy
from edgellm.models.names import HubReference
from edgellm.models.store import Store


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


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("Content-Type", "text/html; charset=utf-8", "web page"),
        ("Content-Encoding", "gzip", "packed"),
    ],
)
def test_what_comes_in_a_files_place_spoils_nothing_that_is_here(
    server: HubServer, hub: HuggingFaceHub, store: Store, name: str, value: str, said: str
):
    server.faults.extend([Cut(100_000), Instead(((name, value),))])
    with pytest.raises(NetworkError, match=said):
        fetch(store, hub)
    (part,) = store.partials()
    assert fetch(store, hub).read_bytes() == DATA
    assert ranges(server)[-1] == f"bytes={part.done_bytes}-"
    assert len(ranges(server)) == 3


def test_what_broke_off_before_the_file_changed_at_the_hub_goes_when_the_new_one_is_here(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.add(REPO, "tiny-Q4_0.gguf", DATA[:300_000])
    for quant in ("Q8_0", "Q4_0"):
        server.faults.extend([Cut(100_000), *[Status(503)] * 3])
        with pytest.raises(NetworkError):
            fetch(store, hub, quant)
    server.add(REPO, "tiny-Q8_0.gguf", DATA[1:])
    assert fetch(store, hub, "Q8_0").read_bytes() == DATA[1:]
    assert [part.file for part in store.partials()] == ["tiny-Q4_0.gguf"]
    assert len(leftovers(store)) == 2  # the other's part and its journal


def test_what_broke_off_and_cannot_be_removed_spoils_no_download(hub: HuggingFaceHub, store: Store):
    blobs = store.root / f"models--{REPO.replace('/', '--')}" / "blobs"
    part = blobs / "00.edgellm.part"
    part.mkdir(parents=True)  # what can't be unlinked, as another user's can't
    entry = '{"file": "tiny-Q8_0.gguf", "size_bytes": 9, "synced_bytes": 0, "boot_id": null}'
    journal_of(part).write_text(entry)
    assert fetch(store, hub).read_bytes() == DATA


def test_a_file_that_comes_corrupted_twice_is_not_kept(
    server: HubServer, hub: HuggingFaceHub, store: Store
):
    server.faults.extend([Corrupt(1), Corrupt(2)])
    with pytest.raises(NetworkError, match="digest"):
        fetch(store, hub)
    assert store.find(HubReference(REPO)) is None
    assert leftovers(store) == []
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
        fetch(store, hub, policy=DownloadPolicy(sleep=slept.append))
    assert slept == [60.0]


def test_while_it_waits_to_try_again_nothing_comes_and_that_is_told(
    server: HubServer, store: Store
):
    told: list[float | None] = []
    waited: list[list[float | None]] = []
    server.faults.append(Cut(250_000))
    with HuggingFaceHub(endpoint=server.endpoint, token="", offline=False) as hub:
        fetch(
            store,
            hub,
            policy=DownloadPolicy(sleep=lambda seconds: waited.append(told[-1:])),
            progress=lambda done, total, rate: told.append(rate),
        )
    assert waited == [[0.0]]
    assert told[-1] is None


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
