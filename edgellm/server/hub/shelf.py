"""What is on this disk, looked at anew for each request: a model that has just come is there.

`main` is what this disk has: the commit that it means here, and what that one lacks from the newest
of the others, as `Store.find` has it. So a quantization that was pulled in spring is there beside
one of summer. Any other revision is its snapshot alone.

Files are found by cache_layout.py and nothing else: whole ones, in a repository's own snapshots and
blobs, that this user may read. What leaves these by a link is not there.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgellm.errors import StorageError
from edgellm.models.fetching.cache_layout import RepoFolder, files_of, is_commit, repo_folders
from edgellm.models.names import MAIN, is_safe_path
from edgellm.models.repo_files import RepoFile
from edgellm.server.hub.digests import Digests
from edgellm.server.hub.told import Copy, NotHere
from edgellm.values import frozen

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHA256_DIGITS: Final = 64
_TOO_MANY: Final = frozenset({errno.EMFILE, errno.ENFILE})
_NOT_OURS: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR})


@frozen
class Opened:
    """A file that is open: to be closed by who asked for it."""

    handle: int
    file: RepoFile
    commit: str
    modified_at_s: float

    def close(self) -> None:
        os.close(self.handle)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """A disk that fails, or too many files that are open, make no model disappear."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"the model cache can't be read: {error.strerror or error}") from error


class Shelf:
    """All of it raises NotHere, and StorageError for what is there and can't be read."""

    def __init__(self, root: Path, digests: Digests) -> None:
        self._root, self._digests = root, digests

    def copies(self) -> Iterator[Copy]:
        """Each repository's `main`."""
        for folder in repo_folders(self._root):
            with contextlib.suppress(NotHere):
                yield self.copy(folder.repo, MAIN)

    @_readable()
    def copy(self, repo: str, revision: str) -> Copy:
        folder = self._folder(repo)
        snapshots = _snapshots(folder, revision)
        files: dict[str, RepoFile] = {}
        newest_s = 0.0
        for snapshot in snapshots:
            for told in files_of(snapshot):
                if told.path in files:
                    continue
                try:
                    opened = self._open(folder, snapshot, told.path)
                except OSError as error:
                    if error.errno in _TOO_MANY:
                        raise
                    continue  # the others are there
                if opened:
                    opened.close()
                    files[told.path] = opened.file
                    newest_s = max(newest_s, opened.modified_at_s)
        if not files:
            raise NotHere.repo(repo)
        in_order = tuple(files[path] for path in sorted(files))
        return Copy(folder.repo, snapshots[0].name, in_order, newest_s)

    @_readable()
    def refs(self, repo: str) -> dict[str, str]:
        """Commits by name: `main`, and what else means one that is here."""
        folder = self._folder(repo)
        commits = {MAIN: _snapshots(folder, MAIN)[0].name}
        root = folder.path / "refs"
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            with contextlib.suppress(NotHere):
                if is_safe_path(name) and name not in commits:
                    commits[name] = _snapshots(folder, name)[0].name
        return commits

    @_readable()
    def open(self, repo: str, revision: str, path: str) -> Opened:
        folder = self._folder(repo)
        snapshots = _snapshots(folder, revision)
        for snapshot in snapshots:
            if opened := self._open(folder, snapshot, path):
                return Opened(opened.handle, opened.file, snapshots[0].name, opened.modified_at_s)
        raise NotHere.entry(repo, path, snapshots[0].name)

    def _folder(self, repo: str) -> RepoFolder:
        """By its name in other letters, too, as at the hub."""
        try:
            folder = RepoFolder(self._root, repo)
        except StorageError as error:
            raise NotHere.repo(repo) from error
        if folder.path.is_dir():
            return folder
        alike = (one for one in repo_folders(self._root) if one.repo.casefold() == repo.casefold())
        return next(alike, folder)

    def _open(self, folder: RepoFolder, snapshot: Path, path: str) -> Opened | None:
        """None for what is no whole file of the snapshot's, or can't be told a digest of yet.
        Raises OSError."""
        if not is_safe_path(path):
            return None
        content = folder.content(folder.place(snapshot.name, RepoFile(path, 0)))
        if content is None:
            return None
        try:
            handle = os.open(content, _FLAGS)
        except OSError as error:
            if error.errno in _NOT_OURS:
                return None
            raise
        opened = None
        try:
            found = os.fstat(handle)
            file = self._described(folder, content, path, found)
            if file is not None:
                opened = Opened(handle, file, snapshot.name, found.st_mtime)
        finally:
            if opened is None:
                os.close(handle)
        return opened

    def _described(
        self, folder: RepoFolder, content: Path, path: str, found: os.stat_result
    ) -> RepoFile | None:
        if not stat.S_ISREG(found.st_mode):
            return None
        digest = folder.told_digest(content) or self._digests.of(content, found)
        if digest is None:
            return None
        is_sha256 = len(digest) == _SHA256_DIGITS
        return RepoFile(
            path,
            found.st_size,
            sha256=digest if is_sha256 else None,
            git_oid=None if is_sha256 else digest,
        )


def _snapshots(folder: RepoFolder, revision: str) -> list[Path]:
    """Where a revision's files lie, the first place first."""
    newest_first = sorted(
        (path for path in folder.snapshots() if is_commit(path.name) and path.is_dir()),
        key=_modified_at_s,
        reverse=True,
    )
    here = {path.name: path for path in newest_first}
    if not here:
        raise NotHere.repo(folder.repo)
    main = here.get(_commit(folder, MAIN), newest_first[0])
    if revision in (MAIN, main.name):
        return [main, *(path for path in newest_first if path != main)]
    wanted = here.get(revision if is_commit(revision) else _commit(folder, revision))
    if wanted is None:
        raise NotHere.revision(folder.repo, revision)
    return [wanted]


def _commit(folder: RepoFolder, name: str) -> str:
    """That a name means here: "" for one that means none, or has something else in its place."""
    try:
        return folder.commit(name)
    except ValueError:
        return ""


def _modified_at_s(path: Path) -> float:
    """A file that is linked into a snapshot changes its folder."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
