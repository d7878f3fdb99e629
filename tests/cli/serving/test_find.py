import os
import socket
import time

import httpx2
import pytest
from cli.serving.announcing import announced, http_server
from server.server_fakes import FakeEngine, live_server, served

from edgellm.cli.serving.find import (
    host_flag,
    is_here,
    is_meant,
    look,
    only,
    server_of,
    short_forms,
    statuses,
    the_only,
    the_server,
)
from edgellm.errors import BadRequest, ConfigError, KeyRefused, NotServing
from edgellm.server.door.access import Access
from edgellm.status import ModelStatus, PlanStatus

GARBAGE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"


@pytest.fixture
def live():
    with live_server(served(engine=FakeEngine())) as live, announced(live.url, 1.0):
        yield live


@pytest.fixture
def locked():
    """A server of ours that opens to a key which we haven't got."""
    access = Access.of(keys=["secret"])
    with (
        live_server(served("locked", engine=FakeEngine()), access=access) as locked,
        announced(locked.url, 2.0),
    ):
        yield locked


@pytest.fixture
def hanging():
    """It takes the connection, and that is all; its URL."""
    with http_server(None) as url, announced(url, 3.0):
        yield url


def urls(found):
    return [url for url, _ in found.answering], [one.url for one in found.silent]


def test_a_server_that_answers_is_found_with_its_status(live):
    ((url, status),) = look().answering

    assert (url, status.models[0].name) == (live.url, "tiny")


def test_without_any_server_nothing_is_found_and_the_hint_says_how_to_start_one():
    assert look().is_empty
    with pytest.raises(NotServing) as caught:
        the_server()
    assert "edgellm up" in caught.value.hint


def test_those_that_cannot_be_asked_are_told_apart_from_those_that_answer(live, locked, hanging):
    assert urls(look(patience_s=3.0)) == ([live.url], [hanging, locked.url])


def test_settings_that_can_not_be_are_told_as_such_and_no_server_is_to_be_killed_for_them(
    live, locked, tmp_path, monkeypatch
):
    path = tmp_path / "config.toml"
    path.write_text('[keys.anna]\nkey_file = "/no/such/file"\nadmin = true\n')
    monkeypatch.setenv("EDGELLM_CONFIG", str(path))
    with pytest.raises(ConfigError, match=r"keys\.anna: key_file /no/such/file can't be read"):
        look()


def test_one_that_could_not_be_asked_is_named_with_its_process_and_a_way_out(hanging):
    with pytest.raises(NotServing) as caught:
        look(patience_s=0.5).check_silent()
    assert str(caught.value) == f"{hanging} does not answer (pid {os.getpid()})"
    assert f"kill -9 {os.getpid()}" in caught.value.hint


def test_one_that_wants_another_key_is_named_with_both_ways_out(locked):
    with pytest.raises(KeyRefused, match=locked.url) as caught:
        look().check_silent()
    assert "EDGELLM_API_KEY" in caught.value.hint
    assert f"kill {os.getpid()}" in caught.value.hint


def test_of_several_that_could_not_be_asked_each_is_named(locked, hanging):
    with pytest.raises(NotServing) as caught:
        look(patience_s=3.0).check_silent()
    heading, first, second = str(caught.value).splitlines()
    assert heading == "of 2 servers here:"
    assert (hanging in first, "kill -9" in first) == (True, True)
    assert (locked.url in second, "EDGELLM_API_KEY" in second) == (True, True)


def test_several_that_hang_are_waited_for_no_longer_than_one(hanging):
    with (
        http_server(None) as second,
        http_server(None) as third,
        announced(second),
        announced(third),
    ):
        began_s = time.monotonic()
        assert len(look(patience_s=2.0).silent) == 3
    assert time.monotonic() - began_s < 5.5, "one after the other they would take six"


def test_a_hint_names_the_server_unless_it_is_the_only_one_here(monkeypatch):
    url, other = "http://127.0.0.1:1", "http://127.0.0.1:2"
    assert host_flag(other) == f" --host {other}"
    with announced(url):
        assert host_flag(url) == ""
        assert host_flag("localhost:1") == ""
        assert host_flag(other) == f" --host {other}", "it is elsewhere, or not announced"
        with announced(other):
            assert host_flag(url) == f" --host {url}"
        monkeypatch.setenv("EDGELLM_HOST", "127.0.0.1:2")
        assert host_flag(url) == f" --host {url}"


