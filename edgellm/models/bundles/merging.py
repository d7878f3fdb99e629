"""What a folder's bundle will have in it: what it had, what comes, and what is left for later.

No model is lost by what is added. One of which something is missing has to be mended first; only
what somebody has taken away is not kept. An export that was broken off can still be gone on with,
after another one was made there.
"""

from collections.abc import Iterator, Sequence, Set
from pathlib import Path

import msgspec

from edgellm.errors import BadBundle, BadRequest
from edgellm.models.bundles.layout import MANIFEST, PENDING
from edgellm.models.bundles.manifest import BundledFile, BundledModel, Manifest, decode, encode
from edgellm.values import frozen


@frozen
class Merged:
    """`data`: the manifest's bytes. `old`, `pending`: what lies there. `kept`, `gone`: models that
    it has beside those that come, and those that were taken away from it, by name. `rest`: of the
    pending one, what this export doesn't bring."""

    manifest: Manifest
    data: bytes
    old: Manifest | None
    old_data: bytes | None
    pending: Manifest | None
    kept: tuple[str, ...]
    gone: tuple[str, ...]
    rest: Manifest | None


def merged(root: Path, manifest: Manifest) -> Merged:
    """Raises BadBundle for a manifest there that can't be read: it is not overwritten; BadRequest
    for a model there that isn't whole, and would be lost."""
    old_data, pending_data = _data_at(root / MANIFEST), _data_at(root / PENDING)
    old, pending = _manifest(root / MANIFEST, old_data), _pending(pending_data)
    new = {key_of(model) for model in manifest.models}
    had = [one for one in old.models if key_of(one) not in new] if old else []
    kept = [one for one in had if not _is_gone(root, one)]
    manifest = _cut_alike(manifest, kept)
    comes = {name for model in manifest.models for name, _ in _parts(model, model.files)}
    for one in kept:
        _check_whole(root, one, comes)
    models = tuple(sorted((*kept, *manifest.models), key=key_of))
    result = with_models(manifest, models)
    data = None
    for told, its_data in ((old, old_data), (pending, pending_data)):
        if data is None and told and models == tuple(sorted(told.models, key=key_of)):
            result, data = told, its_data  # when it was made, and so its signature, stays
    gone = tuple(one.name for one in had if one not in kept)
    names, rest = tuple(one.name for one in kept), _rest(result, pending)
    return Merged(result, data or encode(result), old, old_data, pending, names, gone, rest)


def key_of(model: BundledModel) -> tuple[str, str]:
    return model.repo, model.model.files[0].path


def with_models(manifest: Manifest, models: Sequence[BundledModel]) -> Manifest:
    return msgspec.structs.replace(manifest, models=tuple(models))


def not_ours(path: Path) -> BadRequest:
    return BadRequest(
        f"{path} is there, and no export has written it",
        hint="name another place, or move it away",
    )


def _data_at(path: Path) -> bytes | None:
    """Raises BadRequest for what is no file: a pipe would be waited for."""
    if path.exists() and not path.is_file():
        raise not_ours(path)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _manifest(path: Path, data: bytes | None) -> Manifest | None:
    try:
        return None if data is None else decode(data)
    except BadBundle as error:
        error.hint = f"move {path} away, or name another place: it is not overwritten"
        raise


def _pending(data: bytes | None) -> Manifest | None:
    """What can't be read vouches for nothing."""
    try:
        return None if data is None else decode(data)
    except BadBundle:
        return None


def _rest(manifest: Manifest, pending: Manifest | None) -> Manifest | None:
    """What can't lie beside the bundle, because a file of its would be another's, is none of it."""
    if pending is None:
        return None
    known, rest = {key_of(model) for model in manifest.models}, list[BundledModel]()
    for model in pending.models:
        if key_of(model) not in known and _fit((*manifest.models, *rest, model), manifest):
            rest.append(model)
    return with_models(pending, rest) if rest else None


def _fit(models: Sequence[BundledModel], manifest: Manifest) -> bool:
    try:
        encode(with_models(manifest, models))
    except BadBundle:
        return False
    return True


def _cut_alike(manifest: Manifest, kept: Sequence[BundledModel]) -> Manifest:
    """What a new model shares with one that stays, a projector say, is in the pieces that are
    there: or there would be two copies, and one of them not written."""
    there = {model.place(file): file for model in kept for file in model.files}

    def cut(model: BundledModel, file: BundledFile) -> BundledFile:
        known = there.get(model.place(file), file)
        is_it = (known.sha256, known.size_bytes) == (file.sha256, file.size_bytes)
        return msgspec.structs.replace(file, pieces=known.pieces) if is_it else file

    models = [
        msgspec.structs.replace(model, files=tuple(cut(model, file) for file in model.files))
        for model in manifest.models
    ]
    return with_models(manifest, models)


def _is_gone(root: Path, model: BundledModel) -> bool:
    """Nothing of the model itself is there; a licence or a projector may be another one's, too."""
    weights = {file.path for file in model.model.files}
    files = [file for file in model.files if file.path in weights]
    return all(_size(root / name) is None for name, _ in _parts(model, files))


def _check_whole(root: Path, model: BundledModel, comes: Set[str]) -> None:
    parts = [part for part in _parts(model, model.files) if part[0] not in comes]
    lacking = [name for name, size_bytes in parts if _size(root / name) != size_bytes]
    if lacking:
        raise BadRequest(
            f"the {model.name} in {root} is not whole, and would be lost: it lacks {lacking[0]}",
            hint="name it too, and what is missing is copied; or take all of its files away",
        )


def _parts(model: BundledModel, files: Sequence[BundledFile]) -> Iterator[tuple[str, int]]:
    return (part for file in files for part in model.parts(file))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
