import os

import pytest
from cli.serving.announcing import announced, http_server
from server.server_fakes import FakeEngine, live_server, served

from edgellm.cli.serving.already import AlreadyServing, check_place
from edgellm.config import Config, host_and_port
from edgellm.errors import AddressInUse


@pytest.fixture
def live():
    with live_server(served(engine=FakeEngine())) as live:
        yield live


def at(url, host="127.0.0.1"):
    return Config(host=host, port=host_and_port(url)[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_server_of_ours_is_named_with_what_it_serves(host, live):
    with announced(live.url), pytest.raises(AlreadyServing) as caught:
        check_place(at(live.url, host), insecure=True)
    assert caught.value.url == live.url
    assert str(caught.value) == f"tiny is served at {live.url} already (pid {os.getpid()})"
    assert "`edgellm top` watches it, `edgellm stop` ends it" in caught.value.hint


def test_of_several_servers_the_hints_name_the_one_in_that_place(live):
    with (
        announced(live.url),
        announced("http://127.0.0.1:1"),
        pytest.raises(AlreadyServing) as caught,
    ):
        check_place(at(live.url), insecure=False)
    assert f"`edgellm stop --host {live.url}` ends it" in caught.value.hint
    assert f"`edgellm top --host {live.url}` watches it" in caught.value.hint


def test_one_that_does_not_tell_what_it_serves_is_named_all_the_same():
    answer = b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n"
    with http_server(answer) as url, announced(url), pytest.raises(AlreadyServing) as caught:
        check_place(at(url), insecure=False)
    assert str(caught.value).startswith(f"a server of yours listens at {url} already")


def test_somebody_else_in_that_place_is_no_server_of_ours(live):
    with (
        http_server(None) as stranger,
        announced(live.url),
        pytest.raises(AddressInUse) as caught,
    ):
        check_place(at(stranger), insecure=False)
    assert not isinstance(caught.value, AlreadyServing)


def test_a_free_place_and_any_free_port_are_nobodys(live):
    with announced(live.url):
        check_place(Config(port=0), insecure=False)
        check_place(Config(unix_socket="/run/e.sock"), insecure=False)


def test_who_asks_for_a_socket_is_offered_another_socket():
    at_socket = AlreadyServing("tiny is served", "unix:///run/e.sock").hint
    assert "--unix-socket chooses another" in at_socket
    assert "--port" not in at_socket


def test_a_stranger_in_that_place_is_not_to_be_watched():
    with http_server(None) as stranger, pytest.raises(AddressInUse) as caught:
        check_place(at(stranger), insecure=False)
    assert "edgellm top" not in caught.value.hint
    assert "--port" in caught.value.hint
