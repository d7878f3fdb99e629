"""Models on this disk, in the cache that huggingface_hub and other tools share.

What another tool fetched is found here, what we fetch is found by others (cache_layout.py has
the folders). A model at a path of its own is served in place and never comes here.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from edgellm.errors import ModelNotFound
from edgellm.models.fetching.cache_layout import (
    LINK_METHODS,
    LinkMethod,
    RepoFolder,
    default_root,
    repo_folders,
)
from edgellm.models.fetching.digest import Digest
from edgellm.models.fetching.download import (
    Progress,
    check_space,
    download,
    is_complete,
    storage_error,
)
from edgellm.models.fetching.hub import Hub, Repository
from edgellm.models.fetching.journal import part_of
from edgellm.models.fetching.policy import DownloadPolicy
from edgellm.models.hubs import address_of
from edgellm.models.names import MAIN, HubReference, quant_label
from edgellm.models.removal import drop_outdated, older_places, places_of, remove_partials
from edgellm.models.repo_files import Listing, ModelFiles, RepoFile, choose_files
from edgellm.models.stored import (
    PartialDownload,
    StoredModel,
    models_in,
    partials_in,
    pick,
    snapshots_in,
)

_DEFAULT_POLICY: Final = DownloadPolicy()


class Store:
    """`link_methods`: how a blob may be linked to on this disk; the first that works is taken."""

    def __init__(
        self, root: Path | None = None, link_methods: Sequence[LinkMethod] = LINK_METHODS
    ) -> None:
        self.root = default_root() if root is None else root
        self._link_methods = link_methods

    def list(self) -> tuple[StoredModel, ...]:
        """Every whole model, by name; of several commits' the newest."""
        return tuple(
            model
            for folder in sorted(repo_folders(self.root), key=lambda folder: folder.repo)
            for model in _newest(folder)
        )

    def of(self, reference: HubReference) -> tuple[StoredModel, ...]:
        """The same of one repository: of any commit for "main", else of the pinned commit."""
        folder = RepoFolder(self.root, reference.repo)
        return _newest(folder, None if reference.revision == MAIN else reference.revision)

    def partials(self) -> tuple[PartialDownload, ...]:
        """Downloads that were broken off, or are running."""
        return tuple(part for folder in repo_folders(self.root) for part in partials_in(folder))

    def find(self, reference: HubReference) -> Path | None:
        """The first file of the model, if all of it is here. No network.

        "main" is satisfied by any commit, if its own isn't here: an old copy beats none. The path
        is that of a link, and must stay one: llama.cpp finds the other parts by its name.
        """
        folder = RepoFolder(self.root, reference.repo)
        wanted = (reference.revision, None) if reference.revision == MAIN else (reference.revision,)
        for revision in wanted:
            with contextlib.suppress(ModelNotFound):
                return pick(models_in(folder, snapshots_in(folder, revision)), reference).path
        return None

    def fetch(
        self,
        hub: Hub,
        repository: Repository,
        model: ModelFiles,
        *,
        beside: Sequence[RepoFile] = (),
        policy: DownloadPolicy = _DEFAULT_POLICY,
        progress: Progress = lambda done, total, rate: None,
        told_at_s: float | None = None,
    ) -> Path:
        """Downloads what is missing, verifies it, and returns the first file's path.

        `beside`: sidecars to fetch along, a projector for one. Progress counts all files together.
        `told_at_s`: when the hub told of this repository; None: now.
        Raises NetworkError, StorageError, Offline; what came so far stays, to be resumed.
        """
        if model.missing:
            raise ModelNotFound(f"the hub lacks {', '.join(model.missing)}")
        files = (*beside, *model.files)  # so a model that is whole has what goes beside it
        folder = RepoFolder(self.root, repository.repo)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.note_hub(repository.commit, repository.hub)
            missing = [file for file in files if not folder.holds(repository.commit, file)]
            check_space(folder.path, sum(_missing_bytes(folder, file) for file in missing))
            for file in _download_each(hub, folder, files, missing, policy, progress):
                # at once: `remove` finds by its link what is here of a download that breaks off
                folder.link(repository.commit, file, self._link_methods)
            if repository.revision != repository.commit:
                folder.write_ref(repository.revision, repository.commit, told_at_s)
            drop_outdated(folder, {file.path for file in files})
        except OSError as error:
            raise storage_error(error, self.root) from error
        return folder.place(repository.commit, model.files[0])

    def at(self, path: Path) -> StoredModel:
        """The model whose first file is at `path`, in whichever commit. Raises ModelNotFound."""
        for folder in repo_folders(self.root):
            if path.is_relative_to(folder.path):
                for model in models_in(folder, snapshots_in(folder)):
                    if model.path == path:
                        return model
        raise ModelNotFound(f"{path.name} is no whole model", hint="edgellm list shows what is")

    def missing_bytes(self, repo: str, commit: str, files: Sequence[RepoFile]) -> int:
        """How much of these files is still to be downloaded."""
        folder = RepoFolder(self.root, repo)
        missing = (file for file in files if not folder.holds(commit, file))
        return sum(_missing_bytes(folder, file) for file in missing)

    def address(self, repo: str, path: Path) -> str:
        """ "hf.co/ORG/REPO", or the other hub's that the file's commit came from."""
        folder = RepoFolder(self.root, repo)
        commit, *_ = path.relative_to(folder.path / "snapshots").parts
        return address_of(repo, folder.hub_of(commit))

    def newer(self, repository: Repository, path: Path) -> ModelFiles | None:
        """What the repository has in place of the model whose first file is at `path`, or with it:
        a projector, for one. None: this very model. Raises ModelNotFound, BadRequest.
        """
        folder = RepoFolder(self.root, repository.repo)
        commit, *parts = path.relative_to(folder.path / "snapshots").parts
        model = _counterpart(repository.listing, "/".join(parts))
        beside = repository.listing.projector(model.files[0].path)
        files = (*model.files, beside) if beside else model.files
        is_same_commit = commit == repository.commit
        are_here = all(
            (is_same_commit and folder.holds(commit, file))
            or folder.has(folder.place(commit, file), file)
            for file in files
        )
        return None if are_here else model

    def older(self, reference: HubReference) -> tuple[Path, ...]:
        """What a newer commit has replaced of a model that is here. Raises ModelNotFound,
        BadRequest."""
        return tuple(older_places(RepoFolder(self.root, reference.repo), reference))

    def older_bytes(self, reference: HubReference) -> int:
        """What `remove_older` would free."""
        return RepoFolder(self.root, reference.repo).freed_bytes(self.older(reference))

    def remove_older(self, reference: HubReference) -> int:
        """Returns the bytes that this freed. Raises ModelNotFound, BadRequest, StorageError."""
        try:
            return RepoFolder(self.root, reference.repo).unlink(self.older(reference))
        except OSError as error:
            raise storage_error(error, self.root) from error

    def places(self, reference: HubReference) -> tuple[Path, ...]:
        """What `remove` takes out of the commits' snapshots: nothing of a model that isn't here.

        Raises BadRequest as `remove` does.
        """
        with contextlib.suppress(ModelNotFound):
            return tuple(places_of(RepoFolder(self.root, reference.repo), reference))
        return ()

    def remove(self, reference: HubReference) -> int:
        """Removes one model, or its broken-off download; returns the bytes that this freed.

        Raises ModelNotFound, BadRequest when the repository is here in several quantizations
        and the reference names none.
        """
        folder = RepoFolder(self.root, reference.repo)
        try:
            places = places_of(folder, reference)  # who asks a question back has deleted nothing
            return remove_partials(folder, reference) + folder.unlink(places)
        except OSError as error:
            raise storage_error(error, self.root) from error


