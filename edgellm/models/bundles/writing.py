"""Models of this disk written as one bundle, whichever kind of place it goes to."""

import errno
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from edgellm.errors import BadRequest, StorageError
from edgellm.files import path_of
from edgellm.models.bundles.folder import largest_piece_bytes, write_folder
from edgellm.models.bundles.gathering import Gathered
from edgellm.models.bundles.layout import FAT_PIECE_BYTES, cut
from edgellm.models.bundles.manifest import FORMAT, BundledModel, Manifest, encode, fingerprint
from edgellm.models.bundles.merging import Merged
from edgellm.models.bundles.reading import PASSING
from edgellm.models.bundles.signing import Signed
from edgellm.models.bundles.ssh_keygen import Signature, sign
from edgellm.models.bundles.tarball import SUFFIX, is_tar, write_tar, write_tar_file
from edgellm.models.fetching.download import Progress
from edgellm.values import frozen


@frozen
class Written:
    place: str
    sha256: str  # of the manifest
    manifest: Manifest
    gone: tuple[str, ...] = ()  # models that somebody has taken away from there, by name
    unfinished: tuple[str, ...] = ()  # those of another export there, which was broken off
    signed_with: str | None = None  # the key's fingerprint

    @property
    def is_cut(self) -> bool:
        return any(file.pieces for _, file in self.manifest.files)


@frozen
class Made:
    """By whom and when; whole seconds."""

    by: str
    at: datetime


def write_bundle(
    place: str,
    gathered: Sequence[Gathered],
    made: Made,
    stdout: BinaryIO,
    progress: Progress,
    piece_bytes: int | None = None,
    key: Path | None = None,
) -> Written:
    """Into a folder, a file that ends in .tar, or `stdout` for "-". What is too large for the
    place's file system is cut, unless `piece_bytes` says how; `key` signs it.

    Raises StorageError, BadBundle, BadGGUF for a file that has gone bad, BadRequest, ConfigError.
    """
    paths = {
        one.model.place(file): path
        for one in gathered
        for file, path in zip(one.model.files, one.paths, strict=True)
    }
    models = [one.model for one in gathered]
    path = path_of(place)
    try:
        if place != PASSING and not is_tar(path.name):
            both, words = _into_folder(path, models, made, paths, progress, piece_bytes, key)
            rest = tuple(one.name for one in both.rest.models) if both.rest else ()
            sha256, by = fingerprint(words.data), words.signature
            return Written(place, sha256, both.manifest, both.gone, rest, by.key if by else None)
        manifest = _manifest(models, made, piece_bytes)
        if place == PASSING:
            by = sign(encode(manifest), key) if key else None
            _pass(stdout, manifest, paths, progress, by)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            by = write_tar_file(path, manifest, paths, progress, key)
    except OSError as error:
        raise _refused(place, error) from error
    sha256 = fingerprint(encode(manifest))
    return Written(place, sha256, manifest, signed_with=by.key if by else None)


def _pass(
    stdout: BinaryIO,
    manifest: Manifest,
    paths: Mapping[str, Path],
    progress: Progress,
    signature: Signature | None,
) -> None:
    try:
        write_tar(stdout, manifest, paths, progress, signature)
    except BrokenPipeError as error:  # elsewhere that is no fault; here something is missing
        raise StorageError(
            "whoever reads the bundle has broken off",
            hint="it says why; the same command goes on there where it was",
        ) from error


def _into_folder(
    root: Path,
    models: Sequence[BundledModel],
    made: Made,
    paths: Mapping[str, Path],
    progress: Progress,
    piece_bytes: int | None,
    key: Path | None,
) -> tuple[Merged, Signed]:
    if root.exists() and not root.is_dir():
        raise BadRequest(
            f"{root} is a file", hint=f"name a folder, or a file that ends in {SUFFIX}"
        )
    root.mkdir(parents=True, exist_ok=True)
    if piece_bytes is None:
        largest = max(file.size_bytes for model in models for file in model.files)
        piece_bytes = largest_piece_bytes(root, largest)
    while True:
        try:
            manifest = _manifest(models, made, piece_bytes)
            return write_folder(root, manifest, paths, progress, key)
        except OSError as error:
            if error.errno != errno.EFBIG or piece_bytes is not None:
                raise
            piece_bytes = FAT_PIECE_BYTES  # a system that did not tell before


def _manifest(models: Sequence[BundledModel], made: Made, piece_bytes: int | None) -> Manifest:
    cut_up = tuple(
        msgspec.structs.replace(
            model,
            files=tuple(
                msgspec.structs.replace(file, pieces=cut(file.size_bytes, piece_bytes))
                for file in model.files
            ),
        )
        for model in models
    )
    return Manifest(FORMAT, made.at, made.by, cut_up)


def _refused(place: str, error: OSError) -> StorageError:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            said, hint = "its disk is full", "make room; the same export goes on where it stopped"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            said, hint = "it can't be written there", "name another place; is it mounted read-only?"
        case errno.EFBIG:
            said, hint = "a file of that size has no place there", "--piece-size 1GiB cuts it"
        case _:
            said, hint = error.strerror or str(error), "is its disk still there, and sound?"
    return StorageError(f"the bundle {place}: {said}", hint=hint)
