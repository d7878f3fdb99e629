import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from gguf_files import llama_bytes
from hub_server import Corrupt, Cut, HubServer, Instead, NoRanges, Part, Stall, Status
from store_runs import FAST

from edgellm.errors import ConfigError, ModelNotFound, NetworkError, Offline, TransientError
from edgellm.models.fetching.http_range import status_error
from edgellm.models.fetching.hub import HuggingFaceHub

REPO = "org/tiny-GGUF"
Make = Callable[..., HuggingFaceHub]


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        running.add(REPO, "tiny-F32.gguf", llama_bytes())
        running.add(REPO, "mmproj-F16.gguf", b"GGUF")
        running.add(REPO, "README.md", b"# tiny")
        running.plain_git.add("README.md")
        yield running


@pytest.fixture
def client(server: HubServer) -> Iterator[Make]:
    """Makes clients of the server, and closes them at the end."""
    with ExitStack() as made:

        def make(**options: object) -> HuggingFaceHub:
            given = {"endpoint": server.endpoint, "token": "", "offline": False}
            given |= {"stall_timeout_s": 0.5} | options
            hub = made.enter_context(HuggingFaceHub(**given))
            hub.policy = FAST
            return hub

        yield make


def test_a_repository_is_listed_with_one_request_and_pinned_to_its_commit(
    server: HubServer, client: Make
):
    repository = client().list_files(REPO)
    assert len(server.requests) == 1
    assert repository.commit == server.commit(REPO)
    assert repository.license == "apache-2.0"
    files = {file.path: file for file in repository.files}
    model = files["tiny-F32.gguf"]
    assert model.size_bytes == len(llama_bytes())
    assert model.sha256
    assert repository.commit in model.url
    assert files["README.md"].sha256 is None
    assert files["README.md"].git_oid
    assert [side.kind for side in repository.listing.sidecars] == ["projector"]


def test_a_server_without_ranges_is_read_past_what_is_not_wanted(server: HubServer, client: Make):
    hub, data = client(), llama_bytes()
    url = hub.list_files(REPO).files[0].url
    server.faults.append(NoRanges())
    assert hub.read_range(url, 100, 200) == data[100:200]
    server.faults.append(NoRanges())
    assert b"".join(hub.stream(url, 5000)) == data[5000:]


@pytest.mark.parametrize("part", [Part(status=200), Part(early_bytes=64), Part(200, 64)])
def test_what_an_answer_says_of_its_part_counts_not_its_status(
    server: HubServer, client: Make, part: Part
):
    hub, data = client(), llama_bytes()
    url = hub.list_files(REPO).files[0].url
    server.faults.append(part)
    assert hub.read_range(url, 100, 200) == data[100:200]
    server.faults.append(part)
    assert b"".join(hub.stream(url, 5000)) == data[5000:]


@pytest.mark.parametrize("status", [200, 206])
def test_a_part_that_begins_behind_what_was_asked_for_is_none(
    server: HubServer, client: Make, status: int
):
    hub = client()
    url = hub.list_files(REPO).files[0].url
    server.faults.append(Part(status, early_bytes=-7))
    with pytest.raises(TransientError, match="asked for bytes from 100"):
        hub.read_range(url, 100, 200)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Instead((("Content-Type", "text/html"),)), "a web page"),
        (Instead((("Content-Type", "Text/HTML; charset=utf-8"),)), "a web page"),
        (Instead((("Content-Type", "application/json"),), b'{"error": "busy"}'), "words"),
    ],
)
def test_what_comes_in_the_place_of_a_file_is_told_before_it_is_kept(
    server: HubServer, client: Make, fault: Instead, said: str
):
    hub = client()
    url = hub.list_files(REPO).files[0].url
    server.faults.append(fault)
    with pytest.raises(NetworkError, match=f"answered with {said}.*not with the file"):
        next(hub.stream(url, 0))


@pytest.mark.parametrize("status", [401, 403])
def test_a_content_network_that_refuses_is_asked_by_a_new_address(
    server: HubServer, client: Make, status: int
):
    """A signature that has run out, or a clock that is wrong: not the model's licence."""
    hub = client()
    url = hub.list_files(REPO).files[0].url
    server.faults.append(Status(status))
    with pytest.raises(TransientError, match="localhost refuses access") as raised:
        hub.read_range(url, 0, 10)
    assert "clock" in raised.value.hint
    assert "licence" not in raised.value.hint
    assert hub.read_range(url, 0, 10) == llama_bytes()[:10]


@pytest.mark.parametrize("status", [403, 451, 511])
def test_a_firewalls_page_is_not_the_hubs_refusal(server: HubServer, client: Make, status: int):
    hub = client()
    url = hub.list_files(REPO).files[0].url
    server.api_faults.append(Status(status, (("Content-Type", "text/html"),), b"<html>no</html>"))
    with pytest.raises(
        NetworkError, match=r"something between here and 127\.0\.0\.1 refuses"
    ) as told:
        hub.read_range(url, 0, 10)
    assert "licence" not in told.value.hint
    assert "login" in told.value.hint


