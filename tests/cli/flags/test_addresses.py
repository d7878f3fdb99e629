import socket

import psutil
import pytest

from edgellm.cli.flags.addresses import (
    hears,
    place_of,
    seen_from_outside,
    url_of,
    url_of_environment,
)
from edgellm.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("box", "http://box:8484"),
        ("box:11434", "http://box:11434"),
        ("Box.:11434", "http://box:11434"),
        (":11434", "http://127.0.0.1:11434"),
        ("127.0.0.1", "http://127.0.0.1:8484"),
        ("127.0.0.1:8484/", "http://127.0.0.1:8484"),
        ("http://127.0.0.1:8484", "http://127.0.0.1:8484"),
        ("http://127.0.0.1:8484/", "http://127.0.0.1:8484"),
        ("HTTP://localhost", "http://127.0.0.1:8484"),
        ("localhost:8484", "http://127.0.0.1:8484"),
        ("0.0.0.0", "http://127.0.0.1:8484"),
        ("[::]", "http://[::1]:8484"),
        ("::", "http://[::1]:8484"),
        ("[::]:80", "http://[::1]:80"),
        ("[0:0:0:0:0:0:0:1]:80", "http://[::1]:80"),
        ("http://box:80/", "http://box:80"),
        ("https://box", "https://box:443"),
        ("https://localhost:8443", "https://localhost:8443"),
        ("https://Box.lan/llm/", "https://box.lan:443/llm"),
        ("http://box.lan/llm", "http://box.lan:80/llm"),
        ("http://localhost:8484/llm/a", "http://127.0.0.1:8484/llm/a"),
        ("[::1]/llm", "http://[::1]:80/llm"),
        ("unix:/run/e.sock", "unix:///run/e.sock"),
        ("unix:///run/e.sock", "unix:///run/e.sock"),
        (" box ", "http://box:8484"),
    ],
)
def test_one_place_is_asked_in_one_way(text, url):
    assert url_of(text) == url
    assert url_of(url) == url
    assert place_of(text) == place_of(url)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("http://localhost:8484/llm", "127.0.0.1"),
        ("http://box/llm", "box:80"),
        ("https://localhost", "https://127.0.0.1:443"),
        ("unix:/run/e.sock", "unix:///run/e.sock"),
        ("0.0.0.0", "localhost"),
    ],
)
def test_places_are_compared_by_their_address_alone(text, same):
    assert place_of(text) == place_of(same)


def test_a_socket_is_where_its_path_leads_from_here(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    assert url_of("unix:~/e.sock") == url_of("unix:e.sock") == f"unix://{tmp_path}/e.sock"


@pytest.mark.parametrize(
    "text", ["ftp://box", "http://a b", "box?x", "box#@127.0.0.1", ".", "box/a?b", "box/a b"]
)
def test_what_is_no_address_is_a_bad_setting(text):
    with pytest.raises(ConfigError, match="is no address"):
        url_of(text)


@pytest.mark.parametrize(
    "text", ["127.0.0.1.evil.com", "evil.com/127.0.0.1", "https://127.0.0.1:8484", "[::1]"]
)
def test_what_only_looks_like_a_place_is_another(text):
    assert place_of(text) != place_of("127.0.0.1:8484")


def own_address():
    """One that others reach this machine by."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET and not one.address.startswith("127."):
                return one.address
    pytest.skip("this machine has no address but its own loopback")


@pytest.mark.parametrize("everywhere", ["http://0.0.0.0:8484", "http://[::]:8484"])
def test_who_listens_everywhere_hears_every_address_of_this_machine(everywhere):
    assert hears(everywhere, own_address())
    assert hears(everywhere, f"http://{own_address()}:8484/")
    for name in ("127.0.0.1", "localhost:8484", "0.0.0.0"):
        assert hears(everywhere, name)


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("http://0.0.0.0:8484", "192.0.2.1"),
        ("http://0.0.0.0:8484", "[::1]"),
        ("http://0.0.0.0:8484", "{own}:8485"),
        ("http://0.0.0.0:8484", "https://{own}:8484"),
        ("http://127.0.0.1:8484", "{own}"),
        ("unix:///run/e.sock", "{own}"),
        ("http://[::]:8484", "unix:/run/e.sock"),
    ],
)
def test_whoever_is_asked_elsewhere_is_another(server, url):
    assert not hears(server, url.format(own=own_address()))


def test_what_others_see_of_this_machine_is_an_address_of_its_own_or_unknown():
    seen = seen_from_outside("0.0.0.0")
    own = {one.address for part in psutil.net_if_addrs().values() for one in part}
    assert seen is None or (seen in own and not seen.startswith("127."))


def test_the_environment_names_a_server(monkeypatch):
    assert url_of_environment() is None
    monkeypatch.setenv("EDGELLM_HOST", " box ")
    assert url_of_environment() == "http://box:8484"
    monkeypatch.setenv("EDGELLM_HOST", "https://box.lan/llm")
    assert url_of_environment() == "https://box.lan:443/llm"
