import errno
import os
import sys
from pathlib import Path

import pytest

from edgellm.files import boot_id, folder_there, path_of, sync_folder, write_durably, write_whole


def test_a_path_begins_at_ones_home_where_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert path_of("~/a.gguf") == tmp_path / "a.gguf"
    assert path_of("a~") == Path("a~")


def test_the_home_of_nobody_is_a_name():
    assert path_of("~nobody-here/a.gguf") == Path("~nobody-here/a.gguf")


def test_a_file_is_written_over_and_is_its_owners_alone(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, b"one")
    write_whole(path, b"two")

    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o077 == 0
    assert [*tmp_path.iterdir()] == [path]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    taken = tmp_path / "a.json"
    taken.mkdir()

    with pytest.raises(OSError, match="directory"):
        write_whole(taken, b"one")
    assert [*tmp_path.iterdir()] == [taken]


def test_a_folder_is_synced_where_its_file_system_can(tmp_path: Path):
    write_durably(tmp_path / "note.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]
    sync_folder(tmp_path)


def test_a_link_that_lies_in_wait_on_a_stick_leads_no_writing_elsewhere(tmp_path):
    own, stick = tmp_path / "own.txt", tmp_path / "stick"
    own.write_bytes(b"mine")
    stick.mkdir()
    (stick / f"note.json.{os.getpid()}.new").symlink_to(own)
    write_durably(stick / "note.json", b"{}")
    assert own.read_bytes() == b"mine"
    assert [(path.name, path.is_symlink()) for path in stick.iterdir()] == [("note.json", False)]


@pytest.mark.skipif(sys.platform != "linux", reason="its kernel has folders that can't be synced")
def test_a_file_system_that_syncs_no_folder_stops_nothing():
    """As VirtualBox's shared folders answer: EINVAL."""
    sync_folder(Path("/proc"))


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as raised:
        sync_folder(tmp_path / "gone")
    assert raised.value.errno == errno.ENOENT


def test_a_boot_has_the_name_that_the_kernel_tells_or_none(tmp_path):
    told = tmp_path / "boot_id"
    told.write_text("0f3c\n")

    assert boot_id(told) == "0f3c"
    assert boot_id(tmp_path / "none") is None
    told.write_text("\n")
    assert boot_id(told) is None


def test_a_folder_that_is_yet_to_be_made_is_on_the_disk_of_the_nearest_one(tmp_path):
    assert folder_there(tmp_path) == tmp_path
    assert folder_there(tmp_path / "cache" / "hub") == tmp_path
