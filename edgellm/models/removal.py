"""Which files are removed with a model, and which stay: other models, and what they need.

Decided on one look at the repository's snapshots.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgellm.errors import BadRequest, ModelNotFound, StorageError
from edgellm.models.fetching.cache_layout import RepoFolder
from edgellm.models.fetching.journal import SUFFIX, drop
from edgellm.models.fetching.lock import locked
from edgellm.models.hubs import address_of
from edgellm.models.labels import distinct_labels
from edgellm.models.names import MAIN, HubReference, quant_label, shard_names
from edgellm.models.repo_files import sidecar_kind
from edgellm.models.stored import (
    PartialDownload,
    Snapshot,
    StoredModel,
    models_in,
    partials_in,
    pick,
    snapshots_in,
)


def places_of(folder: RepoFolder, reference: HubReference) -> list[Path]:
    """What a model's removal takes out of every snapshot. Raises ModelNotFound, BadRequest."""
    snapshots = snapshots_in(folder)
    files = {path for parts in _broken_off(snapshots, reference) for path in parts}
    try:
        files.update(_only(models_in(folder, snapshots), reference).files)
    except ModelNotFound:
        if not files and not any(_partials_of(folder, reference)):
            raise
    if not folder.is_being_fetched():  # by another tool nobody knows what: it may need any of them
        files |= _projectors_without(snapshots, files, _coming(folder, reference))
    return [snapshot.path / file for snapshot in snapshots for file in files]


def older_places(folder: RepoFolder, reference: HubReference) -> list[Path]:
    """The model's files in commits that newer ones have replaced and that no ref names; their
    projectors, too, where no model is left to use them.

    Left alone are incomplete models, which may be a newer commit on its way (its ref is written
    last), and commits that were fetched by their number after `main` was last resolved: nothing
    has replaced these. Raises ModelNotFound, BadRequest.
    """
    snapshots = snapshots_in(folder)
    newest = _only(models_in(folder, snapshots), reference)
    kept = {newest.commit, *folder.named_commits()}
    places = []
    for snapshot in snapshots:
        if snapshot.path.name in kept or _came_after_main(folder, snapshot, newest):
            continue
        models = snapshot.listing.models
        there = {file.path for model in models for file in model.files}
        whole = {file.path for model in models if not model.missing for file in model.files}
        gone = whole & {*newest.files}
        if gone and there == gone:
            beside = (side for side in snapshot.listing.sidecars if side.kind == "projector")
            gone |= {side.file.path for side in beside}
        places += [snapshot.path / file for file in gone]
    return places


def _came_after_main(folder: RepoFolder, snapshot: Snapshot, model: StoredModel) -> bool:
    """Whether one of the model's files came into this snapshot after `main` was last resolved."""
    told_at_s = folder.told_at_s(MAIN)
    places = (snapshot.path / file for file in model.files)
    return told_at_s is not None and any(
        place.lstat().st_mtime > told_at_s
        for place in places
        if place.is_symlink() or place.exists()
    )


def remove_partials(folder: RepoFolder, reference: HubReference) -> int:
    """Returns the bytes freed. Raises StorageError while one is being downloaded."""
    freed = 0
    for part in _partials_of(folder, reference):
        _remove_part(folder, part)
        freed += part.done_bytes
    return freed


def drop_outdated(folder: RepoFolder, whole: set[str]) -> None:
    """Removes broken-off downloads of older contents of files that are complete now: nothing would
    ever finish them."""
    for part in partials_in(folder):
        if part.file in whole:
            # Somebody wants just the older one, or it is another user's.
            with contextlib.suppress(StorageError, OSError):
                _remove_part(folder, part)


def _only(models: Sequence[StoredModel], reference: HubReference) -> StoredModel:
    """The one that the reference means. Raises ModelNotFound, and BadRequest where it could be
    several: what is deleted is not guessed."""
    here = {model.files[0]: model.quant for model in models}
    if reference.quant is None and reference.file is None and len(here) > 1:
        shown = distinct_labels([(quant, file) for file, quant in here.items()])
        kinds = {":QUANT": set(shown) - set(here), "/FILE": set(shown) & set(here)}
        address = address_of(reference.repo, reference.hub or models[-1].hub)
        raise BadRequest(
            f"{address} is here as {', '.join(sorted(shown))}",
            hint="say which: add " + " or ".join(kind for kind, some in kinds.items() if some),
        )
    return pick(models, reference)


def _broken_off(
    snapshots: Sequence[Snapshot], reference: HubReference
) -> Iterator[tuple[str, ...]]:
    """The parts that are here of split models that aren't whole."""
    for snapshot in snapshots:
        for model in snapshot.listing.models:
            parts = tuple(file.path for file in model.files)
            is_meant = reference.file is None or reference.file in (*parts, *model.missing)
            if model.missing and is_meant and reference.quant in (None, model.quant):
                yield parts


def _coming(folder: RepoFolder, reference: HubReference) -> list[str]:
    """Files of other models that are being downloaded."""
    meant = {part.path for part in _partials_of(folder, reference)}
    others = (part.file for part in partials_in(folder) if part.path not in meant)
    return [file for file in others if not sidecar_kind(file)]


def _projectors_without(
    snapshots: Sequence[Snapshot], gone: set[str], coming: Sequence[str]
) -> set[str]:
    """Projectors that no model uses once `gone` is removed and `coming` is here. `list` shows no
    projectors, so nobody would ever remove them."""
    there, used, needed = set[str](), set[str](), set[str]()
    some_stay = bool(coming)
    for listing in (snapshot.listing for snapshot in snapshots):
        there.update(side.file.path for side in listing.sidecars if side.kind == "projector")
        for path in (*(model.files[0].path for model in listing.models), *coming):
            some_stay |= path not in gone
            if projector := listing.projector(path):
                (used if path in gone else needed).add(projector.path)
    return (used if some_stay else there) - needed


def _partials_of(folder: RepoFolder, reference: HubReference) -> Iterator[PartialDownload]:
    for part in partials_in(folder):
        is_meant = reference.file is None or reference.file in shard_names(part.file)
        if is_meant and reference.quant in (None, quant_label(part.file)):
            yield part


def _remove_part(folder: RepoFolder, part: PartialDownload) -> None:
    """Raises StorageError while it is being downloaded."""
    with locked(folder.lock(part.path.name.removesuffix(SUFFIX)), on_wait=_refuse_running):
        drop(part.path)


def _refuse_running() -> None:
    raise StorageError("it is being downloaded right now", hint="stop the download first")
