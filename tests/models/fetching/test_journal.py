from pathlib import Path

import pytest

from edgellm.models.fetching.digest import Digest
from edgellm.models.fetching.journal import Part


def write(blob: Path, boot: Path, n_bytes: int) -> int:
    """How many bytes were there already; then a kill, before anything of it is fsynced."""
    with Part(blob, Digest("0" * 64, 100), "x", boot) as part:
        found = part.done_bytes
        part.append(bytes(n_bytes))
    return found


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("0f3c\n")
    return path


def test_what_was_written_since_this_boot_is_there(tmp_path: Path, boot: Path):
    assert write(tmp_path / "blob", boot, 40) == 0
    assert write(tmp_path / "blob", boot, 0) == 40


@pytest.mark.parametrize("odd", ["folder", "nowhere"])
def test_where_the_boot_cannot_be_read_only_fsynced_bytes_are_trusted(
    tmp_path: Path, boot: Path, odd: str
):
    """A folder in its place gives an error that means neither "none" nor "forbidden"."""
    (tmp_path / "folder").mkdir()
    write(tmp_path / "blob", tmp_path / odd, 40)
    assert write(tmp_path / "blob", tmp_path / odd, 40) == 0
    assert write(tmp_path / "blob", boot, 0) == 0
