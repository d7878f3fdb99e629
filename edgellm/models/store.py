"""Models on this disk, in the cache that huggingface_hub and other tools share.

What another tool fetched is found here, what we fetch is found by others (cache_layout.py has
the folders). A model at a path of its own is served in place and never comes here.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from edgellm.errors import BadRequest, EdgellmError, ModelNotFound, StorageError
from edgellm.models.fetching.cache_layout import (
    WAYS,
    RepoFolder,
    Way,
    children,
    default_root,
    files_of,
    repo_folders,
)
from edgellm.models.fetching.digest import Digest
from edgellm.models.fetching.download import (
    Progress,
    Terms,
    check_space,
    download,
    is_complete,
    storage_error,
)
from edgellm.models.fetching.hub import Hub, Repository
from edgellm.models.fetching.journal import SUFFIX, journal_of, part_of, read_entry
from edgellm.models.fetching.lock import locked
from edgellm.models.local import is_adapter
from edgellm.models.names import (
    NO_LABEL,
    HubReference,
    ModelFiles,
    RepoFile,
    choose_files,
    group_files,
    quant_label,
    shard_names,
    sidecar_kind,
)
from edgellm.values import frozen

_DEFAULT_TERMS: Final = Terms()


@frozen
class StoredModel:
    repo: str
    commit: str
    quant: str
    snapshot: Path
    files: tuple[str, ...]  # in the snapshot; the first is where llama.cpp finds the others
    size_bytes: int
    modified_at_s: float

    @property
    def name(self) -> str:
        if self.quant == NO_LABEL:  # which is no tag that anybody could type
            return f"hf.co/{self.repo}/{self.files[0]}"
        return f"hf.co/{self.repo}:{self.quant}"

    @property
    def path(self) -> Path:
        return self.snapshot / self.files[0]


@frozen
class PartialDownload:
    repo: str
    file: str
    done_bytes: int
    size_bytes: int
    path: Path


class Store:
    """`ways`: how this disk may give a file a second name, the best one first."""

    def __init__(self, root: Path | None = None, ways: Sequence[Way] = WAYS) -> None:
        self.root = default_root() if root is None else root
        self._ways = ways

    def list(self) -> tuple[StoredModel, ...]:
        """Every whole model, by name; of several commits' the newest."""
        models = {}
        for folder in repo_folders(self.root):
            for model in sorted(_models(folder), key=_modified):
                models[model.repo, model.quant, model.files] = model
        return tuple(models[key] for key in sorted(models))

    def partials(self) -> tuple[PartialDownload, ...]:
        """Downloads that were broken off, or are running."""
        return tuple(part for folder in repo_folders(self.root) for part in _partials(folder))

    def find(self, reference: HubReference) -> Path | None:
        """The first file of the model, if all of it is here. No network.

        "main" is satisfied by any commit, if its own isn't here: an old copy beats none. The path
        is that of a link, and must stay one: llama.cpp finds the other parts by its name.
        """
        folder = RepoFolder(self.root, reference.repo)
        wanted = (
            (reference.revision, None) if reference.revision == "main" else (reference.revision,)
        )
        for revision in wanted:
            with contextlib.suppress(ModelNotFound):
                return _pick([*_models(folder, revision)], reference).path
        return None

    def fetch(
        self,
        hub: Hub,
        repository: Repository,
        model: ModelFiles,
        *,
        beside: Sequence[RepoFile] = (),
        terms: Terms = _DEFAULT_TERMS,
        progress: Progress = lambda done, total, rate: None,
    ) -> Path:
        """Downloads what is missing, verifies it, and returns the first file's path.

        `beside`: sidecars to fetch along, a projector for one. Progress counts all files together.
        Raises NetworkError, StorageError, Offline; what came so far stays, to be resumed.
        """
        if model.missing:
            raise ModelNotFound(f"the hub lacks {', '.join(model.missing)}")
        files = (*beside, *model.files)  # so a model that is whole has what goes beside it
        folder = RepoFolder(self.root, repository.repo)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            missing = [file for file in files if not folder.holds(repository.commit, file)]
            check_space(folder.path, sum(_missing_bytes(folder, file) for file in missing))
            for file in _download_each(hub, folder, files, missing, terms, progress):
                # at once: `remove` finds by its link what is here of a download that breaks off
                folder.link(repository.commit, file, self._ways)
            if repository.revision != repository.commit:
                folder.write_ref(repository.revision, repository.commit)
            _drop_outdated(folder, {file.path for file in files})
        except OSError as error:
            raise storage_error(error, self.root) from error
        return folder.place(repository.commit, model.files[0])

    def places(self, reference: HubReference) -> tuple[Path, ...]:
        """What `remove` takes out of the commits' snapshots: nothing of a model that isn't here.

        Raises BadRequest as `remove` does.
        """
        folder = RepoFolder(self.root, reference.repo)
        with contextlib.suppress(ModelNotFound):
            files = _doomed(folder, reference)
            return tuple(snap / file for snap in folder.snapshots() for file in files)
        return ()

    def remove(self, reference: HubReference) -> int:
        """Removes one model, or its broken-off download; returns the bytes that this freed.

        Raises ModelNotFound, BadRequest when the repository is here in several quantizations
        and the reference names none.
        """
        folder = RepoFolder(self.root, reference.repo)
        try:
            files = _doomed(folder, reference)  # who asks a question back has deleted nothing
            return _remove_partials(folder, reference) + folder.unlink(files)
        except OSError as error:
            raise storage_error(error, self.root) from error