def _newest(folder: RepoFolder, revision: str | None = None) -> tuple[StoredModel, ...]:
    models = models_in(folder, snapshots_in(folder, revision))
    newest = {(model.quant, model.files): model for model in models}
    return tuple(newest[key] for key in sorted(newest))


def _counterpart(listing: Listing, file: str) -> ModelFiles:
    """The model that is called as that file, or as its label where the names have changed."""
    try:
        model = choose_files(listing, file=file)
    except ModelNotFound:
        label = quant_label(file)
        if label is None:
            raise
        model = choose_files(listing, label)
    if model.missing:
        raise ModelNotFound(f"the hub lacks {', '.join(model.missing)}")
    return model


def _download_each(
    hub: Hub,
    folder: RepoFolder,
    files: Sequence[RepoFile],
    missing: Sequence[RepoFile],
    policy: DownloadPolicy,
    progress: Progress,
) -> Iterator[RepoFile]:
    """Each file when it is here. Progress counts the missing ones."""
    total_bytes, before_bytes = sum(file.size_bytes for file in missing), 0

    def all_together(done: int, _: int, rate: float | None) -> None:
        progress(before_bytes + done, total_bytes, rate)

    for file in files:
        if file in missing:
            digest = Digest.of(file)
            blob = folder.blob(digest)
            if not is_complete(blob, digest):
                download(hub, file, blob, folder.lock(digest.hex), policy, all_together)
            before_bytes += file.size_bytes
            progress(before_bytes, total_bytes, None)
        yield file


def _missing_bytes(folder: RepoFolder, file: RepoFile) -> int:
    blob = folder.blob(Digest.of(file))
    part = part_of(blob)
    here = blob if blob.exists() else part
    return max(file.size_bytes - (here.stat().st_size if here.exists() else 0), 0)
