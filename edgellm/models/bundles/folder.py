"""A bundle written into a folder: on a stick, a share, whatever a file system is.

    what of it is there → room? → the pending manifest → files → sums, README → the manifest

The manifest comes last and by renaming, so a broken-off export is no bundle. The pending one
vouches for what has been written: whatever else lay at its places is gone before it is there. So
the next try goes on from it. What no export has written is never overwritten.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from edgellm.errors import BadGGUF, BadRequest
from edgellm.files import sync_folder, write_durably
from edgellm.models.bundles.copying import NO_ROOM, alone, checked_chunks
from edgellm.models.bundles.layout import (
    FAT_PIECE_BYTES,
    MANIFEST,
    PENDING,
    README,
    SIGNATURE,
    SUMS,
)
from edgellm.models.bundles.manifest import BundledFile, BundledModel, Manifest, encode
from edgellm.models.bundles.merging import Merged, merged, not_ours, with_models
from edgellm.models.bundles.readme import FIRST_LINE, readme_text, sums_text
from edgellm.models.bundles.signing import Signed, signed
from edgellm.models.fetching.digest import Digest, hashed
from edgellm.models.fetching.download import Progress, check_space
from edgellm.models.fetching.journal import Part, drop, part_of
from edgellm.models.fetching.policy import DownloadPolicy, Pace

_MODE: Final = 0o644
_OTHER_README: Final = f"edgellm-{README}"

# By the name of a file or a piece: where in which file (by its sha256) its bytes are, and how many.
_Vouched: TypeAlias = dict[str, tuple[str, int, int]]


def largest_piece_bytes(root: Path, file_bytes: int) -> int | None:
    """What a file of this size must be cut into there; None: it may stay whole.

    Asked without writing: no offset can be sought where a file can't reach (Linux, fs/read_write.c,
    vfs_setpos against the super block's s_maxbytes). macOS doesn't tell before it is written, and
    of what can't be written nobody can tell: a bundle may be there, and done.
    """
    if file_bytes <= FAT_PIECE_BYTES:
        return None
    try:
        with tempfile.TemporaryFile(dir=root) as probe:
            os.lseek(probe.fileno(), file_bytes, os.SEEK_SET)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EFBIG, errno.EOVERFLOW):
            return FAT_PIECE_BYTES
        if error.errno != errno.EROFS:
            raise
    return None


def write_folder(
    root: Path,
    manifest: Manifest,
    paths: Mapping[str, Path],
    progress: Progress,
    key: Path | None = None,
) -> tuple[Merged, Signed]:
    """What is there then, with what the bundle has had before. `paths`: of each place's file on
    this disk; `key` signs it. Raises OSError, StorageError, BadGGUF, BadBundle, BadRequest,
    ConfigError; what is done stays."""
    with alone(root):  # or what another export brings between the look and the copy would be lost
        both = merged(root, manifest)
        words = signed(root, both, key)
        _Writer(root, both, words, paths).write(progress)
    return both, words


class _Writer:
    def __init__(self, root: Path, both: Merged, words: Signed, paths: Mapping[str, Path]) -> None:
        self.root, self.manifest, self.paths = root, both.manifest, paths
        self.data, self.signature = words.data, words.signature if words.is_new else None
        self.old, self.old_data, self.rest = both.old, both.old_data, both.rest
        self.was_pending, self.pending = both.pending, _vouched(both.pending)
        self.ours = _vouched(self.old) | self.pending
        self.wanted = _vouched(self.manifest)
        self.left = _vouched(self.rest).keys() - self.wanted.keys()  # to the other export

    def write(self, progress: Progress) -> None:
        self._check_folders()
        there = {name for name in self.wanted if self._is_there(name)}
        missing = [name for name in self.wanted if name not in there]
        if not missing and self._is_finished():
            return  # also where nothing can be written
        self._drop_what_differs(there)
        check_space(self.root, sum(map(self._missing_bytes, missing)), NO_ROOM)
        if missing:
            rest = self.rest.models if self.rest else ()
            pending = with_models(self.manifest, (*self.manifest.models, *rest))
            write_durably(self.root / PENDING, encode(pending))
            self._copy({*missing}, progress)
        self._finish()

    def _check_folders(self) -> None:
        """A stick may have been in other hands: nothing is written, or taken away, behind a link.
        Raises BadRequest."""
        names = self.wanted.keys() | self.ours.keys()
        folders = {folder for name in names for folder in Path(name).parents}
        for folder in sorted(self.root / folder for folder in folders - {Path()}):
            if folder.is_symlink():
                raise BadRequest(
                    f"{folder} is a link, and an export writes nothing behind one",
                    hint="name another place, or take the link away",
                )

    def _is_finished(self) -> bool:
        beside = (self.root / SUMS, self.root / _readme_name(self.root))
        is_pending = (self.root / PENDING).exists()
        is_left_so = self.was_pending == self.rest and is_pending == (self.rest is not None)
        is_said = self.old_data == self.data and self.signature is None
        return is_said and is_left_so and all(map(Path.exists, beside))

    def _is_there(self, name: str) -> bool:
        """Raises BadRequest for a stranger's file."""
        path, (digest, start, size_bytes) = self.root / name, self.wanted[name]
        if not path.is_file() or path.is_symlink():
            if path.exists() or path.is_symlink():
                raise not_ours(path)
            return False
        is_as_large = path.stat().st_size == size_bytes
        if name in self.ours:
            return is_as_large and self.ours[name] == self.wanted[name]
        if not (is_as_large and start == 0 and hashed(hashlib.sha256(), path) == digest):
            raise not_ours(path)
        return True

    def _drop_what_differs(self, there: set[str]) -> None:
        """No manifest vouches for what is taken away, at any moment."""
        if self.old is not None:
            kept = tuple(one for one in self.old.models if {*_vouched_of(one)} <= there)
            if not kept:
                (self.root / MANIFEST).unlink()
                sync_folder(self.root)
                self.old_data = None
            elif len(kept) < len(self.old.models):
                self.old_data = encode(with_models(self.old, kept))
                write_durably(self.root / MANIFEST, self.old_data)
        for name in self.ours.keys() - there - self.left:
            (self.root / name).unlink(missing_ok=True)
        for name in (self.ours.keys() | self.wanted.keys()) - self.left:
            is_other = self.pending.get(name) != self.wanted.get(name)
            if is_other or part_of(self.root / name).is_symlink():
                drop(part_of(self.root / name))

    def _missing_bytes(self, name: str) -> int:
        part = part_of(self.root / name)
        here = part.stat().st_size if part.exists() else 0
        return max(0, self.wanted[name][2] - here)

    def _copy(self, missing: set[str], progress: Progress) -> None:
        files = [
            (model, file) for model, file in self.manifest.files if missing & {*_names(model, file)}
        ]
        total, done, pace = sum(file.size_bytes for _, file in files), 0, Pace(DownloadPolicy())

        def passed(n_bytes: int) -> None:
            nonlocal done
            done += n_bytes
            progress(done, total, pace.passed(n_bytes))

        for model, file in files:
            try:
                self._copy_file(model, file, missing, passed)
            except BadGGUF:
                for name in _names(model, file):
                    (self.root / name).unlink(missing_ok=True)
                    drop(part_of(self.root / name))
                raise

    def _copy_file(
        self,
        model: BundledModel,
        file: BundledFile,
        missing: set[str],
        passed: Callable[[int], None],
    ) -> None:
        """What is there of it is read again on this side, for its digest, and not written."""
        parts = model.parts(file)
        chunks = checked_chunks(self.paths[model.place(file)], file, [size for _, size in parts])
        whole = None if file.pieces else self.paths[model.place(file)]
        for name, size_bytes in parts:
            piece = _of_piece(chunks, size_bytes, is_last=name == parts[-1][0])
            if name in missing:
                self._write(name, Digest(file.sha256, size_bytes), piece, passed, whole)
            else:
                for chunk in piece:
                    passed(len(chunk))

    def _write(
        self,
        name: str,
        digest: Digest,
        piece: Iterator[bytes],
        passed: Callable[[int], None],
        whole: Path | None,
    ) -> None:
        """`whole`: the file itself, where this is all of it and the disk may give it away."""
        place, at = self.root / name, 0
        place.parent.mkdir(parents=True, exist_ok=True)
        with Part(place, digest, name, mode=_MODE) as part:
            if whole and part.done_bytes == 0:
                part.clone(whole)
            for chunk in piece:
                at += len(chunk)
                if at > part.done_bytes:
                    part.append(chunk[part.done_bytes - at :])
                passed(len(chunk))
            part.publish()

    def _finish(self) -> None:
        write_durably(self.root / SUMS, sums_text(self.manifest).encode())
        write_durably(self.root / _readme_name(self.root), readme_text(self.manifest).encode())
        if self.signature:
            write_durably(self.root / SIGNATURE, self.signature.text)
        if self.old_data != self.data:
            write_durably(self.root / MANIFEST, self.data)
        if self.rest:
            write_durably(self.root / PENDING, encode(self.rest))
        else:
            (self.root / PENDING).unlink(missing_ok=True)
        sync_folder(self.root)


def _of_piece(chunks: Iterator[bytes], size_bytes: int, *, is_last: bool) -> Iterator[bytes]:
    """Those of the next so many bytes; behind the last ones the file's digest is looked at."""
    left = size_bytes
    while left:
        chunk = next(chunks)
        left -= len(chunk)
        yield chunk
    if is_last:
        next(chunks, None)


def _vouched(manifest: Manifest | None) -> _Vouched:
    models = manifest.models if manifest else ()
    return {name: what for model in models for name, what in _vouched_of(model).items()}


def _vouched_of(model: BundledModel) -> _Vouched:
    found: _Vouched = {}
    for file in model.files:
        start = 0
        for name, size_bytes in model.parts(file):
            found[name] = (file.sha256, start, size_bytes)
            start += size_bytes
    return found


def _names(model: BundledModel, file: BundledFile) -> list[str]:
    return [name for name, _ in model.parts(file)]


def _readme_name(root: Path) -> str:
    """Another's README is left alone, whatever it is."""
    path = root / README
    if not path.exists():
        return README
    if not path.is_file():
        return _OTHER_README
    with path.open("rb") as file:
        is_ours = file.read(len(FIRST_LINE)) == FIRST_LINE.encode()
    return README if is_ours else _OTHER_README
