"""Bundles on disks of all kinds: whose files end somewhere, that share blocks, that are full."""

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundle_runs import (
    DATA,
    SMALL,
    bring_all,
    content,
    export,
    filled,
)

from edgellm.errors import StorageError
from edgellm.models.bundles.folder import largest_piece_bytes
from edgellm.models.bundles.layout import FAT_PIECE_BYTES
from edgellm.models.store import Store


def test_where_a_file_may_be_as_large_as_it_is_none_is_cut(tmp_path: Path):
    assert largest_piece_bytes(tmp_path, 1 << 20) is None
    assert largest_piece_bytes(tmp_path, FAT_PIECE_BYTES + 1) is None
    assert [*tmp_path.iterdir()] == []


@contextlib.contextmanager
def disk(tmp_path: Path, size_bytes: int, *mkfs: str) -> Iterator[Path]:
    """A file system of its own kind, in a file."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(size_bytes)
    for command in ((*mkfs, image), ("mount", "-o", "loop", image, folder)):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no such disk can be made here (needs root and {mkfs[0]}): {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_whose_files_end_somewhere_says_so_before_it_is_written(tmp_path: Path):
    """As FAT32 does at 4 GiB, ext2 with blocks of 1 KiB does at 16 GiB (ext2: ext2_max_size)."""
    with disk(tmp_path, 8 << 20, "mke2fs", "-q", "-t", "ext2", "-b", "1024") as folder:
        assert largest_piece_bytes(folder, 15 << 30) is None
        assert largest_piece_bytes(folder, 17 << 30) == FAT_PIECE_BYTES


def test_of_a_disk_that_cannot_be_written_nobody_can_tell(tmp_path: Path):
    with disk(tmp_path, 8 << 20, "mke2fs", "-q", "-t", "ext2", "-b", "1024") as folder:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        assert largest_piece_bytes(folder, 17 << 30) is None


def test_a_disk_that_shares_blocks_between_files_has_the_model_once(tmp_path: Path):
    with disk(tmp_path, 200 << 20, "mkfs.btrfs", "-q") as folder:
        store = filled(folder / "hub")
        os.sync()
        before = shutil.disk_usage(folder).used
        export(store, folder / "out")
        os.sync()
        assert shutil.disk_usage(folder).used - before < len(DATA) // 4
        (path,) = bring_all(Store(folder / "there"), folder / "out")
        assert path.read_bytes() == DATA


LIMITED = """
    import os, resource, sys
    from pathlib import Path
    from bundle_runs import export
    from edgellm.models.bundles import writing
    from edgellm.models.store import Store

    writing.FAT_PIECE_BYTES = 3 << 20
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
    print(export(Store(Path(sys.argv[1])), sys.argv[2]).is_cut)
"""


def test_a_disk_that_tells_only_when_it_is_written_has_pieces_too(store: Store, tmp_path: Path):
    """EFBIG, as FAT32 says it, by a limit of the system's own."""
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), store.root, out],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr
    assert max(len(data) for data in content(out).values()) == 3 << 20
    assert not [*out.rglob("*.part"), *out.rglob("*.edgellm.part")]
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert path.read_bytes() == DATA


def test_no_room_is_seen_before_the_first_byte(store: Store, small_disk: Path):
    for place in (small_disk / "out", small_disk / "out.tar"):
        with pytest.raises(StorageError, match=r"10\.1 MiB are to come, 24\.0 MiB are free"):
            export(store, place)
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_a_full_disk_takes_what_it_has_already(store: Store, tmp_path: Path):
    with disk(tmp_path, 12 << 20, "mke2fs", "-q", "-t", "ext2", "-m", "0") as folder:
        filled(folder / "hub", SMALL, repo="org/small")
        small = Store(folder / "hub")
        (folder / "filler").write_bytes(bytes(shutil.disk_usage(folder).free - (64 << 10)))
        export(small, tmp_path / "out")
        (path,) = bring_all(small, tmp_path / "out")
        assert path.read_bytes() == SMALL["small-Q4_0.gguf"]
