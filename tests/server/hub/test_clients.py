"""What the hub is for: huggingface_hub's own client, and edgellm's, against it."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, scan_cache_dir, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from mirror_runs import COMMIT, FILE, OLDER, REPO, Cache, demo, git_oid, live_hub, sha256

from edgellm.errors import ModelNotFound, NetworkError, Offline
from edgellm.models.fetching.hub import HuggingFaceHub
from edgellm.models.fetching.remote import read_remote_headers
from edgellm.models.repo_files import choose_files
from edgellm.models.store import Store
from edgellm.server.door.access import Access

CONFIG = b'{"model_type": "llama"}\n'
KEY = "hf_" + "k" * 34


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    cache = Cache(tmp_path_factory.mktemp("gateway"))
    cache.add()
    cache.add("config.json", CONFIG, by_git=True)
    cache.add("sub/notes.txt", b"notes", by_git=True)
    cache.add("demo-Q4_0.gguf", b"older", commit=OLDER, ref="v1")
    cache.add("other-F16.gguf", b"other", repo="qwen/Other-GGUF")
    return cache


@pytest.fixture(scope="module")
def live(gateway):
    with live_hub(gateway) as live:
        yield live


@pytest.fixture
def api(live):
    return HfApi(endpoint=live.url, token=False)


def test_models_are_listed_and_found(api):
    assert [one.id for one in api.list_models()] == [REPO, "qwen/Other-GGUF"]
    assert [one.id for one in api.list_models(search="OTHER")] == ["qwen/Other-GGUF"]
    assert [one.id for one in api.list_models(author="org", filter="gguf")] == [REPO]
    assert [one.id for one in api.list_models(filter="mlx")] == []
    assert len([*api.list_models(limit=1)]) == 1


def test_a_model_is_described_with_its_files_digests(api):
    info = api.model_info(REPO, files_metadata=True)
    assert (info.id, info.sha, info.author, info.private) == (REPO, COMMIT, "org", False)
    files = {one.rfilename: one for one in info.siblings}
    assert files[FILE].lfs.sha256 == sha256(demo())
    assert files[FILE].size == files[FILE].lfs.size == len(demo())
    assert files["config.json"].blob_id == git_oid(CONFIG)
    assert files["config.json"].lfs is None
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(demo())}\n"
        f"size {len(demo())}\n"
    ).encode()
    assert files[FILE].blob_id == git_oid(pointer)
    assert files[FILE].lfs.pointer_size == len(pointer)


def test_the_tree_its_paths_and_its_names_are_told(api):
    whole = {one.path for one in api.list_repo_tree(REPO, recursive=True)}
    assert {"config.json", FILE, "sub/notes.txt", "demo-Q4_0.gguf"} <= whole
    assert {one.path for one in api.list_repo_tree(REPO, "sub")} == {"sub/notes.txt"}
    top = {type(one).__name__: one.path for one in api.list_repo_tree(REPO)}
    assert top["RepoFolder"] == "sub"
    found = api.get_paths_info(REPO, ["config.json", "none"])
    assert [(one.path, one.size) for one in found] == [("config.json", len(CONFIG))]
    refs = api.list_repo_refs(REPO)
    assert {one.name: one.target_commit for one in refs.branches} == {"main": COMMIT, "v1": OLDER}


def test_what_is_missing_raises_the_clients_own_errors(api, live, tmp_path):
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(REPO, "none.gguf", endpoint=live.url, cache_dir=tmp_path)
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download("org/none", endpoint=live.url, cache_dir=tmp_path)
    assert not api.repo_exists("org/none")
    assert not api.file_exists(REPO, "none.gguf")
    assert api.file_exists(REPO, FILE)


def test_a_snapshot_is_downloaded_into_a_cache_that_is_one(live, tmp_path):
    path = Path(snapshot_download(REPO, endpoint=live.url, cache_dir=tmp_path, token=False))
    assert path.name == COMMIT
    assert (path / FILE).read_bytes() == demo()
    assert (path / FILE).resolve().name == sha256(demo())
    assert (path / "config.json").resolve().name == git_oid(CONFIG)
    scanned = scan_cache_dir(tmp_path)
    assert not scanned.warnings
    (repo,) = scanned.repos
    assert (repo.repo_id, {*repo.refs}) == (REPO, {"main"})


def test_a_revision_is_downloaded_alone(live, tmp_path):
    for revision in ("v1", OLDER):
        path = snapshot_download(
            REPO, revision=revision, endpoint=live.url, cache_dir=tmp_path, token=False
        )
        assert {one.name for one in Path(path).iterdir()} == {"demo-Q4_0.gguf"}


def test_what_a_client_got_a_mirror_serves_on(live, tmp_path):
    """From box to box."""
    snapshot_download(REPO, endpoint=live.url, cache_dir=tmp_path / "one", token=False)
    with live_hub(Cache(tmp_path / "one")) as second:
        path = hf_hub_download(REPO, FILE, endpoint=second.url, cache_dir=tmp_path / "two")
    assert Path(path).read_bytes() == demo()


def test_a_download_of_theirs_goes_on_where_it_stopped(live, tmp_path):
    """By its own function: whole downloads begin anew in this version of it."""
    before = len(live.ended)
    path = tmp_path / "file"
    path.write_bytes(demo()[:1_000_000])
    with path.open("ab") as file:
        http_get(
            f"{live.url}/{REPO}/resolve/main/{FILE}",
            file,
            resume_size=1_000_000,
            expected_size=len(demo()),
        )
    assert path.read_bytes() == demo()
    assert live.ended_after(before + 1)[-1].start == 1_000_000


def test_their_file_system_reads_parts(live):
    files = HfFileSystem(endpoint=live.url, token=False, use_listings_cache=False)
    assert f"{REPO}/{FILE}" in files.ls(REPO, detail=False)
    with files.open(f"{REPO}/{FILE}") as file:
        file.seek(1_234_567)
        assert file.read(89) == demo()[1_234_567 : 1_234_567 + 89]


def test_a_key_is_their_token(gateway, tmp_path):
    with live_hub(gateway, Access.of(keys=[KEY])) as live:
        api = HfApi(endpoint=live.url)
        assert api.model_info(REPO, token=KEY).sha == COMMIT
        for wrong in (False, "hf_other"):
            with pytest.raises(HfHubHTTPError) as raised:
                api.model_info(REPO, token=wrong)
            assert raised.value.response.status_code == 401
        path = hf_hub_download(REPO, FILE, endpoint=live.url, token=KEY, cache_dir=tmp_path)
        assert Path(path).read_bytes() == demo()


def test_edgellm_reads_headers_and_fetches(live, tmp_path):
    with HuggingFaceHub(endpoint=live.url, token="", offline=False) as hub:
        repository = hub.list_files(REPO)
        assert repository.commit == COMMIT
        model = choose_files(repository.listing, "Q8_0")
        ((header,),) = read_remote_headers(hub, [model])
        assert header.architecture == "llama"
        store = Store(tmp_path)
        path = store.fetch(hub, repository, model)
        assert path.read_bytes() == demo()
        assert store.newer(repository, path) is None


def test_edgellm_goes_on_where_it_stopped(live, tmp_path):
    """With the part that a broken-off download left."""
    before = len(live.ended)
    with HuggingFaceHub(endpoint=live.url, token="", offline=False) as hub:
        repository = hub.list_files(REPO)
        model = choose_files(repository.listing, "Q8_0")

        def break_off(done_bytes, total_bytes, rate):
            if done_bytes > 100_000:
                raise KeyboardInterrupt

        store = Store(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            store.fetch(hub, repository, model, progress=break_off)
        (part,) = store.partials()
        assert 0 < part.done_bytes < len(demo())
        assert store.fetch(hub, repository, model).read_bytes() == demo()
    last = live.ended_after(before + 2)[-1]
    assert (last.start, last.is_whole) == (part.done_bytes, True)


def test_edgellm_is_told_what_is_wrong(gateway, live):
    hub = HuggingFaceHub(endpoint=live.url, token="", offline=False)
    with hub, pytest.raises(ModelNotFound, match=r"127\.0\.0\.1"):
        hub.list_files("org/none")
    with live_hub(gateway, Access.of(keys=[KEY])) as closed:
        hub = HuggingFaceHub(endpoint=closed.url, token="hf_wrong", offline=False)
        with hub, pytest.raises(NetworkError) as raised:
            hub.list_files(REPO)
        assert "HF_TOKEN" in raised.value.hint
        with HuggingFaceHub(endpoint=closed.url, token=KEY, offline=False) as hub:
            assert hub.list_files(REPO).commit == COMMIT


def test_offline_forbids_the_mirror_too(live):
    before = len(live.refused)
    with HuggingFaceHub(endpoint=live.url, token="", offline=True) as hub:
        with pytest.raises(Offline):
            hub.list_files(REPO)
        with pytest.raises(Offline):
            hub.read_range(f"{live.url}/{REPO}/resolve/main/{FILE}", 0, 10)
    assert len(live.refused) == before
