"""What the cache has of a repository: its commits' snapshots and partial downloads. Read only."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from edgellm.errors import EdgellmError, ModelNotFound
from edgellm.models.fetching.cache_layout import RepoFolder, children, files_of
from edgellm.models.fetching.journal import SUFFIX, journal_of, read_entry
from edgellm.models.hubs import DEFAULT_HUB, HubName, address_of
from edgellm.models.labels import listed_name
from edgellm.models.local import is_adapter
from edgellm.models.names import MAIN, HubReference
from edgellm.models.repo_files import Listing, RepoFile, choose_files, group_files, sidecar_kind
from edgellm.values import frozen


@frozen
class StoredModel:
    repo: str
    commit: str
    quant: str
    snapshot: Path
    files: tuple[str, ...]  # in the snapshot; the first is where llama.cpp finds the others
    size_bytes: int
    modified_at_s: float
    hub: HubName = DEFAULT_HUB  # whose commit it is

    @property
    def name(self) -> str:
        return listed_name(self.repo, self.quant, self.files[0], self.hub)

    @property
    def path(self) -> Path:
        return self.snapshot / self.files[0]

    @property
    def reference(self) -> HubReference:
        return HubReference(self.repo, file=self.files[0], hub=self.hub)


@frozen
class PartialDownload:
    repo: str
    file: str
    done_bytes: int
    size_bytes: int
    path: Path
    hub: HubName = DEFAULT_HUB  # that is to be asked for the rest


@frozen
class Snapshot:
    """A commit's folder, and what is in it."""

    path: Path
    listing: Listing


def snapshots_in(folder: RepoFolder, revision: str | None = None) -> list[Snapshot]:
    """Of every commit, or of the one that `revision` means."""
    return [Snapshot(path, group_files(files_of(path))) for path in folder.snapshots(revision)]


def models_in(folder: RepoFolder, snapshots: Iterable[Snapshot]) -> list[StoredModel]:
    """The complete models, the newest last: those of the commit that `main` means, and before them
    those of other commits, by the time of their files."""
    main = folder.commit(MAIN)
    models = [model for snapshot in snapshots for model in _whole(folder, snapshot)]
    return sorted(models, key=lambda model: (model.commit == main, model.modified_at_s))


def _whole(folder: RepoFolder, snapshot: Snapshot) -> Iterator[StoredModel]:
    hub = folder.hub_of(snapshot.path.name)
    for model in snapshot.listing.models:
        files = tuple(file.path for file in model.files)
        if not model.missing and not _is_adapter(snapshot.path / files[0]):
            yield StoredModel(
                repo=folder.repo,
                commit=snapshot.path.name,
                quant=model.quant,
                snapshot=snapshot.path,
                files=files,
                size_bytes=model.size_bytes,
                modified_at_s=max((snapshot.path / file).stat().st_mtime for file in files),
                hub=hub,
            )


def _is_adapter(path: Path) -> bool:
    """Reads the header only of a file whose name says so; one that can't be read is none."""
    with contextlib.suppress(EdgellmError):
        return sidecar_kind(path.name) == "adapter" and is_adapter(path)
    return False


def pick(models: Sequence[StoredModel], reference: HubReference) -> StoredModel:
    """The newest that the reference means. Raises ModelNotFound, BadRequest."""
    if not models:
        raise ModelNotFound(
            f"{address_of(reference.repo, reference.hub)} is not on this disk",
            hint="edgellm list shows what is",
        )
    newest = {model.files[0]: model for model in models}
    listing = group_files(RepoFile(path, 0) for m in newest.values() for path in m.files)
    chosen = choose_files(listing, reference.quant, reference.file)
    return newest[chosen.files[0].path]


def partials_in(folder: RepoFolder) -> Iterator[PartialDownload]:
    for path in children(folder.path / "blobs"):
        if not path.name.endswith(SUFFIX):
            continue
        with contextlib.suppress(OSError, msgspec.DecodeError):  # finished meanwhile, or another's
            entry = read_entry(journal_of(path))
            done = path.stat().st_size
            yield PartialDownload(folder.repo, entry.file, done, entry.size_bytes, path, entry.hub)
