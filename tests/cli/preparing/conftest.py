"""A hub on loopback, a cache and a machine of one's own."""

import pytest
from hub_server import HubServer


@pytest.fixture
def hub(monkeypatch):
    with HubServer(license="mit") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


@pytest.fixture
def config(tmp_path):
    from edgellm.config import Config

    return Config(cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def hardware():
    from selector_machines import machine

    return machine(ram=16)
