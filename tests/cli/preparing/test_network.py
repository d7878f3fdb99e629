import socket

import pytest

from edgellm.cli.preparing.network import hub_is_reachable


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_hub_that_takes_connections_is_reachable_until_it_is_gone(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}/hf")
        assert hub_is_reachable()
    assert not hub_is_reachable()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:99999", "http://x:abc", "http://[::1", "x"])
def test_what_is_no_address_is_not_reachable(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert not hub_is_reachable()
