"""Where a bundle's bytes come from: a folder, a tar, or a tar that passes by once.

What lies there is a stranger's. Only plain files are read, by names that the manifest's check has
let through; a link is never followed, and nothing is ever unpacked.
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from edgellm.errors import BadBundle
from edgellm.models.bundles.layout import MANIFEST, SIGNATURE
from edgellm.models.bundles.manifest import MAX_MANIFEST_BYTES
from edgellm.models.bundles.tar import Member, Want, members
from edgellm.models.names import is_safe_path

MAX_SIGNATURE_BYTES: Final = 64 << 10
_CHUNK_BYTES: Final = 4 << 20
_COPIED: Final = "the bundle is not whole: was it copied to its end?"


class Source(Protocol):
    is_passing: bool  # it can be read once, in its own order

    def manifest(self) -> bytes: ...

    def signature(self) -> bytes | None:
        """Asked after the manifest, before all else. Raises BadBundle, OSError."""
        ...

    def chunks(self, name: str, size_bytes: int, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end) of a file of this size. Raises BadBundle, OSError."""
        ...

    def finish(self) -> None:
        """All that was wanted of it is here."""
        ...


class FolderSource:
    is_passing = False

    def __init__(self, root: Path) -> None:
        self._root = root

    def manifest(self) -> bytes:
        return self._document(MANIFEST)

    def signature(self) -> bytes | None:
        if not os.path.lexists(self._root / SIGNATURE):
            return None
        return self._document(SIGNATURE)

    def _document(self, name: str) -> bytes:
        size_bytes = (self._root / name).lstat().st_size
        _check_document(name, size_bytes)
        return b"".join(self.chunks(name, size_bytes, 0, size_bytes))

    def chunks(self, name: str, size_bytes: int, start: int, end: int) -> Iterator[bytes]:
        with self._opened(name) as file:
            _check_size(name, os.fstat(file.fileno()).st_size, size_bytes)
            file.seek(start)
            yield from _read(file, name, end - start)

    def finish(self) -> None:
        pass

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        """A device isn't even opened, nor is a pipe waited for that takes its place meanwhile."""
        path = self._root
        for part in name.split("/"):
            path /= part
            if path.is_symlink():
                raise BadBundle(f"the bundle's {name} is behind a link", hint="a bundle has none")
        try:
            is_plain = stat.S_ISREG(path.lstat().st_mode)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BadBundle(f"the bundle lacks {name}", hint=_COPIED) from error
        if not is_plain:
            raise BadBundle(f"the bundle's {name} is no plain file")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb", buffering=0) as file:
            yield file


class Archive:
    """A tar's plain files, one after the other. What isn't read of one is passed over."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._can_seek = file, file.seekable()
        self._steps = members()
        self._step: Want | Member = next(self._steps)
        self.done_bytes = 0  # of this member

    def next(self) -> Member | None:
        while True:
            sent = b""
            if isinstance(self._step, Want):
                if self._step.what == "read":
                    sent = self._upto(self._step.n_bytes)
                else:
                    self._pass_over(self._step.n_bytes - self.done_bytes)
                self.done_bytes = 0
            try:
                self._step = self._steps.send(sent)
            except StopIteration:
                return None
            if isinstance(self._step, Member):
                if not is_safe_path(self._step.name):
                    raise BadBundle(f"the archive has a file at {self._step.name!r}")
                return self._step

    def chunks(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """Of the member that is here now; only forward."""
        if start < self.done_bytes:
            raise BadBundle(
                f"{name} came with a content that is not the manifest's, and can't be asked again",
                hint="keep what comes in a file: edgellm import FILE.tar",
            )
        self._pass_over(start - self.done_bytes)
        self.done_bytes = start
        for chunk in _read(self._file, name, end - start):
            self.done_bytes += len(chunk)
            yield chunk

    def _upto(self, n_bytes: int) -> bytes:
        return b"".join(_parts(self._file, n_bytes))

    def _pass_over(self, n_bytes: int) -> None:
        if self._can_seek:
            self._file.seek(n_bytes, os.SEEK_CUR)
        else:
            for _ in _parts(self._file, n_bytes):
                pass


class TarSource:
    """Of one that can be read from any place; it may be in a folder's name, as `tar` leaves it."""

    is_passing = False

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._reading = file, threading.Lock()
        archive, found = Archive(file), dict[str, tuple[int, int]]()
        while member := archive.next():
            if member.name in found:
                raise BadBundle(f"the archive has two files at {member.name}")
            found[member.name] = file.tell(), member.size_bytes
        tops = [name.removesuffix(MANIFEST) for name in found if _is_manifest(name)]
        if len(tops) != 1:
            raise BadBundle(
                f"the archive has {len(tops)} files {MANIFEST}, and a bundle has one",
                hint="edgellm export MODEL -o FILE.tar makes a bundle",
            )
        self._top, self._found = tops[0], found

    def manifest(self) -> bytes:
        return self._document(MANIFEST)

    def signature(self) -> bytes | None:
        return self._document(SIGNATURE) if self._top + SIGNATURE in self._found else None

    def _document(self, name: str) -> bytes:
        size_bytes = self._found[self._top + name][1]
        _check_document(name, size_bytes)
        return b"".join(self.chunks(name, size_bytes, 0, size_bytes))

    def chunks(self, name: str, size_bytes: int, start: int, end: int) -> Iterator[bytes]:
        if self._top + name not in self._found:
            raise BadBundle(f"the bundle lacks {name}", hint=_COPIED)
        offset, found_bytes = self._found[self._top + name]
        _check_size(name, found_bytes, size_bytes)
        for at in range(start, end, _CHUNK_BYTES):
            yield self._at(offset + at, min(_CHUNK_BYTES, end - at), name)

    def finish(self) -> None:
        pass

    def _at(self, offset: int, n_bytes: int, name: str) -> bytes:
        with self._reading:  # headers are read by several threads
            self._file.seek(offset)
            return b"".join(_read(self._file, name, n_bytes))


