"""The folders of huggingface_hub's cache, which other tools share:

    models--ORG--REPO/
      blobs/<digest>                        the content, once; read-only, published by rename
      refs/<revision>                       the commit that a name means
      snapshots/<commit>/<path>             a link to its blob
    .locks/models--ORG--REPO/<digest>.lock

Names from strangers become paths here and nowhere else. Source: huggingface_hub,
docs/source/en/guides/manage-cache.md.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgellm.errors import StorageError
from edgellm.models.fetching.digest import Digest
from edgellm.models.fetching.journal import sync_folder, write_atomically
from edgellm.models.names import RepoFile, is_safe_path

_FOLDER: Final = re.compile(r"models--([A-Za-z0-9][A-Za-z0-9._-]*?)--([A-Za-z0-9][A-Za-z0-9._-]*)")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def default_root() -> Path:
    """Where huggingface_hub keeps its cache, by the same variables."""
    environ = os.environ
    if environ.get("HF_HUB_CACHE"):
        return Path(os.path.expandvars(environ["HF_HUB_CACHE"])).expanduser()
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.path.expandvars(environ.get("HF_HOME") or str(cache / "huggingface")))
    return home.expanduser() / "hub"


class RepoFolder:
    """One repository's part of the cache."""

    def __init__(self, root: Path, repo: str) -> None:
        self.repo = repo
        self.name = f"models--{repo.replace('/', '--')}"
        if not _FOLDER.fullmatch(self.name):
            raise StorageError(f"{repo!r} is no name for a repository here")
        self.path = root / self.name
        self._locks = root / ".locks" / self.name

    def blob(self, digest: Digest) -> Path:
        return self.path / "blobs" / digest.hex

    def lock(self, digest_hex: str) -> Path:
        return self._locks / f"{digest_hex}.lock"

    def snapshots(self, revision: str | None = None) -> list[Path]:
        """Of every commit, or of the one that `revision` means."""
        commits = children(self.path / "snapshots")
        if revision is None:
            return commits
        wanted = revision if _COMMIT.fullmatch(revision) else self._commit(revision)
        return [commit for commit in commits if commit.name == wanted]

    def link(self, commit: str, file: RepoFile) -> Path:
        """Makes the file's content appear in the commit's snapshot."""
        if not is_safe_path(file.path) or not is_safe_path(commit):
            raise StorageError(f"{file.path!r} is no name for a file here")
        blob = self.blob(Digest.of(file))
        link = self.path / "snapshots" / commit / file.path
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{blob.name[:16]}.{os.getpid()}.new")
        fresh.unlink(missing_ok=True)
        try:
            fresh.symlink_to(os.path.relpath(blob, link.parent))
        except OSError:  # a file system without symbolic links
            os.link(blob, fresh)
        fresh.replace(link)
        sync_folder(link.parent)
        return link

    def write_ref(self, revision: str, commit: str) -> None:
        if not is_safe_path(revision):
            raise StorageError(f"{revision!r} is no name for a revision here")
        ref = self.path / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(ref, commit.encode())

    def unlink(self, paths: set[str]) -> int:
        """Takes these files out of every snapshot; returns the bytes freed.

        A blob goes when nothing links to it any more. Blobs that were never linked may be
        another tool's download on its way, and stay.
        """
        links = [snap / path for snap in self.snapshots() for path in paths]
        blobs = {link.resolve() for link in links if link.is_symlink()}
        for link in links:
            link.unlink(missing_ok=True)
        still_linked = {
            link.resolve() for link in (self.path / "snapshots").rglob("*") if link.is_symlink()
        }
        freed = 0
        for blob in blobs - still_linked:
            if blob.parent == (self.path / "blobs").resolve() and blob.exists():
                freed += blob.stat().st_size
                blob.unlink()
        self._remove_empty_folders()
        return freed

    def _commit(self, revision: str) -> str:
        try:
            return (self.path / "refs" / revision).read_text().strip()
        except OSError:
            return ""

    def _remove_empty_folders(self) -> None:
        for path in sorted((self.path / "snapshots").rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def repo_folders(root: Path) -> Iterator[RepoFolder]:
    for path in children(root):
        match = _FOLDER.fullmatch(path.name)
        if match:
            yield RepoFolder(root, f"{match[1]}/{match[2]}")


def files_of(snapshot: Path) -> Iterator[RepoFile]:
    """A link whose blob is gone is no file."""
    for path in sorted(snapshot.rglob("*")):
        if path.is_file():
            yield RepoFile(path.relative_to(snapshot).as_posix(), path.stat().st_size)


def children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
