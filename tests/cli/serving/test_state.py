import os

import msgspec
import psutil
from cli.serving.announcing import announced

from edgellm.cli.serving import state


def test_a_server_is_found_while_it_is_announced():
    with announced("http://127.0.0.1:1", 100.0):
        (found,) = state.running()
        assert (found.url, found.pid) == ("http://127.0.0.1:1", os.getpid())
    assert state.running() == ()


def test_one_that_winds_up_is_not_among_those_that_listen_until_it_has_ended():
    with announced("http://127.0.0.1:1") as announcement:
        announcement.stopping()
        assert state.running() == ()
        assert [server.url for server in state.stopping()] == ["http://127.0.0.1:1"]
        assert state.alive() == state.stopping()
    assert state.alive() == ()


def test_the_newest_comes_first():
    with announced("http://old", 100.0), announced("http://new", 200.0):
        assert [server.url for server in state.running()] == ["http://new", "http://old"]


def test_a_word_that_cannot_be_written_leaves_nothing_behind():
    with announced("http://127.0.0.1:1") as announcement:
        (path,) = state.folder().iterdir()
        path.unlink()
        path.mkdir()
        announcement.stopping()
        assert [*state.folder().iterdir()] == [path]


def written(**changes):
    state.folder().mkdir(mode=0o700)
    fields = {
        "url": "http://x",
        "pid": os.getpid(),
        "process_started_s": psutil.Process().create_time(),
        "listening_since_s": 1.0,
    }
    path = state.folder() / "1-a.json"
    path.write_bytes(msgspec.json.encode(fields | changes))
    return path


def test_a_file_whose_process_is_gone_is_ignored_and_removed():
    path = written(pid=2**22 - 3)

    assert state.running() == ()
    assert not path.exists()


def test_a_file_whose_number_is_another_process_by_now_is_stale():
    path = written(process_started_s=12345.0)

    assert state.running() == ()
    assert not path.exists()


def test_garbage_is_ignored_and_removed():
    path = written()
    path.write_text("{")

    assert state.running() == ()
    assert not path.exists()


def test_the_folder_is_for_this_user_alone():
    with announced("http://x", 1.0):
        assert state.folder().stat().st_mode & 0o077 == 0


def test_a_folder_that_others_can_write_to_is_not_believed():
    written()
    state.folder().chmod(0o777)

    assert state.running() == ()


def test_a_folder_that_others_can_write_to_is_not_written_to():
    state.folder().mkdir()
    state.folder().chmod(0o777)

    with announced("http://x", 1.0):
        assert list(state.folder().iterdir()) == []


def test_no_key_is_ever_in_the_file():
    with announced("http://x", 1.0):
        (path,) = state.folder().glob("*.json")
        assert set(msgspec.json.decode(path.read_bytes())) == {
            "url", "pid", "process_started_s", "listening_since_s", "is_stopping",
        }  # fmt: skip
