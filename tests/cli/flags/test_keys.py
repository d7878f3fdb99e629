import pytest
from cli.serving.announcing import announced
from server.server_fakes import FakeEngine, live_server, served

from edgellm.cli.flags.keys import key_for
from edgellm.cli.serving.find import the_server
from edgellm.server.door.access import Access

URL = "http://127.0.0.1:8484"


@pytest.fixture(autouse=True)
def configured(monkeypatch, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('api_keys = ["ours", "another"]\n')
    monkeypatch.setenv("EDGELLM_CONFIG", str(path))


def test_a_server_of_ours_gets_the_first_key_of_the_configuration():
    with announced(URL):
        assert key_for(URL) == "ours"


def test_nobody_else_is_sent_a_key_of_the_configuration():
    with announced(URL):
        assert key_for("http://127.0.0.1:8485") is None
    assert key_for(URL) is None


@pytest.mark.parametrize(
    ("listens_at", "asked_as"),
    [
        ("http://0.0.0.0:8484", "0.0.0.0"),
        ("http://0.0.0.0:8484", "http://127.0.0.1:8484"),
        ("http://[::]:8484", "[::]:8484"),
        ("http://[::]:8484", "http://[::1]:8484"),
        (URL, "localhost"),
        (URL, "http://localhost:8484/"),
        (URL, "127.0.0.1"),
        ("unix:///run/e.sock", "unix:/run/e.sock"),
    ],
)
def test_a_server_of_ours_is_known_by_every_spelling_of_its_address(listens_at, asked_as):
    with announced(listens_at):
        assert key_for(asked_as) == "ours"


@pytest.mark.parametrize("asked_as", ["https://127.0.0.1:8484", "127.0.0.1.evil.com", "[::1]"])
def test_an_address_that_only_looks_like_ours_gets_no_key(asked_as):
    with announced(URL):
        assert key_for(asked_as) is None


def test_whoever_takes_the_port_of_a_server_that_winds_up_is_sent_no_key():
    with announced(URL) as announcement:
        announcement.stopping()
        assert key_for(URL) is None


def test_a_key_in_the_environment_goes_before_it(monkeypatch):
    monkeypatch.setenv("EDGELLM_API_KEY", "said")
    with announced(URL):
        assert key_for(URL) == "said"
    assert key_for("http://box:8484") == "said"


def test_a_server_that_asks_for_the_configured_keys_is_found():
    with (
        live_server(served(engine=FakeEngine()), access=Access.of(keys=["ours"])) as live,
        announced(live.url),
    ):
        assert the_server()[0] == live.url
