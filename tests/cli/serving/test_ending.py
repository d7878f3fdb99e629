import os
from dataclasses import replace

import pytest
from cli.serving.announcing import announced, http_server
from server.server_fakes import FakeEngine, live_server, served

from edgellm.cli.serving import state
from edgellm.cli.serving.ending import end_all
from edgellm.cli.serving.find import Found, look


@pytest.fixture
def live():
    with live_server(served(engine=FakeEngine())) as live:
        yield live


def test_a_server_that_ends_in_time_has_ended(live):
    with announced(live.url):
        found = look()
    assert end_all(found, 5.0) == ((live.url,), ())
    live.thread.join(5)
    assert not live.thread.is_alive()


def test_a_server_that_unloads_its_models_yet_has_not_ended(live):
    with announced(live.url) as announcement:
        found = look()
        announcement.stopping()
        ended, (late,) = end_all(found, 0.1)
    assert ended == ()
    assert (late.url, late.pid) == (live.url, os.getpid())
    assert "still ending after 0.1 s" in str(late.error)


def test_without_a_wait_it_is_told_and_that_is_all(live):
    with announced(live.url):
        assert end_all(look(), 0.0) == ((live.url,), ())


def test_one_that_winds_up_already_is_waited_for_and_told_nothing():
    with http_server(b"HTTP/1.1 500 No\r\n\r\n") as url, announced(url) as announcement:
        announcement.stopping()
        found = Found(stopping=state.stopping())
        _, (late,) = end_all(found, 0.1)
    assert "still ending" in str(late.error)
    assert end_all(found, 0.1) == ((url,), ())


def test_one_that_winds_up_before_it_is_told_ends_as_the_others_do(live):
    with announced(live.url):
        ((_, status),) = look().answering
        with http_server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as stranger:
            found = Found(((stranger, status),))
            with announced(stranger) as announcement:
                announcement.stopping()
                ended, (late,) = end_all(found, 0.1)
            assert (ended, "still ending" in str(late.error)) == ((), True)
            assert end_all(found, 0.1) == ((stranger,), ())


def test_one_that_was_named_and_cannot_be_told_has_not_ended(live, monkeypatch):
    """It may be another machine's, of whose end nothing can be seen."""
    with announced(live.url):
        ((_, status),) = look().answering
    with http_server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as broken:
        monkeypatch.setenv("EDGELLM_HOST", broken)
        _, (left,) = end_all(Found(((broken, status),)), 0.1)
    assert "it answered 500" in str(left.error)


def test_one_that_cannot_be_told_keeps_no_other_from_its_end(live):
    with announced(live.url):
        found = look()
    ((_, status),) = found.answering
    with (
        http_server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as broken,
        announced(broken),
    ):
        both = replace(found, answering=((broken, status), *found.answering))
        ended, (left,) = end_all(both, 5.0)
    assert (ended, left.url) == ((live.url,), broken)
