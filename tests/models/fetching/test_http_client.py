"""Networks as users have them: proxies, certificates of their own, addresses that lead nowhere."""

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from certificates import AUTHORITY, FOLDER
from hub_server import HubServer
from modelscope_server import ModelScopeServer
from store_runs import FAST

from edgellm.errors import ConfigError, NetworkError, TransientError
from edgellm.models.fetching.http_client import connection_error, trusted_certificates
from edgellm.models.fetching.hub import HttpHub, HuggingFaceHub
from edgellm.models.fetching.modelscope import ModelScopeHub
from edgellm.models.hubs import SITES

REPO = "org/repo"
HUBS = [HuggingFaceHub, ModelScopeHub]
_VARIABLES = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from huggingface_hub import close_session, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    close_session()  # it keeps the proxies of whoever asked first
    yield
    set_client_factory(default_client_factory)
    close_session()


@contextlib.contextmanager
def asking(kind: type[HttpHub], endpoint: str) -> Iterator[HttpHub]:
    with kind(endpoint=endpoint, token="", offline=False, stall_timeout_s=5.0) as hub:
        if isinstance(hub, ModelScopeHub):
            hub.policy = FAST
        yield hub


def both_ways(hub: HttpHub) -> tuple[Callable[[], object], ...]:
    return (
        lambda: hub.list_files(REPO),  # type: ignore[attr-defined]
        lambda: hub.read_range(f"{hub.endpoint}/{REPO}/resolve/main/m.gguf", 0, 10),
    )


