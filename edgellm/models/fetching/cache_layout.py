"""The folders of huggingface_hub's cache, which other tools share:

    models--ORG--REPO/
      blobs/<digest>                        the content, once; read-only, published by rename
      refs/<revision>                       the commit that a name means
      snapshots/<commit>/<path>             a link to its blob
      .hubs/<commit>                        ours: whose it is, where that isn't Hugging Face
    .locks/models--ORG--REPO/<digest>.lock

Where the file system makes no link (FAT, exFAT), the snapshot has the content itself, as with
huggingface_hub: there is no blob then, and another commit's snapshot has a copy of its own.

Names from strangers become paths here and nowhere else. Source: huggingface_hub,
docs/source/en/guides/manage-cache.md.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from edgellm.errors import StorageError
from edgellm.files import path_of, sync_folder, write_durably
from edgellm.models.fetching.digest import Digest, hashed
from edgellm.models.fetching.lock import is_held
from edgellm.models.hubs import DEFAULT_HUB, SITES, HubName
from edgellm.models.names import is_safe_path
from edgellm.models.repo_files import RepoFile

_FOLDER: Final = re.compile(r"models--([A-Za-z0-9][A-Za-z0-9._-]*?)--([A-Za-z0-9][A-Za-z0-9._-]*)")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_DIGEST: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HUBS: Final = ".hubs"


def default_root() -> Path:
    """Where huggingface_hub keeps its cache, by the same variables."""
    environ = os.environ
    if cache := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return path_of(os.path.expandvars(cache))
    caches = path_of(environ.get("XDG_CACHE_HOME") or "~/.cache")
    return path_of(os.path.expandvars(environ.get("HF_HOME") or f"{caches}/huggingface")) / "hub"


# (blob, place): makes the blob's content appear at `place`, atomically
LinkMethod: TypeAlias = Callable[[Path, Path], None]


def _linked(link: LinkMethod) -> LinkMethod:
    """Links under a temporary name and renames that: a link can't replace an existing file."""

    def method(blob: Path, place: Path) -> None:
        fresh = place.with_name(f".{blob.name[:16]}.{os.getpid()}.new")
        fresh.unlink(missing_ok=True)
        link(blob, fresh)
        fresh.replace(place)

    return method


def _symbolic(blob: Path, fresh: Path) -> None:
    """A relative link, so that the cache may be moved; from the real folder to the real blob where
    a folder on the way is a link itself."""
    target, folder = os.path.relpath(blob, fresh.parent), os.path.realpath(fresh.parent)
    true_blob = os.path.realpath(blob)
    if os.path.realpath(Path(folder, target)) != true_blob:
        target = os.path.relpath(true_blob, folder)
    fresh.symlink_to(target)


