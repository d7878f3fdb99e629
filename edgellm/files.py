"""Small files that others may read at any moment, paths as people write them, a boot's name."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Final

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"  # another one after each start
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def path_of(text: str) -> Path:
    """`~` is one's home. Nobody's (`~nobody/x`) is a name, as in a shell: pathlib would raise."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - see above


def folder_there(folder: Path) -> Path:
    """It, or the nearest one above it that exists: whose disk it will be on once it is made."""
    while not folder.exists():
        folder = folder.parent
    return folder


def write_whole(path: Path, data: bytes) -> None:
    """Whole or not at all, and nothing left beside it; for this user's eyes only. Not to be counted
    on after a power cut. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_durably(path: Path, data: bytes) -> None:
    """Whole or not at all, whatever happens to the power. Raises OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)  # of one who was killed, or a stranger's link on a stick
    try:
        with fresh.open("xb") as file:  # which follows none
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """A rename is on the disk only when its folder is. Where a file system takes no folder to sync,
    such as one that a virtual machine shares with its host, nobody can do more."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def boot_id(path: Path = Path(BOOT_ID)) -> str | None:
    """Which start of the machine this is; None where Linux names none, or a sandbox hides it.
    Raises OSError where it can't be known at this moment."""
    try:
        return path.read_text().strip() or None
    except (FileNotFoundError, PermissionError):
        return None
