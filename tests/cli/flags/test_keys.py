import pytest
from server.server_fakes import FakeEngine, live_server, served

from edgellm.cli.flags.keys import key_for
from edgellm.cli.serving import state
from edgellm.cli.serving.find import the_server
from edgellm.server.door.access import Access

URL = "http://127.0.0.1:8484"


@pytest.fixture(autouse=True)
def configured(monkeypatch, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('api_keys = ["ours", "another"]\n')
    monkeypatch.setenv("EDGELLM_CONFIG", str(path))


def test_a_server_of_ours_gets_the_first_key_of_the_configuration():
    with state.announced(URL, 0.0):
        assert key_for(URL) == "ours"


def test_nobody_else_is_sent_a_key_of_the_configuration():
    with state.announced(URL, 0.0):
        assert key_for("http://127.0.0.1:8485") is None
    assert key_for(URL) is None


def test_a_key_in_the_environment_goes_before_it(monkeypatch):
    monkeypatch.setenv("EDGELLM_API_KEY", "said")
    with state.announced(URL, 0.0):
        assert key_for(URL) == "said"
    assert key_for("http://box:8484") == "said"


def test_a_server_that_asks_for_the_configured_keys_is_found():
    with (
        live_server(served(engine=FakeEngine()), access=Access.of(keys=["ours"])) as live,
        state.announced(live.url, 0.0),
    ):
        assert the_server()[0] == live.url
