"""A bundle written as one tar: into a file, or through a pipe to who imports it at once.

The manifest goes first, so whoever reads knows what is to come, and its digests are known before.
A file appears under its name when it is whole; a broken-off one is written anew.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from edgellm.errors import BadBundle, BadRequest, StorageError
from edgellm.files import sync_folder
from edgellm.models.bundles.copying import NO_ROOM, alone, checked_chunks
from edgellm.models.bundles.folder import largest_piece_bytes
from edgellm.models.bundles.layout import MANIFEST, README, SIGNATURE, SUMS
from edgellm.models.bundles.manifest import Manifest, decode, encode
from edgellm.models.bundles.merging import key_of, not_ours
from edgellm.models.bundles.readme import readme_text, sums_text
from edgellm.models.bundles.signing import needs_key
from edgellm.models.bundles.sources import TarSource
from edgellm.models.bundles.ssh_keygen import Signature, sign
from edgellm.models.bundles.tar import END, header, padding
from edgellm.models.fetching.download import Progress, check_space
from edgellm.models.fetching.policy import DownloadPolicy, Pace

SUFFIX: Final = ".tar"
_PART: Final = ".part"


def is_tar(place: str) -> bool:
    """By its name, as a disk knows it that has no capital letters."""
    return place.lower().endswith(SUFFIX)


def write_tar_file(
    path: Path,
    manifest: Manifest,
    paths: Mapping[str, Path],
    progress: Progress,
    key: Path | None = None,
) -> Signature | None:
    """Raises OSError, StorageError, BadGGUF, BadBundle, BadRequest, ConfigError; nothing of it
    stays then, and what was there is left alone."""
    _check_place(path, manifest, has_key=key is not None)
    signature = sign(encode(manifest), key) if key else None
    head = sum(map(len, _head(manifest, signature)))
    size_bytes = head + len(END) + sum(_member_bytes(size) for size in _sizes(manifest))
    check_space(path.parent, size_bytes, NO_ROOM)
    if largest_piece_bytes(path.parent, size_bytes):
        raise StorageError(
            f"a file of {size_bytes} bytes has no place on that disk (FAT32 ends them at 4 GiB)",
            hint=f"export into a folder, where it is cut: -o {path.with_suffix('')}",
        )
    part = path.with_name(path.name + _PART)
    if part.is_symlink():
        part.unlink()  # what it leads to is none of ours
    part.touch()
    with alone(part):
        try:
            with part.open("wb", buffering=0) as out:
                write_tar(out, manifest, paths, progress, signature)
                os.fsync(out.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    sync_folder(path.parent)
    return signature


def _check_place(path: Path, manifest: Manifest, *, has_key: bool) -> None:
    """A tar is written anew, so nobody's file is there, nor a bundle that would lose a model by it.
    Raises BadRequest, OSError."""
    if not path.is_file():
        if path.exists() or path.is_symlink():
            raise not_ours(path)
        return
    try:
        with path.open("rb", buffering=0) as file:
            source = TarSource(file)
            old, is_signed = decode(source.manifest()), source.signature() is not None
    except BadBundle as error:
        raise not_ours(path) from error
    if is_signed and not has_key:
        raise needs_key(path)
    new = {key_of(model) for model in manifest.models}
    if lost := [model.name for model in old.models if key_of(model) not in new]:
        raise BadRequest(
            f"{path} has {', '.join(lost)} in it, and a tar is written anew",
            hint="name it too, or another place; into a folder models are added",
        )


def write_tar(
    out: BinaryIO,
    manifest: Manifest,
    paths: Mapping[str, Path],
    progress: Progress,
    signature: Signature | None,
) -> None:
    """Raises OSError, StorageError, BadGGUF, BadBundle: then what has gone out is no whole tar."""
    for block in _head(manifest, signature):
        _write(out, block)
    total, done, pace = manifest.size_bytes, 0, Pace(DownloadPolicy())
    made_at_s = int(manifest.made_at.timestamp())
    for model, file in manifest.files:
        parts = model.parts(file)
        chunks = checked_chunks(paths[model.place(file)], file, [size for _, size in parts])
        for name, size_bytes in parts:
            _write(out, header(name, size_bytes, made_at_s))
            left = size_bytes
            while left:
                chunk = next(chunks)
                _write(out, chunk)
                left, done = left - len(chunk), done + len(chunk)
                progress(done, total, pace.passed(len(chunk)))
            _write(out, bytes(padding(size_bytes)))
        next(chunks, None)  # which is when it looks at the digest
    _write(out, END)
    out.flush()


def _head(manifest: Manifest, signature: Signature | None) -> Iterator[bytes]:
    made_at_s = int(manifest.made_at.timestamp())
    for name, data in (
        (MANIFEST, encode(manifest)),
        *(((SIGNATURE, signature.text),) if signature else ()),
        (README, readme_text(manifest).encode()),
        (SUMS, sums_text(manifest).encode()),
    ):
        yield header(name, len(data), made_at_s) + data + bytes(padding(len(data)))


def _sizes(manifest: Manifest) -> Iterator[int]:
    return (size for model, file in manifest.files for _, size in model.parts(file))


def _member_bytes(size_bytes: int) -> int:
    """With its header, and the most that a long name takes."""
    return 4 * 512 + size_bytes + padding(size_bytes)


def _write(out: BinaryIO, data: bytes) -> None:
    """All of it: a pipe takes what it has room for."""
    view = memoryview(data)
    while view:
        view = view[out.write(view) or 0 :]