def test_the_token_goes_to_the_hub_and_to_no_other_host(server: HubServer, client: Make):
    server.token = "hf_secret"
    hub = client(token="hf_secret")
    hub.read_range(hub.list_files(REPO).files[0].url, 0, 10)
    by_host = {request.host: request.authorization for request in server.requests}
    assert by_host == {"127.0.0.1": "Bearer hf_secret", "localhost": None}


def test_a_token_that_no_one_has_is_told_before_it_is_shown(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", "“hf_copied”")
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        HuggingFaceHub(endpoint=server.endpoint, offline=False).list_files(REPO)
    assert server.requests == []


def test_a_token_that_has_run_out_is_told_though_the_repository_is_everyones(
    server: HubServer, client: Make
):
    headers = (("X-Error-Message", "Invalid credentials in Authorization header"),)
    server.api_faults.append(Status(401, headers))
    with pytest.raises(NetworkError, match="token") as told:
        client(token="hf_old").list_files(REPO)
    assert "HF_TOKEN" in told.value.hint


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", "SOCKS"),
        ("HTTPS_PROXY", "socks4://127.0.0.1:9", "socks4"),
        ("HTTP_PROXY", "http://[::1", "prox"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "certificates"),
    ],
)
def test_what_the_environment_says_of_the_network_and_cannot_be_is_a_setting(
    server: HubServer,
    client: Make,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    said: str,
):
    if importlib.util.find_spec("socksio") and said == "SOCKS":
        pytest.skip("socksio is installed")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said) as told:
        client().list_files(REPO)
    assert ("-m pip install socksio" in told.value.hint) == (said == "SOCKS")
    with pytest.raises(ConfigError, match=said):
        client().read_range(f"{server.endpoint}/x", 0, 10)


def test_an_endpoints_password_is_not_told(client: Make):
    hub = HuggingFaceHub(endpoint="http://me:secret@127.0.0.1:9", token="", offline=False)
    with pytest.raises(NetworkError, match=r"^127\.0\.0\.1:9 can't be reached"):
        hub.list_files(REPO)


def test_the_tokens_environment_variable_is_honoured(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
):
    server.token = "hf_env"
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    assert HuggingFaceHub(offline=False).list_files(REPO).files


def test_a_redirect_to_another_kind_of_address_is_not_followed(server: HubServer, client: Make):
    hub = client()
    url = hub.list_files(REPO).files[0].url
    server.scheme_of_cdn = "file"
    with pytest.raises(NetworkError, match="file://"):
        hub.read_range(url, 0, 10)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (Status(404, (("X-Error-Code", "RepoNotFound"),)), ModelNotFound, "no org/tiny"),
        (Status(401, (("X-Error-Code", "RepoNotFound"),)), ModelNotFound, "no org/tiny"),
        (Status(403, (("X-Error-Code", "GatedRepo"),)), NetworkError, "licence"),
        (Status(404, (("X-Error-Code", "RevisionNotFound"),)), ModelNotFound, "revision"),
        (Status(429), TransientError, "429"),
        (Status(500), TransientError, "500"),
        (Status(503), TransientError, "503"),
    ],
)
def test_the_hubs_refusals_have_their_own_errors(
    server: HubServer, status: Status, error: type[Exception], said: str, client: Make
):
    server.api_faults.extend([status] * 3)
    with pytest.raises(error, match=said):
        client().list_files(REPO)
    assert len(server.requests) == (3 if error is TransientError else 1)
    server.api_faults.clear()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_hub_that_is_busy_is_asked_again(server: HubServer, client: Make, status: int):
    server.api_faults.extend([Status(status)] * 2)
    assert client().list_files(REPO).files


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (Status(404), ModelNotFound, "no such file"),
        (Status(401), NetworkError, "refuses"),
        (Status(403), NetworkError, "refuses"),
        (Status(410), NetworkError, "410"),
        (Status(429, (("Retry-After", "7"),)), TransientError, "429"),
        (Status(502), TransientError, "502"),
        (Cut(100), TransientError, "broke"),
        (Stall(100), TransientError, "silent for 0.5 s"),
    ],
)
def test_the_cdns_faults_have_their_own_errors(
    server: HubServer,
    fault: Status | Cut | Stall | Corrupt,
    error: type[Exception],
    said: str,
    client: Make,
):
    hub = client()
    url = hub.list_files(REPO).files[0].url
    server.faults.append(fault)
    with pytest.raises(error, match=said) as raised:
        hub.read_range(url, 0, 4096)
    if isinstance(raised.value, TransientError) and fault == Status(429, (("Retry-After", "7"),)):
        assert raised.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("told", "wait_s"),
    [("7", 7), ("0", 0), ("²", None), ("-1", None), ("Fri, 31 Dec 1999 23:59:59 GMT", None)],
)
def test_how_long_to_wait_is_a_number_or_not_known(told: str, wait_s: float | None):
    error = status_error("hub", 503, told)
    assert isinstance(error, TransientError)
    assert error.retry_after_s == wait_s


