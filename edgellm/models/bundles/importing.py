"""From a bundle into the store. It is a download from a hub that lies on the same machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgellm.errors import BadBundle, ModelNotFound, WrongContent
from edgellm.files import folder_there
from edgellm.models.bundles.hub import BundleHub
from edgellm.models.bundles.manifest import BundledModel
from edgellm.models.bundles.reading import Bundle
from edgellm.models.fetching.cache_layout import RepoFolder, is_commit
from edgellm.models.fetching.download import Progress, check_space
from edgellm.models.fetching.hub import Repository
from edgellm.models.fetching.policy import DownloadPolicy
from edgellm.models.names import MAIN, HubReference
from edgellm.models.repo_files import RepoFile
from edgellm.models.store import Store
from edgellm.values import frozen

_NOBODY_KNOWS_S: Final = 0.0  # when it was told; whatever a hub tells is newer
_POLICY: Final = DownloadPolicy(max_contents=1)  # a stick says the same the second time


@frozen
class Coming:
    """`missing_bytes`: of it on this disk; 0: it is here."""

    model: BundledModel
    missing_bytes: int


def coming(store: Store, models: Sequence[BundledModel]) -> tuple[Coming, ...]:
    return tuple(
        Coming(one, store.missing_bytes(one.repo, one.commit, one.repo_files)) for one in models
    )


def check_room(store: Store, models: Sequence[Coming]) -> None:
    """For all together: what two of them share comes once. Raises StorageError."""
    check_space(
        folder_there(store.root), missing_together_bytes(store, [one.model for one in models])
    )


def missing_together_bytes(store: Store, models: Sequence[BundledModel]) -> int:
    files: dict[tuple[str, str], dict[RepoFile, None]] = {}
    for one in models:
        files.setdefault((one.repo, one.commit), {}).update(dict.fromkeys(one.repo_files))
    return sum(store.missing_bytes(repo, commit, [*some]) for (repo, commit), some in files.items())


def chosen(bundle: Bundle, wanted: Sequence[HubReference]) -> tuple[BundledModel, ...]:
    """Those that the references mean, all where there are none; in the bundle's order. Raises
    ModelNotFound."""
    models = bundle.manifest.models
    if not wanted:
        return models
    taken = set()
    for reference in wanted:
        meant = [n for n, one in enumerate(models) if _is_meant(one, reference)]
        here = ", ".join(one.name for one in models)
        if not meant:
            raise ModelNotFound(f"the bundle has no {reference.repo}", hint=f"it has {here}")
        taken.update(meant)
    return tuple(models[n] for n in sorted(taken))


def _is_meant(model: BundledModel, reference: HubReference) -> bool:
    return (
        model.repo == reference.repo
        and reference.quant in (None, model.quant)
        and reference.file in (None, *(file.path for file in model.files))
    )


def bring(
    store: Store,
    bundle: Bundle,
    model: BundledModel,
    progress: Progress = lambda done, total, rate: None,
) -> tuple[Path, str | None]:
    """The first file's path, and the commit that `main` stays at because it is newer, if it does.

    Raises BadBundle, StorageError; what came so far stays, to be gone on with.
    """
    folder = RepoFolder(store.root, model.repo)
    revision, told_at_s, stays_at = _revision(folder, model)
    repository = Repository(
        model.repo, revision, model.commit, model.license, model.repo_files, model.hub
    )
    try:
        path = store.fetch(
            BundleHub(bundle),
            repository,
            model.model,
            beside=model.beside,
            policy=_POLICY,
            progress=progress,
            told_at_s=told_at_s,
        )
    except WrongContent as error:
        raise BadBundle(
            f"{error.file} in the bundle is not what was exported; nothing of it was kept",
            hint="the medium or the copy is damaged: edgellm verify PLACE names all that is",
        ) from error
    return path, stays_at


def _revision(folder: RepoFolder, model: BundledModel) -> tuple[str, float, str | None]:
    """What name is to mean the commit, since when, and the commit that it means instead.

    Never one that the hub told later: which of two commits is newer nothing else tells.
    """
    name = MAIN if is_commit(model.revision) else model.revision
    told_at_s = model.told_at.timestamp() if model.told_at else _NOBODY_KNOWS_S
    here, here_s = folder.commit(name), folder.told_at_s(name)
    if not here or here_s is None:
        return name, told_at_s, None
    if here == model.commit:
        return name, max(told_at_s, here_s), None
    if told_at_s > here_s:
        return name, told_at_s, None
    return model.commit, told_at_s, here
