"""What files hash to whose names don't tell it: on disks without links, or copied by hand.

A small one is read when it is asked for. A large one takes minutes, and nobody waits for that:
it is read by a thread of its own, and until then it is not there. Known until this process ends,
as long as the file's size and time stay what they were.
"""

import errno
import hashlib
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from edgellm.models.fetching.digest import hashed
from edgellm.units import MIB

if TYPE_CHECKING:
    from hashlib import _Hash

_AT_ONCE_BYTES: Final = 64 * MIB
_GIT_BYTES: Final = 10 * MIB  # the hub lets git itself keep no file of more

_Key: TypeAlias = tuple[int, int, int, int]


class Digests:
    """`on_reading` is told of a file that is large: its path and size, before it is read."""

    def __init__(self, on_reading: Callable[[Path, int], None] = lambda path, size: None) -> None:
        self._on_reading = on_reading
        self._known: dict[_Key, str] = {}
        self._waiting: queue.SimpleQueue[tuple[_Key, Path]] = queue.SimpleQueue()
        self._asked: set[_Key] = set()
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None

    def of(self, path: Path, found: os.stat_result) -> str | None:
        """64 digits: sha256; 40: git's. None: not yet known. Raises OSError, also where another
        file has come to the path since it was found, or it is being written."""
        key = _key(found)
        with self._lock:
            if known := self._known.get(key):
                return known
            if found.st_size > _AT_ONCE_BYTES:
                self._read_later(key, path)
                return None
        return self._read(key, path)

    def _read_later(self, key: _Key, path: Path) -> None:
        if key in self._asked:
            return
        self._asked.add(key)
        self._waiting.put((key, path))
        self._on_reading(path, key[2])
        if self._reader is None:
            self._reader = threading.Thread(target=self._read_all, daemon=True)
            self._reader.start()

    def _read_all(self) -> None:
        while True:
            key, path = self._waiting.get()
            try:
                self._read(key, path)
            except OSError:  # gone, changed, or out of reach: whoever asks again starts it again
                with self._lock:
                    self._asked.discard(key)

    def _read(self, key: _Key, path: Path) -> str:
        digest = hashed(_hasher(path.name, size_bytes=key[2]), path)
        if _key(path.stat()) != key:
            raise OSError(errno.EAGAIN, f"{path.name} has changed while it was read")
        with self._lock:
            self._known[key] = digest
        return digest


def _key(found: os.stat_result) -> _Key:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _hasher(name: str, size_bytes: int) -> "_Hash":
    """As the hub would keep such a file."""
    if name.lower().endswith(".gguf") or size_bytes > _GIT_BYTES:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