class StreamSource:
    """Of one that comes through a pipe: each file when its turn is, none twice."""

    is_passing = True

    def __init__(self, file: BinaryIO) -> None:
        self._archive = Archive(file)
        self._here: Member | None = None

    def manifest(self) -> bytes:
        self._here = self._archive.next()
        if self._here is None or self._here.name != MANIFEST:
            raise BadBundle(
                f"what comes does not begin with {MANIFEST}",
                hint="edgellm export MODEL -o - does; of a tar that was made by hand: keep it in a "
                "file, then edgellm import FILE.tar",
            )
        return self._document(self._here)

    def signature(self) -> bytes | None:
        """It comes right behind the manifest, or whatever comes would be taken before it."""
        self._here = self._archive.next()
        if self._here is None or self._here.name != SIGNATURE:
            return None
        return self._document(self._here)

    def _document(self, member: Member) -> bytes:
        _check_document(member.name, member.size_bytes)
        return b"".join(self._archive.chunks(member.name, 0, member.size_bytes))

    def chunks(self, name: str, size_bytes: int, start: int, end: int) -> Iterator[bytes]:
        while self._here is None or self._here.name != name:
            self._here = self._archive.next()
            if self._here is None:
                raise BadBundle(f"{name} does not come, or came before its turn")
        _check_size(name, self._here.size_bytes, size_bytes)
        yield from self._archive.chunks(name, start, end)

    def finish(self) -> None:
        """Whoever sends is read to the end, or it would die of a broken pipe."""
        while self._archive.next():
            pass


def _is_manifest(name: str) -> bool:
    return name == MANIFEST or (name.endswith(f"/{MANIFEST}") and name.count("/") == 1)


def _check_document(name: str, size_bytes: int) -> None:
    most_bytes = MAX_MANIFEST_BYTES if name == MANIFEST else MAX_SIGNATURE_BYTES
    if size_bytes > most_bytes:
        raise BadBundle(
            f"the bundle's {name} has {size_bytes} bytes, and none has more than {most_bytes}"
        )


def _check_size(name: str, found_bytes: int, size_bytes: int) -> None:
    if found_bytes != size_bytes:
        raise BadBundle(
            f"the bundle's {name} has {found_bytes} bytes, its manifest says {size_bytes}",
            hint=_COPIED,
        )


def _read(file: BinaryIO, name: str, n_bytes: int) -> Iterator[bytes]:
    """Raises BadBundle where the file ends before."""
    left = n_bytes
    for chunk in _parts(file, n_bytes):
        left -= len(chunk)
        yield chunk
    if left:
        raise BadBundle(f"the bundle ends in the middle of {name}", hint=_COPIED)


def _parts(file: BinaryIO, n_bytes: int) -> Iterator[bytes]:
    left = n_bytes
    while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk
