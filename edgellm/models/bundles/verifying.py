"""What lies on a disk, read again and held against its digests: a blob's is its name, a bundle's
stand in its manifest. It is read from the disk itself, not from what memory holds of it."""

import contextlib
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from edgellm.errors import BadBundle
from edgellm.files import path_of
from edgellm.models.bundles.gathering import belongings
from edgellm.models.bundles.hub import chunks
from edgellm.models.bundles.manifest import BundledFile, BundledModel
from edgellm.models.bundles.reading import Bundle, reading
from edgellm.models.fetching.cache_layout import RepoFolder
from edgellm.models.fetching.digest import feed
from edgellm.models.fetching.download import Progress
from edgellm.models.fetching.policy import DownloadPolicy, Pace
from edgellm.models.stored import StoredModel
from edgellm.values import frozen

State: TypeAlias = Literal["whole", "broken", "unknown"]


@frozen
class Verdict:
    """Of one file. `fault`: what is wrong with it, or why nobody can tell."""

    file: str
    size_bytes: int
    state: State
    fault: str | None = None


class Reading:
    """How far all of it is; what has been read for one model isn't for another that shares it."""

    def __init__(self, total_bytes: int, progress: Progress) -> None:
        self._total_bytes, self._progress = total_bytes, progress
        self._done_bytes, self._pace = 0, Pace(DownloadPolicy())
        self.known: dict[Path, Verdict] = {}  # by the blob

    def passed(self, n_bytes: int) -> None:
        self._done_bytes += n_bytes
        self._progress(self._done_bytes, self._total_bytes, self._pace.passed(n_bytes))


def verify_stored(root: Path, model: StoredModel, read: Reading) -> tuple[Verdict, ...]:
    """Raises OSError only where the folders can't be looked at."""
    folder = RepoFolder(root, model.repo)
    verdicts = []
    for name in belongings(model):
        path = model.snapshot / name
        known = read.known.get(path.resolve())
        if known is None:
            known = read.known[path.resolve()] = _of_file(folder, path, name, read)
        else:
            read.passed(known.size_bytes)
        verdicts.append(replace(known, file=name))  # another commit may call it otherwise
    return tuple(verdicts)


def size_of(path: Path) -> int:
    """0 of what has gone meanwhile, or can't be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _of_file(folder: RepoFolder, path: Path, name: str, read: Reading) -> Verdict:
    size_bytes = size_of(path)
    try:
        digest = folder.digest_at(path)
    except OSError as error:
        return Verdict(name, size_bytes, "broken", f"it can't be read: {error.strerror}")
    if digest is None:
        read.passed(size_bytes)
        return Verdict(name, size_bytes, "unknown", "it has no digest here: was it copied by hand?")
    forget_cached(path)
    hasher, before = digest.hasher(), 0
    try:
        for done in feed(hasher, path):
            read.passed(done - before)
            before = done
    except OSError as error:
        return Verdict(name, size_bytes, "broken", f"it can't be read: {error.strerror}")
    if hasher.hexdigest() != digest.hex:
        return Verdict(name, size_bytes, "broken", f"it does not hash to {digest.hex[:12]}…")
    return Verdict(name, size_bytes, "whole")


def verify_bundled(bundle: Bundle, model: BundledModel, read: Reading) -> tuple[Verdict, ...]:
    """Raises StorageError for a medium that can't be read at all."""
    return tuple(_of_bundled(bundle, model, file, read) for file in model.files)


def _of_bundled(bundle: Bundle, model: BundledModel, file: BundledFile, read: Reading) -> Verdict:
    hasher = hashlib.sha256()
    for name, _ in model.parts(file):
        forget_cached(path_of(bundle.place) / name)
    try:
        with reading(bundle.place):
            for chunk in chunks(bundle, model, file):
                hasher.update(chunk)
                read.passed(len(chunk))
    except BadBundle as error:
        return Verdict(file.path, file.size_bytes, "broken", str(error))
    if hasher.hexdigest() != file.sha256:
        return Verdict(
            file.path, file.size_bytes, "broken", f"it does not hash to {file.sha256[:12]}…"
        )
    return Verdict(file.path, file.size_bytes, "whole")


def forget_cached(path: Path) -> None:
    """What was written a moment ago would be read from memory, and tell nothing of the disk. A
    program that has the file mapped keeps its pages. Does nothing where a system can't, and opens
    no pipe or device, which may lie in a file's place."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            if path.is_file():
                with path.open("rb", buffering=0) as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
