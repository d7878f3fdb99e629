"""What belongs to a model of this disk: its files, its projector, the licence's text, with their
digests. What nobody knows the digest of is read for it."""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edgellm.errors import BadGGUF
from edgellm.models.bundles.manifest import BundledFile, BundledModel
from edgellm.models.fetching.cache_layout import RepoFolder, files_of
from edgellm.models.fetching.digest import feed, hashed
from edgellm.models.fetching.download import Progress
from edgellm.models.names import MAIN
from edgellm.models.repo_files import group_files
from edgellm.models.stored import StoredModel
from edgellm.values import frozen

_LICENCE: Final = re.compile(r"(?:LICEN[CS]E|COPYING|NOTICE|USE_POLICY)(?:[-._].*)?", re.IGNORECASE)
_MAX_LICENCE_BYTES: Final = 1 << 20


@frozen
class Gathered:
    """`paths`: where each file of the model is read, in the order of its files."""

    model: BundledModel
    paths: tuple[Path, ...]


def gather(
    root: Path,
    model: StoredModel,
    license: str | None,
    progress: Progress = lambda done, total, rate: None,
) -> Gathered:
    """`progress` is told of what has to be read. Raises BadGGUF for a small file that isn't what
    its name says, OSError."""
    folder = RepoFolder(root, model.repo)
    names = belongings(model)
    paths = tuple(model.snapshot / name for name in names)
    is_main = folder.commit(MAIN) == model.commit
    told_at_s = folder.told_at_s(MAIN) if is_main else None
    bundled = BundledModel(
        name=model.name,
        hub=model.hub,
        repo=model.repo,
        commit=model.commit,
        revision=MAIN if is_main else model.commit,
        told_at=None if told_at_s is None else datetime.fromtimestamp(told_at_s, UTC),
        license=license,
        quant=model.quant,
        files=tuple(
            _file(folder, name, path, progress) for name, path in zip(names, paths, strict=True)
        ),
    )
    return Gathered(bundled, paths)


def belongings(model: StoredModel) -> tuple[str, ...]:
    """Its files in the snapshot, after the licence and the projector that go beside them."""
    here = [*files_of(model.snapshot)]
    projector = group_files(here).projector(model.files[0])
    licences = (
        file.path
        for file in here
        if _LICENCE.fullmatch(file.path) and file.size_bytes <= _MAX_LICENCE_BYTES
    )
    return (*licences, *([projector.path] if projector else []), *model.files)


def _file(folder: RepoFolder, name: str, path: Path, progress: Progress) -> BundledFile:
    """Of a large file the hub knows its sha256, which is its blob's name; of a small one git's."""
    size_bytes, known = path.stat().st_size, folder.digest_at(path)
    if known and len(known.hex) == 64:
        return BundledFile(name, size_bytes, known.hex)
    sha256 = hashlib.sha256()
    for done in feed(sha256, path):
        progress(done, size_bytes, None)
    if known is None:
        return BundledFile(name, size_bytes, sha256.hexdigest())
    if hashed(known.hasher(), path) != known.hex:
        raise changed_here(name, known.hex)
    return BundledFile(name, size_bytes, sha256.hexdigest(), git_oid=known.hex)


def changed_here(name: str, digest_hex: str) -> BadGGUF:
    return BadGGUF(
        f"{name} on this disk is not what was downloaded: it should hash to {digest_hex[:12]}…",
        hint="edgellm verify names what is broken, and what mends it",
    )
