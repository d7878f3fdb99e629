"""A file on its way: `<digest>.edgellm.part`, and beside it how much of it is surely on the disk.

After a kill the kernel still has every byte that was written: all of the part counts. After a
power cut only what was fsynced does; the rest may be zeros of the right length. The journal
tells one from the other by the boot it was written in.
"""

import contextlib
import fcntl
import os
import sys
from pathlib import Path
from typing import Final, Self

import msgspec

from edgellm.files import BOOT_ID, boot_id, sync_folder, write_durably
from edgellm.models.fetching.digest import Digest
from edgellm.models.hubs import DEFAULT_HUB, HubName

SUFFIX: Final = ".edgellm.part"
_SYNC_EVERY_BYTES: Final = 64 << 20
_FICLONE: Final = 0x40049409


class Entry(msgspec.Struct, frozen=True):
    file: str  # its path in the repository
    size_bytes: int
    synced_bytes: int
    boot_id: str | None
    hub: HubName = DEFAULT_HUB  # that is to be asked for the rest


def part_of(blob: Path) -> Path:
    return blob.with_name(blob.name + SUFFIX)


class Part:
    """Opened under the blob's lock; appended to; at last published under the blob's name, where the
    disk has modes with this one."""

    def __init__(
        self,
        blob: Path,
        digest: Digest,
        file: str,
        boot: Path = Path(BOOT_ID),
        mode: int = 0o444,
        hub: HubName = DEFAULT_HUB,
    ) -> None:
        self.blob, self.digest, self.file, self.hub = blob, digest, file, hub
        self.path = part_of(blob)
        self.journal = journal_of(self.path)
        self._boot_id, self._mode = _known_boot_id(boot), mode

    def __enter__(self) -> Self:
        trusted = self._trusted_bytes()
        self._handle = self.path.open("ab")
        self._handle.truncate(trusted)
        self._handle.seek(trusted)
        self.done_bytes = self._synced_bytes = trusted
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a full disk: the error that led here is the news
            self._handle.close()

    def append(self, chunk: bytes) -> None:
        self._handle.write(chunk)
        self.done_bytes += len(chunk)
        if self.done_bytes - self._synced_bytes >= _SYNC_EVERY_BYTES:
            self.sync()

    def clone(self, source: Path) -> bool:
        """All of it at once and at no cost, where a file system lets two files share their blocks
        (Btrfs, XFS); False: it must be appended. Source: linux/fs.h, ioctl_ficlone(2)."""
        if sys.platform != "linux":
            return False
        try:
            with source.open("rb") as reading, self.path.open("r+b") as writing:
                fcntl.ioctl(writing, _FICLONE, reading.fileno())
        except OSError:
            return False
        self.done_bytes = self._handle.seek(0, os.SEEK_END)
        return True

    def sync(self) -> None:
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._synced_bytes = self.done_bytes
        self._note(self._synced_bytes)

    def restart(self) -> None:
        """Nothing of it is any good. Forgotten first: the journal must never vouch for too much."""
        self._note(0)
        self._handle.truncate(0)
        self._handle.seek(0)
        self.done_bytes = self._synced_bytes = 0

    def publish(self) -> None:
        """From now on the blob's name means this file, whole, whatever happens to the power."""
        self.sync()
        self._handle.close()
        with contextlib.suppress(OSError):  # a file system without modes
            self.path.chmod(self._mode)
        self.path.replace(self.blob)
        sync_folder(self.blob.parent)
        self.journal.unlink(missing_ok=True)

    def _note(self, synced_bytes: int) -> None:
        size_bytes = self.digest.size_bytes
        entry = Entry(self.file, size_bytes, synced_bytes, self._boot_id, self.hub)
        write_durably(self.journal, msgspec.json.encode(entry))

    def _trusted_bytes(self) -> int:
        try:
            here = self.path.stat().st_size
        except FileNotFoundError:
            self._note(0)  # the journal comes first: its boot vouches for what is written next
            return 0
        try:
            entry = read_entry(self.journal)
        except (FileNotFoundError, msgspec.DecodeError):
            self._note(0)
            return 0
        same_boot = self._boot_id is not None and entry.boot_id == self._boot_id
        trusted = here if same_boot else min(here, entry.synced_bytes)
        return trusted if trusted <= self.digest.size_bytes else 0


def _known_boot_id(path: Path) -> str | None:
    """None where nobody can tell, be it for a moment: then only fsynced bytes count."""
    try:
        return boot_id(path)
    except OSError:
        return None


def journal_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    journal_of(part).unlink(missing_ok=True)


def read_entry(journal: Path) -> Entry:
    """Raises FileNotFoundError, msgspec.DecodeError."""
    return msgspec.json.decode(journal.read_bytes(), type=Entry)
