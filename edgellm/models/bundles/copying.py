"""A model's file read for a bundle, and held against its digest on the way: a copy costs one
reading, and what has gone bad on this disk is found here, not on the machine that it goes to."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from edgellm.errors import StorageError
from edgellm.models.bundles.gathering import changed_here
from edgellm.models.bundles.manifest import BundledFile

NO_ROOM: Final = "name a place with more room; --on BOARD may take a smaller quantization"
_READ_BYTES: Final = 4 << 20
_IS_HELD: Final = frozenset({errno.EWOULDBLOCK, errno.EACCES})


def checked_chunks(source: Path, file: BundledFile, cut: Sequence[int]) -> Iterator[bytes]:
    """All of the file; no chunk goes over the end of one of the sizes that it is `cut` into. When
    the last has been taken it raises BadGGUF for a content that isn't the file's; StorageError."""
    hasher = hashlib.sha256()
    with _opened(source) as reading:
        for size_bytes in cut:
            left = size_bytes
            while left:
                with _read(source):
                    chunk = reading.read(min(left, _READ_BYTES))
                if not chunk:
                    raise changed_here(file.path, file.sha256)
                hasher.update(chunk)
                left -= len(chunk)
                yield chunk
    if hasher.hexdigest() != file.sha256:
        raise changed_here(file.path, file.sha256)


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """No two exports write at one place, which is a file or a folder that is there. Where a file
    system has no locks, nobody can tell. Raises StorageError, OSError."""
    handle = os.open(place, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _IS_HELD:
                raise StorageError(
                    f"another export writes to {place} right now",
                    hint="wait for it, then the same command adds to what it has written",
                ) from error
        yield
    finally:
        os.close(handle)


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    with _read(source):
        file = source.open("rb", buffering=0)
    with file:
        yield file


@contextmanager
def _read(source: Path) -> Iterator[None]:
    """So that a disk which can't be read is not taken for one which can't be written."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{source.name} can't be read: {error.strerror or error}",
            hint="edgellm verify reads all that is here",
        ) from error