@pytest.mark.parametrize("url", ["unix:/tmp/my models/e.sock", "http://[::1]:8484"])
def test_a_hint_can_be_typed_in_any_shell_whatever_the_address(url):
    assert host_flag(url) == f" --host '{url}'"


def test_a_server_that_is_told_of_here_is_here_and_so_is_every_socket():
    with announced("http://127.0.0.1:1"):
        assert is_here("http://localhost:1")
        assert not is_here("http://127.0.0.1:2")
    assert is_here("unix:///run/e.sock")


def test_what_listens_in_the_place_of_a_server_and_is_none_is_told():
    with http_server(GARBAGE) as url, announced(url):
        (one,) = look().silent
    assert "another version" in str(one.error)


def test_a_server_that_winds_up_is_neither_asked_nor_told_to_be_silent():
    with http_server(GARBAGE) as url, announced(url) as announcement:
        announcement.stopping()
        found = look()
    assert urls(found) == ([], [])
    assert [server.url for server in found.stopping] == [url]


def test_a_server_that_answers_and_winds_up_then_is_told_once(live):
    told = httpx2.get(f"{live.url}/edgellm/status", trust_env=False).content
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + told
    begun = []
    with (
        http_server(answer, lambda: begun[0].stopping()) as url,
        announced(url) as announcement,
    ):
        begun.append(announcement)
        found = look()
    assert urls(found) == ([live.url], [])
    assert [server.url for server in found.stopping] == [url]


def test_a_server_that_was_named_must_answer(monkeypatch, live):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # and does not listen
        nobody = f"127.0.0.1:{sock.getsockname()[1]}"
        monkeypatch.setenv("EDGELLM_HOST", nobody)

        with pytest.raises(NotServing, match=f"no server at http://{nobody}"):
            statuses()


def test_of_a_server_that_was_named_and_is_ours_the_process_is_told(monkeypatch, hanging):
    monkeypatch.setenv("EDGELLM_HOST", hanging.replace("127.0.0.1", "localhost"))

    with pytest.raises(NotServing, match=f"pid {os.getpid()}"):
        look(patience_s=0.5)


def test_a_path_that_is_wrong_is_no_reason_to_end_the_server_there(monkeypatch, live):
    monkeypatch.setenv("EDGELLM_HOST", f"{live.url}/typo")

    with pytest.raises(NotServing, match=f"no edgellm at {live.url}/typo: ") as caught:
        look()
    assert caught.value.hint == f"one listens at {live.url}: is the path right?"


def test_a_path_that_hangs_is_no_reason_to_end_the_server_there(monkeypatch, hanging):
    """There may be a proxy's healthy server beside it."""
    monkeypatch.setenv("EDGELLM_HOST", f"{hanging}/box")

    with pytest.raises(NotServing, match=f"^{hanging}/box does not answer$") as caught:
        look(patience_s=0.5)
    assert "kill" not in caught.value.hint


def test_a_flag_names_a_server_before_the_environment_does(monkeypatch, live):
    with live_server(served("small", engine=FakeEngine())) as elsewhere:
        monkeypatch.setenv("EDGELLM_HOST", live.url)
        assert look().is_named
        assert the_server()[0] == live.url
        assert the_server(host=elsewhere.url)[0] == elsewhere.url
        assert [url for url, _ in statuses(elsewhere.url)] == [elsewhere.url]
        monkeypatch.delenv("EDGELLM_HOST")
        assert not look().is_named


def test_a_server_is_found_by_its_model(live, monkeypatch):
    monkeypatch.setenv("EDGELLM_HOST", live.url)

    found = server_of("TINY")
    assert found is not None
    assert found[1].name == "tiny"
    assert server_of("other") is None
    assert the_server()[0] == live.url
    with pytest.raises(NotServing, match="other"):
        the_server("other")


