import asyncio

import pytest
from server.server_fakes import hardware, served

from edgellm.cli.serving.serving import Instance, _hearers, run_instance
from edgellm.config import Config
from edgellm.errors import ConfigError
from edgellm.meter.health import Finding, Health

ILL = Health("degraded", Finding("thermal", "too hot"), 3.0)
HOOK = "http://127.0.0.1:9/hook"


def instance(said, **config):
    return Instance(Config(port=0, **config), hardware(), (), is_announced=False, say=said.append)


def test_offline_a_change_of_health_is_said_here_and_nowhere_else():
    said = []
    hearers = _hearers(instance(said, health_webhook=HOOK, offline=True))
    assert said == ["offline: health_webhook is told nothing"]
    for hear in hearers:  # without an event loop, in which a webhook would post
        hear(served("tiny"), ILL)
    assert said[1:] == [f"tiny is {ILL}"]
    assert len(_hearers(instance(said, health_webhook=HOOK))) == 2


def test_a_server_whose_webhook_is_no_url_does_not_begin():
    with pytest.raises(ConfigError, match="health_webhook"):
        asyncio.run(run_instance(instance([], health_webhook="http://x:99999/secret")))
