import os
import shutil

import msgspec
import pytest
from cli.serving.announcing import announced

from edgellm.cli.serving import state
from edgellm.cli.serving.process_identity import identity_of

NOBODY = 2**22 + 1  # beyond the highest number that Linux gives


def folder():
    """In these tests XDG_RUNTIME_DIR is a place apart."""
    (place,) = state.folders()
    return place


def test_a_server_is_found_while_it_is_announced():
    with announced("http://127.0.0.1:1", 100.0):
        (found,) = state.running()
        assert (found.url, found.pid) == ("http://127.0.0.1:1", os.getpid())
    assert state.running() == ()


def test_one_that_winds_up_is_not_among_those_that_listen_until_it_has_ended():
    with announced("http://127.0.0.1:1") as announcement:
        announcement.stopping()
        assert state.running() == ()
        (winding_up,) = state.alive()
        assert (winding_up.url, winding_up.is_stopping) == ("http://127.0.0.1:1", True)
    assert state.alive() == ()


def test_the_newest_comes_first():
    with announced("http://old", 100.0), announced("http://new", 200.0):
        assert [server.url for server in state.running()] == ["http://new", "http://old"]


def test_a_word_that_cannot_be_written_leaves_nothing_behind():
    with announced("http://127.0.0.1:1") as announcement:
        (path,) = folder().iterdir()
        path.unlink()
        path.mkdir()
        announcement.stopping()
        assert [*folder().iterdir()] == [path]


def written(**changes):
    folder().mkdir(mode=0o700)
    fields = {
        "url": "http://x",
        "pid": os.getpid(),
        "identity": identity_of(os.getpid()),
        "listening_since_s": 1.0,
    }
    path = folder() / "1-a.json"
    path.write_bytes(msgspec.json.encode(fields | changes))
    return path


def test_a_file_whose_process_is_gone_is_ignored_and_removed():
    path = written(pid=NOBODY)

    assert state.running() == ()
    assert not path.exists()


def test_a_file_whose_number_is_another_process_by_now_is_stale():
    path = written(identity="another start 12345")

    assert state.running() == ()
    assert not path.exists()


def named(pid):
    """Where a server of that number has its file."""
    return written().rename(folder() / f"{pid}-a.json")


UNREADABLE = {
    "garbage": b"{",
    "no text": b'{"url":"\xff"}',
    "another version's": b'{"url":"http://x","pid":1}',
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_removed_with_its_process_alone(content):
    path = named(os.getpid())
    path.write_bytes(content)
    assert state.running() == ()
    assert path.exists()

    path = path.rename(folder() / f"{NOBODY}-a.json")
    assert state.running() == ()
    assert not path.exists()


def test_a_file_that_cannot_be_opened_is_its_servers_yet():
    path = named(os.getpid())
    path.unlink()
    path.symlink_to(path)

    assert state.running() == ()
    assert path.is_symlink()


def test_a_file_that_names_no_process_and_cannot_be_read_is_nobodys_to_remove():
    path = named("notes")
    path.write_text("{")

    with announced("http://127.0.0.1:1"):
        assert [server.url for server in state.running()] == ["http://127.0.0.1:1"]
    assert path.exists()


def test_the_folder_is_for_this_user_alone():
    with announced("http://x", 1.0):
        assert folder().stat().st_mode & 0o077 == 0


def test_a_folder_that_others_can_write_to_is_not_believed():
    written()
    folder().chmod(0o777)

    assert state.running() == ()


def test_a_folder_that_others_can_write_to_is_not_written_to():
    folder().mkdir()
    folder().chmod(0o777)

    with announced("http://x", 1.0):
        assert list(folder().iterdir()) == []


def test_no_key_is_ever_in_the_file():
    with announced("http://x", 1.0):
        (path,) = folder().glob("*.json")
        assert set(msgspec.json.decode(path.read_bytes())) == {
            "url", "pid", "identity", "listening_since_s", "certificate", "is_stopping",
        }  # fmt: skip


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The login's folder and the temporary one."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    (tmp_path / "login" / str(os.getuid())).mkdir(parents=True)
    login, temporary = state.folders(tmp_path / "login")
    return login, tmp_path / temporary.name


def found_in(places):
    return [server.url for server in state.alive(places)]


def said(server, places):
    server.listening("http://x", 1.0)
    return all(len([*place.iterdir()]) == 1 for place in places)


def test_a_server_that_began_before_the_login_is_found_after_it(places):
    _, temporary = places
    with state.Announcement((temporary,)) as server:
        assert said(server, (temporary,))
        assert found_in(places) == ["http://x"]


def test_a_server_that_goes_on_after_the_login_is_found_and_says_that_it_winds_up(places):
    login, temporary = places
    with state.Announcement(places) as server:
        assert said(server, places)
        assert found_in(places) == ["http://x"]
        shutil.rmtree(login.parent)
        assert found_in((temporary,)) == ["http://x"]
        server.stopping()
        (winding_up,) = state.alive((temporary,))
        assert winding_up.is_stopping
    assert [*temporary.iterdir()] == []


def test_without_a_login_there_is_the_temporary_folder_and_a_chosen_place_stands_alone(
    tmp_path, monkeypatch
):
    assert state.folders() == (tmp_path / "run" / "edgellm",)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
    (temporary,) = state.folders(tmp_path / "nobody")
    assert temporary.name == f"edgellm-{os.getuid()}"
    login = tmp_path / "login" / str(os.getuid())
    login.mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(login))
    assert state.folders(tmp_path / "login") == (login / "edgellm", temporary)


def test_a_renewed_certificate_is_what_others_find_from_then_on():
    with announced("https://127.0.0.1:1", certificate="old") as announcement:
        announcement.shows("new")
        assert [one.certificate for one in state.running()] == ["new"]
        announcement.stopping()
        assert [one.certificate for one in state.alive()] == ["new"]
