import errno
import sys
from pathlib import Path

import pytest

from edgellm.models.fetching.journal import sync_folder, write_atomically


def test_a_folder_is_synced_where_its_file_system_can(tmp_path: Path):
    write_atomically(tmp_path / "note.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]
    sync_folder(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="its kernel has folders that can't be synced")
def test_a_file_system_that_syncs_no_folder_stops_nothing():
    """As VirtualBox's shared folders answer: EINVAL."""
    sync_folder(Path("/proc"))


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as raised:
        sync_folder(tmp_path / "gone")
    assert raised.value.errno == errno.ENOENT