LINK_METHODS: Final[Sequence[LinkMethod]] = (_linked(_symbolic), _linked(os.link), os.replace)
# What is answered where there are no links: EPERM by Linux for FAT and exFAT (fs/namei.c:
# vfs_symlink, vfs_link), the others for SMB and FUSE and by macOS.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


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

    def is_being_fetched(self) -> bool:
        """Whether any program downloads into it; a lock doesn't tell which, or what."""
        return any(is_held(lock) for lock in children(self._locks))

    def lock(self, digest_hex: str) -> Path:
        return self._locks / f"{digest_hex}.lock"

    def snapshots(self, revision: str | None = None) -> list[Path]:
        """Of every commit, or of the one that `revision` means."""
        commits = children(self.path / "snapshots")
        if revision is None:
            return commits
        wanted = revision if is_commit(revision) else self.commit(revision)
        return [commit for commit in commits if commit.name == wanted]

    def place(self, commit: str, file: RepoFile) -> Path:
        """Of the file in the commit's snapshot. Raises StorageError for names that leave it."""
        _check_name(commit, "commit")
        _check_name(file.path, "file")
        return self.path / "snapshots" / commit / file.path

    def holds(self, commit: str, file: RepoFile) -> bool:
        """Whether the snapshot has the content itself."""
        place = self.place(commit, file)
        is_itself = place.is_file() and not place.is_symlink()
        return is_itself and place.stat().st_size == file.size_bytes

    def content(self, place: Path) -> Path | None:
        """The file behind a place of a snapshot, without a link on the way: its blob, or itself.

        None: there is nothing that is whole, or it lies elsewhere. So a link that leaves the
        repository leads nowhere, and neither does one to a download on its way.
        """
        try:
            real, own = place.resolve(strict=True), self.path.resolve(strict=True)
            is_file = real.is_file()
        except (OSError, RuntimeError):  # RuntimeError: links in a ring
            return None
        is_own = self.told_digest(real) or real.is_relative_to(own / "snapshots")
        return real if is_file and is_own else None

    def told_digest(self, content: Path) -> str | None:
        """Of a blob its name tells it; None for what is none."""
        is_blob = content.parent == (self.path / "blobs").resolve()
        return content.name if is_blob and _DIGEST.fullmatch(content.name) else None

    def has(self, place: Path, file: RepoFile) -> bool:
        """Whether the file at `place` has this content, whichever commit it came with. It is read
        and hashed only where it is no link to a blob."""
        digest = Digest.of(file)
        found = _identity(place)
        if found is None or place.stat().st_size != file.size_bytes:
            return False
        if found == _identity(self.blob(digest)):
            return True
        if _DIGEST.fullmatch(place.resolve().name):
            return False
        return hashed(digest.hasher(), place) == digest.hex

    def link(
        self, commit: str, file: RepoFile, methods: Sequence[LinkMethod] = LINK_METHODS
    ) -> Path:
        """Makes the file's content appear in the commit's snapshot. Raises OSError."""
        blob, place = self.blob(Digest.of(file)), self.place(commit, file)
        if self.holds(commit, file):
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        _first_that_works(methods, blob, place)
        sync_folder(place.parent)
        return place

    def write_ref(self, revision: str, commit: str, told_at_s: float | None = None) -> None:
        """`told_at_s`: when the hub resolved the revision to this commit; None: now."""
        _check_name(revision, "revision")
        ref = self.path / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        write_durably(ref, commit.encode())
        if told_at_s is not None:
            os.utime(ref, (told_at_s, told_at_s))

    def told_at_s(self, revision: str) -> float | None:
        """When the revision was last resolved, in Unix seconds; None for one that never was."""
        try:
            return (self.path / "refs" / revision).stat().st_mtime
        except OSError:
            return None

    def digest_at(self, place: Path) -> Digest | None:
        """What the name of its blob says of it. None: it has none, as on a disk without links, or
        where somebody put it by hand."""
        blob = place.resolve()
        if not _DIGEST.fullmatch(blob.name):
            found, blobs = _identity(place), children(self.path / "blobs")
            blob = next((one for one in blobs if _identity(one) == found), blob)
        return Digest(blob.name, place.stat().st_size) if _DIGEST.fullmatch(blob.name) else None

    def note_hub(self, commit: str, hub: HubName) -> None:
        """Raises OSError, and StorageError for a commit that leaves the folder."""
        _check_name(commit, "commit")
        note = self.path / _HUBS / commit
        if hub == DEFAULT_HUB:  # this cache is its own
            note.unlink(missing_ok=True)
            return
        note.parent.mkdir(parents=True, exist_ok=True)
        write_durably(note, hub.encode())

    def hub_of(self, commit: str) -> HubName:
        """From which it came, so far as we know."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            told = (self.path / _HUBS / commit).read_text().strip()
            return next((hub for hub in SITES if hub == told), DEFAULT_HUB)
        return DEFAULT_HUB

    def unlink(self, places: Sequence[Path]) -> int:
        """Takes these files out of their snapshots; returns the bytes freed."""
        places = [place for place in places if _is_there(place)]
        blobs, freed = self._freed_by(places)
        for path in (*places, *blobs):
            path.unlink()
        self._remove_empty_folders()
        return freed

    def freed_bytes(self, places: Sequence[Path]) -> int:
        """What `unlink` would free."""
        return self._freed_by([place for place in places if _is_there(place)])[1]

    def _freed_by(self, places: Sequence[Path]) -> tuple[list[Path], int]:
        """The blobs that go with these places, and all of their bytes.

        A blob goes when nothing links to it any more. Blobs that were never linked may be
        another tool's download on its way, and stay; but one beside a copy of itself has become
        two files by `scp` or `cp -L`, which follow links, and both go.
        """
        wanted = {_identity(place) for place in places} - {None}
        copied = {_own_bytes(place) for place in places} - {0}
        staying = {*(self.path / "snapshots").rglob("*")} - {*places}
        linked = {_identity(place) for place in staying}
        blobs = [
            blob
            for blob in children(self.path / "blobs")
            if (found := _identity(blob)) not in linked
            and (found in wanted or (_DIGEST.fullmatch(blob.name) and _own_bytes(blob) in copied))
        ]
        freed = sum(map(_own_bytes, places)) + sum(blob.stat().st_size for blob in blobs)
        return blobs, freed

    def commit(self, revision: str) -> str:
        """That a name means here: "" for one that means none."""
        try:
            return (self.path / "refs" / revision).read_text().strip()
        except OSError:
            return ""

    def named_commits(self) -> set[str]:
        return set(map(self.commit, self._names()))

    def _names(self) -> list[str]:
        refs = self.path / "refs"
        return [path.relative_to(refs).as_posix() for path in refs.rglob("*") if path.is_file()]

    def _remove_empty_folders(self) -> None:
        """With them goes what names a commit that is gone: other tools take it for a broken cache.
        A name that leads to none yet is another tool's, which writes it first."""
        snapshots, gone = self.path / "snapshots", set[str]()
        for path in sorted(snapshots.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
                gone |= {path.name} if path.parent == snapshots else set()
        for name in self._names():
            if self.commit(name) in gone:
                (self.path / "refs" / name).unlink(missing_ok=True)
        for note in children(self.path / _HUBS):
            if note.name in gone:
                note.unlink(missing_ok=True)


def is_commit(revision: str) -> bool:
    """Not a name, which may mean another one tomorrow."""
    return _COMMIT.fullmatch(revision) is not None


def _check_name(name: str, what: str) -> None:
    """For a name from the network that becomes a path. Raises StorageError."""
    if not is_safe_path(name):
        raise StorageError(f"{name!r} is no name for a {what} here")


def _first_that_works(methods: Sequence[LinkMethod], blob: Path, place: Path) -> None:
    """The last method, moving the blob, only where no link can be made: other snapshots and tools
    look for it in its place."""
    for method in methods[:-1]:
        try:
            method(blob, place)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return
    methods[-1](blob, place)


def _is_there(place: Path) -> bool:
    """Also where it is a link to nothing."""
    return place.exists() or place.is_symlink()


def _identity(path: Path) -> tuple[int, int] | None:
    """The same for a file and every link to it; None: there is nothing behind it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _own_bytes(place: Path) -> int:
    """What goes with it: nothing, unless it is the only name of its content."""
    found = place.lstat()
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else 0


def repo_folders(root: Path) -> Iterator[RepoFolder]:
    """Raises StorageError where this user can't see what is here."""
    try:
        os.scandir(root).close()
    except PermissionError as error:
        raise StorageError(
            "no permission to read the model cache", hint="HF_HOME names another folder"
        ) from error
    except OSError:
        return
    for path in children(root):
        match = _FOLDER.fullmatch(path.name)
        if match:
            yield RepoFolder(root, f"{match[1]}/{match[2]}")


def files_of(snapshot: Path) -> Iterator[RepoFile]:
    """A link whose blob is gone is no file, and one whose blob is another user's is none here."""
    for path in sorted(snapshot.rglob("*")):
        with contextlib.suppress(OSError):
            if path.is_file():
                yield RepoFile(path.relative_to(snapshot).as_posix(), path.stat().st_size)


def children(folder: Path) -> list[Path]:
    """None of a folder that isn't there, or is for another user's eyes: many share one cache."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
