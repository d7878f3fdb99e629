import pytest

from edgellm.tui.told.recording import Reader

pytestmark = pytest.mark.model


def test_a_server_is_recorded_and_what_is_recorded_can_be_read(demo_home, tmp_path):
    file = tmp_path / "a.rec"
    done = demo_home.run("record", str(file), "--interval", "0.1", "--seconds", "3")

    assert done.code == 0, done.err
    with file.open("rb") as kept:
        reader = Reader(kept)
        moments = list(reader)
    assert len(moments) >= 3
    assert not reader.is_cut
    assert moments[-1].status.models[0].name == "demo"
    assert f"{len(moments)} moments recorded" in done.err


def test_an_interval_that_is_longer_than_all_of_it_is_not_waited_for(demo_home, tmp_path):
    file = tmp_path / "a.rec"
    done = demo_home.run("record", str(file), "--interval", "3600", "--seconds", "0.2")

    assert done.code == 0, done.err
    assert "1 moment recorded" in done.err


def test_a_replay_without_a_terminal_says_what_it_needs(demo_home, tmp_path):
    file = tmp_path / "a.rec"
    demo_home.run("record", str(file), "--seconds", "0.5")
    done = demo_home.run("top", "--replay", str(file))

    assert done.code == 2
    assert "draws on a terminal" in done.err


def test_a_file_that_is_no_recording_is_refused(demo_home, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("hello")

    for words in (("record", str(file), "--seconds", "0.5"), ("top", "--replay", str(file))):
        done = demo_home.run(*words)
        assert done.code == 2
        assert "no recording" in done.err
    assert file.read_text() == "hello"


def test_a_recording_of_nothing_is_an_error_and_leaves_no_file(home, tmp_path):
    file = tmp_path / "a.rec"
    done = home.run("record", str(file), "--host", "127.0.0.1:1", "--seconds", "0.5")

    assert done.code != 0
    assert "nothing was recorded: http://127.0.0.1:1 did not answer" in done.err
    assert not file.exists()


def test_the_demo_needs_no_download(home):
    done = home.run("pull", "demo:latest", "--offline")

    assert done.code == 0, done.err
    assert "ships with edgellm" in done.err
    assert done.out.strip().endswith("demo.gguf")
