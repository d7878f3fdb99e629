"""ModelScope, asked over a real socket; modelscope_server.py says how its answers are known."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from gguf_files import llama_bytes
from hub_server import Corrupt, Cut, Instead, Part, Status
from modelscope_server import NO_REPO, ModelScopeServer
from store_runs import FAST

from edgellm.errors import ConfigError, ModelNotFound, NetworkError, Offline, TransientError
from edgellm.models.fetching.modelscope import ModelScopeHub
from edgellm.models.fetching.modelscope_api import MAX_FILES
from edgellm.models.fetching.remote import read_remote_header
from edgellm.models.repo_files import choose_files
from edgellm.models.store import Store

REPO = "org/tiny-GGUF"
DATA = llama_bytes()
Make = Callable[..., ModelScopeHub]


@pytest.fixture
def server() -> Iterator[ModelScopeServer]:
    with ModelScopeServer() as running:
        running.direct.add("README.md")
        running.add(REPO, "README.md", b"# tiny")
        running.add(REPO, "Q8_0/tiny-Q8_0.gguf", DATA)
        yield running


@pytest.fixture
def client(server: ModelScopeServer) -> Iterator[Make]:
    with ExitStack() as made:

        def make(**options: object) -> ModelScopeHub:
            given = {"endpoint": server.endpoint, "token": "", "offline": False}
            given |= {"stall_timeout_s": 0.5} | options
            hub = made.enter_context(ModelScopeHub(**given))
            hub.policy = FAST
            return hub

        yield make


def said(code: int, message: str = "", status: int = 200, **more: object) -> Status:
    body = {"Code": code, "Message": message, "Success": code == 200} | more
    return Status(status, (), json.dumps(body).encode())


def test_a_repository_is_listed_whole_and_pinned_to_its_commit(
    server: ModelScopeServer, client: Make
):
    repository = client().list_files(REPO)
    assert (repository.revision, repository.commit) == ("main", server.commit(REPO))
    assert (repository.hub, repository.license) == ("modelscope", "apache-2.0")
    files = {file.path: file for file in repository.files}
    assert files.keys() == {"README.md", "Q8_0/tiny-Q8_0.gguf"}
    model = files["Q8_0/tiny-Q8_0.gguf"]
    assert (model.size_bytes, model.sha256) == (len(DATA), server.add("org/x", "x", DATA))
    assert files["README.md"].sha256  # of small files, too: there are no git digests


def test_a_file_is_that_of_the_commit_that_was_listed(server: ModelScopeServer, client: Make):
    hub = client()
    files = {file.path: file for file in hub.list_files(REPO).files}
    server.add(REPO, "Q8_0/tiny-Q8_0.gguf", b"another")
    server.add(REPO, "README.md", b"another")
    assert b"".join(hub.stream(files["Q8_0/tiny-Q8_0.gguf"].url, 0)) == DATA
    assert hub.read_range(files["README.md"].url, 2, 6) == b"tiny"


def test_a_commit_whose_files_are_older_is_asked_for(server: ModelScopeServer, client: Make):
    server.add(REPO, "old.gguf", b"old")
    server.remove(REPO, "old.gguf")
    assert client().list_files(REPO).commit == server.commit(REPO)


def test_a_commit_that_the_list_contradicts_is_none(server: ModelScopeServer, client: Make):
    listed = {"Files": [], "LatestCommitter": {"Id": "", "ShortId": "12345678"}}
    told = {"Commit": [{"Id": "f" * 40}]}
    server.api_faults.extend([said(200, Data=listed), said(200, Data=told)])
    with pytest.raises(NetworkError, match="does not tell which commit master of org/tiny-GGUF is"):
        client().list_files(REPO)


def test_a_commit_that_the_list_tells_in_full_is_taken(server: ModelScopeServer, client: Make):
    server.remove(REPO, "README.md")
    server.tells_full_id = True
    assert client().list_files(REPO).commit == server.commit(REPO)
    assert not [one for one in server.requests if one.path.endswith("/commits")]


def test_a_revision_is_a_tag_or_a_commit(server: ModelScopeServer, client: Make):
    commit = server.commit(REPO)
    server.tags["v1"] = commit
    server.add(REPO, "README.md", b"another")
    assert client().list_files(REPO, "v1").commit == commit
    assert client().list_files(REPO, commit).commit == commit
    for unknown in ("v2", "0" * 40):
        with pytest.raises(ModelNotFound, match=f"no revision {unknown}"):
            client().list_files(REPO, unknown)


def test_a_header_is_read_by_range_from_where_the_hub_sends_for_it(
    server: ModelScopeServer, client: Make
):
    hub = client()
    file = choose_files(hub.list_files(REPO).listing).files[0]
    assert read_remote_header(hub, file).architecture == "llama"
    server.direct.add(file.path)  # from the hub itself, whose parts have status 200
    assert hub.read_range(file.url, 100, 200) == DATA[100:200]
    assert b"".join(hub.stream(file.url, 1000)) == DATA[1000:]


def test_the_token_goes_to_the_hub_and_to_no_other_host(server: ModelScopeServer, client: Make):
    server.private.add(REPO)
    hub = client(token="ms-secret")
    files = hub.list_files(REPO).files
    assert hub.read_range(next(f.url for f in files if f.path.endswith("gguf")), 0, 10) == DATA[:10]
    by_host = {request.host: request.authorization for request in server.requests}
    assert by_host == {"127.0.0.1": "Bearer ms-secret", "localhost": None}


def test_the_tokens_and_the_endpoints_variables_are_honoured(
    server: ModelScopeServer, monkeypatch: pytest.MonkeyPatch
):
    server.private.add(REPO)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_other")
    with ModelScopeHub(offline=False) as hub, pytest.raises(NetworkError, match="to everyone"):
        hub.list_files(REPO)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret")
    with ModelScopeHub(offline=False) as hub:
        assert hub.list_files(REPO).files
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "“ms”")
    with ModelScopeHub(offline=False) as hub, pytest.raises(ConfigError, match="MODELSCOPE_API"):
        hub.list_files(REPO)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (said(NO_REPO, "信息：record not found"), ModelNotFound, "has no org/tiny-GGUF"),  # noqa: RUF001
        (said(NO_REPO, "record not found", 404), ModelNotFound, "has no org/tiny-GGUF"),
        (said(400, "Model not found.", 404), ModelNotFound, "has no org/tiny-GGUF"),
        (said(10010200001, "", 404), NetworkError, "does not open org/tiny-GGUF to everyone"),
        (said(10990101004, "", 404), ModelNotFound, "no revision master"),
        (said(NO_REPO, "Error 1461: Can't create more", 404), TransientError, "overloaded: Error"),
        (said(77, "\x1b[2Jmysterious"), NetworkError, r"refuses org/tiny-GGUF: .*code 77"),
        (said(200, Data={"Files": None}), ModelNotFound, "no revision master"),
        (said(403, "", 403), NetworkError, "refuses access"),
        (said(500, "boom"), TransientError, "status 500"),
        (Status(401), NetworkError, "refuses access"),
        (Status(429), TransientError, "429"),
        (Status(502, (), b"<html>bad gateway</html>"), TransientError, "502"),
        (Status(404, (), b"<html>404</html>"), NetworkError, "does not answer as a model hub"),
        (Status(200, (), b"<html>Please log in</html>"), NetworkError, "as a model hub"),
        (Status(200, (), b"\xff"), NetworkError, "as a model hub"),
        (Status(200, (), b"[]"), NetworkError, "as a model hub"),
        (Status(200, (), b'{"id": "a/b", "siblings": []}'), NetworkError, "as a model hub"),
        (said(200, Data=[]), NetworkError, "as a model hub"),
        (said(200, Data={"Files": [{"Path": 5}]}), NetworkError, "as a model hub"),
        (said(200, Data={"Files": [{"Path": "a", "Size": -1}]}), NetworkError, "as a model hub"),
    ],
)
def test_what_goes_wrong_has_its_own_error(
    server: ModelScopeServer,
    client: Make,
    answer: Status,
    error: type[Exception],
    words: str,
):
    server.api_faults.extend([answer] * 3)
    with pytest.raises(error, match=words) as raised:
        client().list_files(REPO)
    assert "\x1b" not in str(raised.value)
    assert "HF_TOKEN" not in raised.value.hint
    assert "HF_ENDPOINT" not in raised.value.hint


def test_a_hub_that_is_busy_is_asked_again(server: ModelScopeServer, client: Make):
    server.api_faults.extend([Status(503), said(NO_REPO, "Error 1461: Can't create more", 404)])
    assert client().list_files(REPO).files


def test_a_repository_that_is_not_there_is_told_with_what_to_do(client: Make):
    with pytest.raises(ModelNotFound) as raised:
        client().list_files("org/none")
    assert "edgellm pull hf.co/org/none" in raised.value.hint
    assert "MODELSCOPE_API_TOKEN" in raised.value.hint


def test_a_list_that_may_have_lost_files_is_not_believed(server: ModelScopeServer, client: Make):
    files = [{"Path": f"{n}.gguf", "Size": 1} for n in range(MAX_FILES)]
    server.api_faults.append(said(200, Data={"Files": files}))
    with pytest.raises(NetworkError, match="more files"):
        client().list_files(REPO)


def test_names_that_leave_their_folder_are_left_out(server: ModelScopeServer, client: Make):
    files = [
        {"Path": "../x.gguf", "Size": 1},
        {"Path": "a b&c+d.gguf", "Size": 1, "Sha256": "F" * 64},
    ]
    listed = {"Files": files, "LatestCommitter": {"Id": "a" * 40}}
    server.api_faults.append(said(200, Data=listed))
    (file,) = client().list_files(REPO).files
    assert file.url.endswith(f"/repo?Revision={'a' * 40}&FilePath=a+b%26c%2Bd.gguf")
    assert file.sha256 == "f" * 64


def test_a_model_without_a_size_is_named(server: ModelScopeServer, client: Make):
    listed = {"Files": [{"Path": "a.gguf"}], "LatestCommitter": {"Id": "a" * 40}}
    server.api_faults.append(said(200, Data=listed))
    with pytest.raises(NetworkError, match=r"no size for a\.gguf"):
        client().list_files(REPO)


def test_a_licence_that_is_not_told_costs_nobody_the_model(server: ModelScopeServer, client: Make):
    commit = server.commit(REPO)
    listed = {"Files": [], "LatestCommitter": {"Id": commit}}
    server.api_faults.extend([said(200, Data=listed), Status(500)])
    assert client().list_files(REPO).license is None


def test_offline_forbids_every_question_before_a_socket_is_opened(
    server: ModelScopeServer, client: Make
):
    hub = client(offline=True)
    for ask in (
        lambda: hub.list_files(REPO),
        lambda: hub.read_range(f"{server.endpoint}/x", 0, 1),
        lambda: hub.stream(f"{server.endpoint}/x", 0),
    ):
        with pytest.raises(Offline, match="forbidden"):
            ask()
    assert server.requests == []


def test_a_hub_that_is_not_there_is_told_with_the_other_ways():
    with ModelScopeServer() as gone:
        endpoint = gone.endpoint
    with ModelScopeHub(endpoint=endpoint, token="", offline=False) as hub:
        hub.policy = FAST
        with pytest.raises(NetworkError) as raised:
            hub.list_files(REPO)
    assert "EDGELLM_HUB=huggingface" in raised.value.hint
    assert "--offline" in raised.value.hint


def test_an_endpoint_that_is_no_address_is_a_setting_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "https://x:abc")
    with pytest.raises(ConfigError, match="MODELSCOPE_ENDPOINT 'https://x:abc'"):
        ModelScopeHub(token="", offline=False).list_files(REPO)


@pytest.mark.parametrize("faults", [[Cut(1000)], [Corrupt(5)], [Cut(9), Status(503)], [Part(200)]])
def test_a_download_is_resumed_and_checked_as_from_any_hub(
    server: ModelScopeServer, client: Make, store: Store, faults: list[object]
):
    hub = client()
    repository = hub.list_files(REPO)
    server.faults.extend(faults)
    path = store.fetch(hub, repository, choose_files(repository.listing), policy=FAST)
    assert path.read_bytes() == DATA
    assert path.parts[-3:] == (server.commit(REPO), "Q8_0", "tiny-Q8_0.gguf")
    assert not server.faults


def test_a_part_of_status_200_goes_on_where_the_download_stopped(
    server: ModelScopeServer, client: Make, store: Store
):
    hub = client()
    repository = hub.list_files(REPO)
    server.faults.extend([Cut(1000), Part(200)])
    store.fetch(hub, repository, choose_files(repository.listing), policy=FAST)
    asked = [one.range for one in server.requests if one.path.startswith("/cdn/")]
    assert asked == [None, "bytes=1000-"]


def test_a_digest_that_is_not_the_hubs_twice_is_told_and_nothing_is_kept(
    server: ModelScopeServer, client: Make, store: Store
):
    hub = client()
    repository = hub.list_files(REPO)
    server.faults.extend([Corrupt(5), Corrupt(6)])
    with pytest.raises(NetworkError, match="came twice with a content that is not the hub's"):
        store.fetch(hub, repository, choose_files(repository.listing), policy=FAST)
    assert store.list() == ()


def test_a_page_in_a_files_place_is_told_in_modelscopes_words(
    server: ModelScopeServer, client: Make
):
    hub = client()
    url = choose_files(hub.list_files(REPO).listing).files[0].url
    server.faults.append(Instead((("Content-Type", "text/html; charset=utf-8"),)))
    with pytest.raises(NetworkError, match="web page") as raised:
        hub.read_range(url, 0, 10)
    assert "MODELSCOPE_ENDPOINT" in raised.value.hint
