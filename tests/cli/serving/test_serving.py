import asyncio
import socket
from dataclasses import replace

import pytest
from certificates import FOLDER
from server.server_fakes import hardware, served

from edgellm.cli.preparing.precheck import bind_of
from edgellm.cli.serving.serving import (
    Instance,
    _hearers,
    _sandbox,
    _tell_of_unserved,
    _terms,
    run_instance,
)
from edgellm.config import Config
from edgellm.errors import ConfigError
from edgellm.keys import KeySettings
from edgellm.meter.health import Finding, Health
from edgellm.runner.sandbox.rules import Wish
from edgellm.server.served import Models

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


KINDS = (("cert", "pem"), ("key", "key"))


def host_names(**settings):
    made = instance([], **settings)
    return _terms(made, bind_of(made.config)).access.host_names


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan"])
def test_a_server_that_others_reach_answers_to_the_machines_own_names(monkeypatch, host):
    monkeypatch.setattr(socket, "gethostname", lambda: "RaspberryPi")
    names = host_names(host=host, allowed_hosts=("llm.lan",))
    assert names == {host, "raspberrypi", "raspberrypi.local", "llm.lan"}


@pytest.mark.parametrize(
    "place", [{"host": "127.0.0.1"}, {"host": "localhost"}, {"host": "::1"}, {"unix_socket": "/x"}]
)
def test_on_loopback_these_names_could_be_anybodys_of_the_network(place):
    assert host_names(**place) == frozenset()


def test_who_asks_by_a_name_of_the_certificate_has_proven_it():
    pair = {f"ssl_{kind}_file": str(FOLDER / f"box.{end}") for kind, end in KINDS}
    assert host_names(**pair) == {"box.lan"}


def test_adapters_that_may_come_later_are_within_a_workers_reach(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _sandbox(Config(lora_dir="loras", sandbox="on")) == Wish(
        "on", (bytes(tmp_path / "loras"),)
    )
    assert _sandbox(Config()) == Wish()


ANNA = KeySettings(key="k", tokens_per_day=10)


@pytest.mark.parametrize(
    ("settings", "n_days"),
    [
        ({}, 400),
        ({"usage_days": 7}, 7),
        ({"usage_days": 0}, None),
        ({"usage_days": 0, "keys": {"anna": KeySettings(key="k")}}, None),
        ({"usage_days": 0, "keys": {"anna": ANNA}}, 1),  # or a restart would be a new day
    ],
)
def test_so_many_days_of_use_are_kept_as_the_settings_say(settings, n_days):
    made = replace(instance([], **settings), is_announced=True)
    diary = _terms(made, bind_of(made.config)).diary
    assert (diary and diary.n_days) == n_days


def test_a_private_server_counts_nothing():
    made = instance([], keys={"anna": ANNA})
    assert _terms(made, bind_of(made.config)).diary is None


def test_a_model_of_a_key_that_is_not_there_is_said():
    said = []
    key = KeySettings(key="k", models=("tiny", "tinny", "other"))
    _tell_of_unserved(instance(said, keys={"anna": key}), Models([served()]))
    assert said == ["keys.anna: not served now: tinny, other"]
