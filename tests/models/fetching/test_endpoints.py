"""Wherever HF_ENDPOINT says that a mirror is: with a port, a path, slashes, behind a redirect."""

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from hub_server import HubServer, Status
from mirror_runs import COMMIT, REPO, Cache, demo, live_hub

from edgellm.errors import ConfigError, ModelNotFound, NetworkError
from edgellm.models.fetching.http_range import RangeClient
from edgellm.models.fetching.hub import HuggingFaceHub
from edgellm.models.fetching.remote import read_remote_header
from edgellm.models.repo_files import choose_files
from edgellm.models.store import Store
from edgellm.server.door.access import Access

KEY = "hf_" + "k" * 34


class Front(BaseHTTPRequestHandler):
    """A reverse proxy below /hub; below /moved, an address that leads there."""

    protocol_version = "HTTP/1.1"
    behind: str

    def log_message(self, format, *args):
        """Nobody reads it."""

    def do_GET(self):
        if self.path.startswith("/moved/"):
            self.answer(307, [("Location", self.path.replace("/moved/", "/hub/", 1))])
            return
        if not self.path.startswith("/hub/"):
            self.answer(404, [])
            return
        with httpx2.Client(trust_env=False, timeout=60) as http:
            passed_on = {
                name: value for name, value in self.headers.items() if name.lower() != "host"
            }
            got = http.get(self.behind + self.path.removeprefix("/hub"), headers=passed_on)
        kept = [(name, value) for name, value in got.headers.items() if name != "content-length"]
        self.answer(got.status_code, kept, got.content)

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who has read enough hangs up
            self.wfile.write(body)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    cache = Cache(tmp_path_factory.mktemp("gateway"))
    cache.add()
    with live_hub(cache, Access.of(keys=[KEY])) as live:
        yield live


@pytest.fixture(scope="module")
def front(live):
    handler = type("Handler", (Front,), {"behind": live.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def check(endpoint, root):
    """All that a pull asks: the listing, a header by range, the file."""
    with HuggingFaceHub(endpoint=endpoint, token=KEY, offline=False) as hub:
        repository = hub.list_files(REPO)
        model = choose_files(repository.listing)
        assert repository.commit == COMMIT
        assert read_remote_header(hub, model.files[0]).architecture == "llama"
        assert Store(root).fetch(hub, repository, model).read_bytes() == demo()


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_an_endpoint_with_a_port(live, tmp_path, end):
    check(live.url + end, tmp_path)


@pytest.mark.parametrize("path", ["/hub", "/hub/", "/moved", "/moved/"])
def test_an_endpoint_with_a_path_and_behind_a_redirect(front, tmp_path, path):
    check(front + path, tmp_path)


def test_the_variable_says_the_same(front, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{front}/hub/")
    check(None, tmp_path)


def test_blanks_around_it_are_none_of_it(live, tmp_path, monkeypatch):
    """As a line of a .env file may leave them."""
    monkeypatch.setenv("HF_ENDPOINT", f" {live.url} \r\n")
    check(None, tmp_path)


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_empty_one_is_none(monkeypatch, blank):
    monkeypatch.setenv("HF_ENDPOINT", blank)
    assert HuggingFaceHub().endpoint == "https://huggingface.co"


@pytest.mark.parametrize(
    "endpoint", ["gateway", "gateway:8485", "ftp://gateway", "http://", "/hub"]
)
def test_half_an_address_is_told_before_anything_is_asked(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with HuggingFaceHub(token="", offline=False) as hub, pytest.raises(ConfigError) as raised:
        hub.list_files(REPO)
    assert "HF_ENDPOINT" in str(raised.value)
    assert endpoint.rstrip("/") in str(raised.value)


def told(endpoint, repo, token):
    hub = HuggingFaceHub(endpoint=endpoint, token=token, offline=False)
    with hub, pytest.raises((ModelNotFound, NetworkError)) as raised:
        hub.list_files(repo)
    return str(raised.value), raised.value.hint


def test_a_mirror_is_named_and_its_words_are_told(live):
    """What is usual at huggingface.co, a licence to accept for one, would lead astray."""
    where = live.url.removeprefix("http://")
    message, hint = told(live.url, "org/none", KEY)
    assert message == f"{where} has no org/none, or not for everyone"
    assert hint.startswith("HF_ENDPOINT names this hub; it says: org/none is not on this disk")
    assert told(live.url, REPO, "")[0] == f"{where} wants a token"
    message, hint = told(live.url, REPO, "hf_other")
    assert message == f"{where} does not know the token that it was shown"
    assert "HF_TOKEN" in hint


WHY = "this Host name is not allowed here"


@pytest.mark.parametrize(
    "answer",
    [
        Status(403, (("X-Error-Message", WHY),)),
        Status(403, body=json.dumps({"error": WHY}).encode()),
    ],
    ids=["header", "json"],
)
def test_a_mirror_says_why_it_refuses(answer):
    with HubServer() as hub:
        hub.api_faults.append(answer)
        assert told(hub.endpoint, REPO, "")[1] == f"HF_ENDPOINT names this hub; it says: {WHY}"


def test_a_mirror_that_is_off_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        message, hint = told(f"http://{where}", REPO, "")
    assert message.startswith(f"{where} can't be reached")
    assert hint.startswith("HF_ENDPOINT names this hub; is it on?")


@pytest.mark.parametrize(
    ("endpoint", "asked", "is_shown"),
    [
        ("http://hub.lan", "http://hub.lan/f", True),
        ("http://hub.lan", "https://hub.lan/f", True),  # as a proxy on port 80 has it
        ("http://hub.lan/hf", "https://hub.lan:443/f", True),
        ("http://hub.lan", "https://hub.lan:8443/f", False),
        ("http://hub.lan", "https://cdn.lan/f", False),
        ("http://hub.lan:8485", "https://hub.lan/f", False),
        ("https://hub.lan", "http://hub.lan/f", False),
        ("http://[fd00::5]", "https://[fd00::5]/f", True),
    ],
)
def test_the_token_is_the_hubs_alone(endpoint, asked, is_shown):
    client = RangeClient(endpoint, KEY, 1.0)
    headers = client._headers(httpx2.URL(asked), 0, None)
    client.close()
    assert ("Authorization" in headers) is is_shown