def _pick(models: Sequence[StoredModel], reference: HubReference) -> StoredModel:
    """The newest that the reference means. Raises ModelNotFound."""
    if not models:
        raise ModelNotFound(
            f"hf.co/{reference.repo} is not on this disk", hint="edgellm list shows what is"
        )
    newest = {model.files[0]: model for model in sorted(models, key=_modified)}
    listing = group_files(RepoFile(path, 0) for m in newest.values() for path in m.files)
    chosen = choose_files(listing, reference.quant, reference.file)
    return newest[chosen.files[0].path]


def _only(models: Sequence[StoredModel], reference: HubReference) -> StoredModel:
    """The same, but what would be a choice is a question back. Raises BadRequest."""
    here = {model.files[0]: model.quant for model in models}
    if reference.quant is None and reference.file is None and len(here) > 1:
        labels = sorted(set(here.values()) - {NO_LABEL})
        are_told_apart = len(labels) == len(here)
        raise BadRequest(
            f"hf.co/{reference.repo} is here as {', '.join(labels if are_told_apart else here)}",
            hint="say which: add " + (":QUANT" if are_told_apart else "/FILE"),
        )
    return _pick(models, reference)


def _doomed(folder: RepoFolder, reference: HubReference) -> set[str]:
    """The files that `remove` takes out of every snapshot. Raises ModelNotFound, BadRequest."""
    files = {path for parts in _broken_off(folder, reference) for path in parts}
    try:
        files.update(_only([*_models(folder)], reference).files)
    except ModelNotFound:
        if not files and not any(_partials_of(folder, reference)):
            raise
    return files | _projectors_without(folder, files, _coming(folder, reference))


def _coming(folder: RepoFolder, reference: HubReference) -> list[str]:
    """Files of other models that are on their way."""
    meant = {part.path for part in _partials_of(folder, reference)}
    others = (part.file for part in _partials(folder) if part.path not in meant)
    return [file for file in others if not sidecar_kind(file)]


def _projectors_without(folder: RepoFolder, gone: set[str], coming: Sequence[str]) -> set[str]:
    """Those that no model sees through which is here when these files are gone, or will be: `list`
    tells of none, so nobody would ever remove them."""
    there, used, needed = set[str](), set[str](), set[str]()
    some_stay = bool(coming)
    for snapshot in folder.snapshots():
        listing = group_files(files_of(snapshot))
        there.update(side.file.path for side in listing.sidecars if side.kind == "projector")
        for path in (*(model.files[0].path for model in listing.models), *coming):
            some_stay |= path not in gone
            if projector := listing.projector(path):
                (used if path in gone else needed).add(projector.path)
    return (used if some_stay else there) - needed