@contextlib.contextmanager
def proxy(status: int) -> Iterator[str]:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_CONNECT()

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://me:secret@127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def encrypted(server: HubServer) -> Iterator[str]:
    """The hub behind TLS on localhost, by a certificate of a company's own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "server.pem", FOLDER / "server.key")
    server._server.socket = context.wrap_socket(
        server._server.socket, server_side=True, do_handshake_on_connect=False
    )
    yield f"https://localhost:{server.port}"


@pytest.mark.parametrize("kind", HUBS)
@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (407, NetworkError, "HTTPS_PROXY=http://USER:PASSWORD@127.0.0.1:"),
        (403, NetworkError, "EDGELLM_HUB="),
        (502, TransientError, "NO_PROXY"),
    ],
)
def test_a_proxy_that_opens_no_way_is_named_without_its_password(
    kind: type[HttpHub],
    status: int,
    error: type[Exception],
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
):
    with proxy(status) as address, asking(kind, "https://hub.example") as hub:
        monkeypatch.setenv("HTTPS_PROXY", address)
        for ask in both_ways(hub):
            with pytest.raises(error, match=r"the proxy 127\.0\.0\.1:\d+ opens no way") as raised:
                ask()
            assert str(status) in str(raised.value)
            assert hint in raised.value.hint
            assert "secret" not in f"{raised.value} {raised.value.hint}"
            assert type(raised.value) is error


@pytest.mark.parametrize("kind", HUBS)
def test_a_proxy_that_is_not_there_is_told_from_a_hub_that_is_not(
    kind: type[HttpHub], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with asking(kind, "https://hub.example") as hub:
        for ask in both_ways(hub):
            with pytest.raises(NetworkError, match=r"through the proxy 127\.0\.0\.1:9, can't be"):
                ask()


@pytest.mark.parametrize(("status", "said"), [(407, "wants a password"), (503, "status 503")])
def test_a_proxy_before_a_mirror_of_the_lan_is_named_with_the_way_around_it(
    status: int, said: str, monkeypatch: pytest.MonkeyPatch
):
    with proxy(status) as address, asking(HuggingFaceHub, "http://mirror.example:8485") as hub:
        monkeypatch.setenv("HTTP_PROXY", address)
        hub.policy = FAST
        with pytest.raises(NetworkError, match=said) as raised:
            hub.list_files(REPO)  # type: ignore[attr-defined]
        assert "NO_PROXY=mirror.example leads around it" in raised.value.hint
        assert "secret" not in raised.value.hint


@pytest.mark.parametrize("kind", HUBS)
def test_of_two_proxies_the_one_on_the_way_is_named(
    kind: type[HttpHub], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:7")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with asking(kind, "http://hub.example") as hub:
        for ask in both_ways(hub):
            with pytest.raises(NetworkError, match=r"through the proxy 127\.0\.0\.1:9, can't be"):
                ask()


@pytest.mark.parametrize("kind", HUBS)
def test_a_hub_without_https_is_told_so(kind: type[HttpHub]):
    with HubServer() as server, asking(kind, f"https://127.0.0.1:{server.port}") as hub:
        for ask in both_ways(hub):
            with pytest.raises(NetworkError, match="does not speak HTTPS") as raised:
                ask()
            assert "write http://" in raised.value.hint


@pytest.mark.parametrize("kind", HUBS)
def test_a_proxy_that_is_written_with_https_and_speaks_none_is_told(
    kind: type[HttpHub], monkeypatch: pytest.MonkeyPatch
):
    with proxy(502) as address, asking(kind, "https://hub.example") as hub:
        monkeypatch.setenv("HTTPS_PROXY", address.replace("http://", "https://"))
        for ask in both_ways(hub):
            with pytest.raises(NetworkError, match="does not speak HTTPS") as raised:
                ask()
            assert "write http:// in HTTPS_PROXY" in raised.value.hint


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", None]
)
@pytest.mark.parametrize("kind", HUBS)
def test_a_companys_certificate_is_believed_where_it_is_named(
    kind: type[HttpHub], variable: str | None, monkeypatch: pytest.MonkeyPatch
):
    if variable:
        monkeypatch.setenv(variable, str(AUTHORITY))
    server = ModelScopeServer() if kind is ModelScopeHub else HubServer()
    with server, encrypted(server) as endpoint, asking(kind, endpoint) as hub:
        server.add(REPO, "m.gguf", b"GGUF")
        if variable:
            assert hub.list_files(REPO).commit == server.commit(REPO)  # type: ignore[attr-defined]
            return
        for ask in both_ways(hub):
            with pytest.raises(NetworkError, match="nobody known here vouches for") as raised:
                ask()
            assert "SSL_CERT_FILE" in raised.value.hint
            assert not isinstance(raised.value, TransientError)


def test_what_openssl_was_told_goes_before_what_requests_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert trusted_certificates() is None
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))  # a folder of them
    assert trusted_certificates() is not None
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    assert trusted_certificates() is None


@pytest.mark.parametrize("kind", HUBS)
def test_certificates_that_are_not_there_are_a_setting(
    kind: type[HttpHub], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with asking(kind, "https://127.0.0.1:9") as hub:
        for ask in both_ways(hub):
            with pytest.raises(ConfigError, match="certificates") as raised:
                ask()
            assert "REQUESTS_CA_BUNDLE" in raised.value.hint


def test_an_address_that_leads_nowhere_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch):
    """As IPv6 often does: packets vanish, and the same host has another address."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, HubServer() as server:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # its queue is full: no more is let in, and none is refused
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in (full.getsockname(), ("127.0.0.1", server.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
        server.add(REPO, "m.gguf", b"GGUF")
        monkeypatch.setattr("edgellm.models.fetching.http_client._CONNECT_TIMEOUT_S", 0.3)
        with HuggingFaceHub(
            endpoint="http://hub.example:80", token="", offline=False, stall_timeout_s=3600.0
        ) as hub:
            sha256 = server.add(REPO, "m.gguf", b"GGUF")
            assert hub.read_range(f"http://hub.example/cdn/{sha256}", 0, 4) == b"GGUF"
        for one in waiting:
            one.close()


def test_an_error_without_words_is_told_by_its_kind():
    site = SITES["huggingface"]
    url = httpx2.URL("https://me:secret@hub.example/x")
    error = connection_error(httpx2.RemoteProtocolError(""), url, site, 1.0)
    assert str(error) == "the connection to hub.example broke: RemoteProtocolError"
    assert isinstance(error, TransientError)