def test_a_model_is_found_by_each_name_that_its_server_knows_it_by(live):
    hub = served("hf.co/org/repo:Q8_0", aliases=("repo",))
    with (
        live_server(hub, aliases=("gpt-4o-mini", "*")) as second,
        announced(second.url, 5.0),
    ):
        assert the_server("repo")[0] == second.url
        assert the_server("GPT-4o-mini")[0] == second.url
        assert server_of("gpt-4o-mini")[1].name == "hf.co/org/repo:Q8_0"
        assert server_of("other") is None, "any name is no name"


def test_a_models_own_name_goes_before_anothers_alias(live):
    """The newest is asked first, and it would answer by this name, too."""
    with (
        live_server(served("small"), aliases=("tiny",)) as second,
        announced(second.url, 5.0),
    ):
        assert the_server("tiny")[0] == live.url
        assert server_of("tiny") == (live.url, look().answering[-1][1].models[0])


def test_a_model_is_not_looked_for_where_another_key_is_wanted(locked):
    assert server_of("locked") is None


def test_of_two_servers_one_must_be_named(live):
    with live_server(served("small", engine=FakeEngine())) as second, announced(second.url, 5.0):
        with pytest.raises(BadRequest, match="2 servers are running") as caught:
            only(look(), or_all="; --all stops them all")
        newest = look().answering[0][0]
        assert (
            caught.value.hint == f"say which: --host {newest}, or its model; --all stops them all"
        )
        assert the_server("tiny")[0] == live.url
        with pytest.raises(BadRequest) as caught:
            the_server(named_by='server="{url}"')
        assert caught.value.hint == f'say which: server="{newest}", or its model'


def test_of_two_with_the_same_model_the_address_alone_tells_which(live):
    with live_server(served("tiny")) as second, announced(second.url, 5.0):
        newest = look().answering[0][0]
        with pytest.raises(BadRequest) as caught:
            the_server("tiny")
        assert caught.value.hint == f"say which: --host {newest}"
        with pytest.raises(BadRequest) as caught:
            the_server(or_model="")
        assert caught.value.hint == f"say which: --host {newest}"


def test_who_asks_for_the_only_server_is_told_of_the_one_that_could_not_be_asked(locked):
    with pytest.raises(KeyRefused, match=locked.url):
        the_server()


def status_of(name, file="x.gguf"):
    plan = PlanStatus(
        file=file, quant="Q8_0", n_ctx=1, n_ctx_seq=1, n_parallel=1, kv_type_k="f16",
        kv_type_v="f16", n_threads=1, n_gpu_layers=0,
    )  # fmt: skip
    return ModelStatus(name=name, state="ready", plan=plan)


@pytest.mark.parametrize(
    ("text", "name", "meant"),
    [
        ("qwen3:8b", "qwen3:8b", True),
        ("Qwen3:8B", "qwen3:8b", True),
        ("qwen3", "qwen3:8b", False),
        ("org/repo", "hf.co/org/repo:Q8_0", True),
        ("hf.co/org/repo:Q8_0", "hf.co/org/repo:Q8_0", True),
        ("org/repo:Q4_0", "hf.co/org/repo:Q8_0", False),
        ("/models/x.gguf", "anything", True),
        ("/models/y.gguf", "anything", False),
    ],
)
def test_a_model_is_meant_by_its_name_or_its_file(text, name, meant):
    assert is_meant(text, status_of(name, "/models/x.gguf")) is meant


def test_the_only_server_is_found_without_being_asked(hanging):
    assert the_only().url == hanging


def test_without_a_server_there_is_no_only_one():
    assert the_only() is None


def test_of_several_each_is_named_and_one_has_to_be_said(live, locked):
    with pytest.raises(BadRequest, match="2 servers are running") as caught:
        the_only()
    assert f"{live.url} (tiny)" in str(caught.value)
    assert locked.url in str(caught.value)
    assert caught.value.hint == f"say which: --host {locked.url}"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("qwen3:8b-q8_0", ("qwen3:8b:Q8_0", "qwen3:8b")),
        ("qwen3:8b", ()),
        ("hf.co/org/repo:Q8_0", ("org/repo:Q8_0", "repo:Q8_0", "org/repo", "repo")),
        ("my-Q8_0", ()),
        ("any: words", ()),
    ],
)
def test_a_short_form_leaves_out_what_may_be_left_out(name, short):
    assert short_forms(name) == short