def _broken_off(folder: RepoFolder, reference: HubReference) -> Iterator[tuple[str, ...]]:
    """The parts that are here of split models that aren't whole."""
    for snapshot in folder.snapshots():
        for model in group_files(files_of(snapshot)).models:
            parts = tuple(file.path for file in model.files)
            is_meant = reference.file is None or reference.file in (*parts, *model.missing)
            if model.missing and is_meant and reference.quant in (None, model.quant):
                yield parts


def _download_each(
    hub: Hub,
    folder: RepoFolder,
    files: Sequence[RepoFile],
    missing: Sequence[RepoFile],
    terms: Terms,
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
                download(hub, file, blob, folder.lock(digest.hex), terms, all_together)
            before_bytes += file.size_bytes
            progress(before_bytes, total_bytes, None)
        yield file


def _models(folder: RepoFolder, revision: str | None = None) -> Iterator[StoredModel]:
    for snapshot in folder.snapshots(revision):
        for model in group_files(files_of(snapshot)).models:
            files = tuple(file.path for file in model.files)
            if not model.missing and not _is_adapter(snapshot / files[0]):
                yield StoredModel(
                    repo=folder.repo,
                    commit=snapshot.name,
                    quant=model.quant,
                    snapshot=snapshot,
                    files=files,
                    size_bytes=model.size_bytes,
                    modified_at_s=max((snapshot / file).stat().st_mtime for file in files),
                )


def _is_adapter(path: Path) -> bool:
    """Only of what is called so is the header read; what can't be read is no adapter."""
    with contextlib.suppress(EdgellmError):
        return sidecar_kind(path.name) == "adapter" and is_adapter(path)
    return False


def _partials(folder: RepoFolder) -> Iterator[PartialDownload]:
    for path in children(folder.path / "blobs"):
        if not path.name.endswith(SUFFIX):
            continue
        with contextlib.suppress(OSError, msgspec.DecodeError):  # finished meanwhile, or another's
            entry = read_entry(journal_of(path))
            done = path.stat().st_size
            yield PartialDownload(folder.repo, entry.file, done, entry.size_bytes, path)


def _partials_of(folder: RepoFolder, reference: HubReference) -> Iterator[PartialDownload]:
    for part in _partials(folder):
        is_meant = reference.file is None or reference.file in shard_names(part.file)
        if is_meant and reference.quant in (None, quant_label(part.file)):
            yield part


def _remove_partials(folder: RepoFolder, reference: HubReference) -> int:
    freed = 0
    for part in _partials_of(folder, reference):
        _remove_part(folder, part)
        freed += part.done_bytes
    return freed


def _drop_outdated(folder: RepoFolder, whole: set[str]) -> None:
    """Of files that are whole now: what broke off before they changed at the hub. Nothing would
    ever finish it."""
    for part in _partials(folder):
        if part.file in whole:
            # Somebody wants just the older one, or it is another user's.
            with contextlib.suppress(StorageError, OSError):
                _remove_part(folder, part)


def _remove_part(folder: RepoFolder, part: PartialDownload) -> None:
    """Raises StorageError while it is being downloaded."""
    with locked(folder.lock(part.path.name.removesuffix(SUFFIX)), on_wait=_refuse_running):
        part.path.unlink(missing_ok=True)
        journal_of(part.path).unlink(missing_ok=True)


def _refuse_running() -> None:
    raise StorageError("it is being downloaded right now", hint="stop the download first")


def _missing_bytes(folder: RepoFolder, file: RepoFile) -> int:
    blob = folder.blob(Digest.of(file))
    part = part_of(blob)
    here = blob if blob.exists() else part
    return max(file.size_bytes - (here.stat().st_size if here.exists() else 0), 0)


def _modified(model: StoredModel) -> float:
    return model.modified_at_s