def test_offline_forbids_every_question_before_a_socket_is_opened(server: HubServer, client: Make):
    hub = client(offline=True)
    for ask in (
        lambda: hub.list_files(REPO),
        lambda: hub.read_range(f"{server.endpoint}/x", 0, 1),
        lambda: hub.stream(f"{server.endpoint}/x", 0),
    ):
        with pytest.raises(Offline, match="forbidden"):
            ask()
    assert server.requests == []


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "EDGELLM_OFFLINE"])
def test_offline_may_come_by_the_environment(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "1")
    with pytest.raises(Offline):
        HuggingFaceHub().list_files(REPO)


def test_a_hub_that_is_not_there_is_a_network_error():
    with HubServer() as gone:
        endpoint = gone.endpoint
    with pytest.raises(NetworkError, match="can't be reached") as raised:
        HuggingFaceHub(endpoint=endpoint, token="", offline=False).list_files(REPO)
    assert "--offline" in raised.value.hint
    assert "Errno" not in str(raised.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "hf-mirror.example",
        "http://[::1",
        "http://x:abc",
        "http://127.0.0.1:99999",
        "http:///x",
        "x:1",
    ],
)
def test_an_endpoint_that_is_no_address_is_a_setting_that_cannot_be(endpoint: str):
    hub = HuggingFaceHub(endpoint=endpoint, token="", offline=False)
    with pytest.raises(ConfigError, match=r"HF_ENDPOINT '" + re.escape(endpoint)):
        hub.list_files(REPO)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Please log in</html>", b"[1]", b"{}", b"\xff", b"null", b'"x"',
        b'{"id": "a/b", "siblings": [{"foo": 1}]}',
        b'{"id": "a/b", "siblings": [{"rfilename": 5}]}',
        b'{"id": "a/b", "siblings": [{"rfilename": "a.gguf", "size": "12"}]}',
        b'{"id": "a/b", "siblings": [{"rfilename": "a.gguf", "size": -1}]}',
        b'{"id": "a/b", "siblings": 7}',
        b'{"id": "a/b", "sha": 5, "siblings": []}',
        rb'{"id": "a/b", "sha": "\ud800", "siblings": [{"rfilename": "a.md"}]}',
        rb'{"id": "a/b", "siblings": [{"rfilename": "a.gguf", "size": "\ud800"}]}',
    ],
)  # fmt: skip
def test_a_login_page_or_another_servers_words_are_no_hub(
    server: HubServer, client: Make, body: bytes
):
    server.api_faults.append(Status(200, (), body))
    with pytest.raises(NetworkError, match="does not answer as a model hub"):
        client().list_files(REPO)


def test_a_name_that_is_no_text_costs_itself_only(server: HubServer, client: Make):
    body = rb'{"id": "a/b", "siblings": [{"rfilename": "\ud800.gguf"}, {"rfilename": "a.md"}]}'
    server.api_faults.append(Status(200, (), body))
    assert [file.path for file in client().list_files(REPO).files] == ["a.md"]


def test_a_model_without_a_size_is_named(server: HubServer, client: Make):
    body = b'{"id": "a/b", "siblings": [{"rfilename": "a.gguf", "size": null}]}'
    server.api_faults.append(Status(200, (), body))
    with pytest.raises(NetworkError, match=r"no size for a\.gguf"):
        client().list_files(REPO)


def test_of_a_way_that_breaks_behind_a_redirect_the_host_that_failed_is_named(
    server: HubServer, client: Make
):
    """A mirror can be reached, and what it leads to is blocked."""
    hub = client()
    url = hub.list_files(REPO).files[0].url
    server.scheme_of_cdn = "http://localhost:9/?from=http"
    with pytest.raises(TransientError, match=r"^localhost:9 \(to which 127\.0\.0\.1 leads\) can't"):
        hub.read_range(url, 0, 10)


def test_a_redirect_to_what_is_no_address_is_told(server: HubServer, client: Make):
    hub = client()
    url = hub.list_files(REPO).files[0].url
    server.scheme_of_cdn = "http://x:abc"
    with pytest.raises(NetworkError, match="no address"):
        hub.read_range(url, 0, 10)


def test_the_real_client_understands_this_server(server: HubServer):
    """So that what the other tests prove holds for the hub, too."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=server.endpoint, token=False)
    tree = {file.path: file for file in api.list_repo_tree(REPO, recursive=True)}
    assert tree["tiny-F32.gguf"].lfs.sha256 == server.add(REPO, "tiny-F32.gguf", llama_bytes())
    assert api.model_info(REPO).sha == server.commit(REPO)
