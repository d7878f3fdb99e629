"""What is in a bundle: the one document of it that is believed, once it has passed here.

It comes from a stranger's stick. So it is decoded strictly, every name in it is one that may become
a path on any system, no two files share one, and its numbers agree with one another. All else about
the bundle's files is decided by their digests.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Annotated, Final, TypeAlias

import msgspec

from edgellm.errors import BadBundle
from edgellm.models.bundles.layout import MANIFEST, MAX_PIECES, parts_of, place_of
from edgellm.models.hubs import HubName
from edgellm.models.labels import listed_name
from edgellm.models.names import is_safe_path
from edgellm.models.repo_files import ModelFiles, RepoFile, group_files

FORMAT: Final = 1
MAX_MANIFEST_BYTES: Final = 16 << 20
_MAX_FILES: Final = 20_000
_UPDATE: Final = "edgellm export writes it anew; was it copied whole?"

_Size: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=1024)]
_SHA256: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_GIT_OID: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}\Z")]
_When: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


class BundledFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    path: _Text  # in the repository
    size_bytes: _Size
    sha256: _SHA256
    git_oid: _GIT_OID | None = None  # where that is what the hub knows the file by
    pieces: Annotated[tuple[_Size, ...], msgspec.Meta(max_length=MAX_PIECES)] = ()


class BundledModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """What goes beside the model stands before its files: so a model that is whole has it."""

    name: _Text  # as `edgellm list` says it
    hub: HubName
    repo: _Text
    commit: _Text
    revision: _Text  # the name that meant this commit; the commit itself, where none did
    told_at: _When | None  # when the hub said so, at the latest
    license: _Text | None
    quant: _Text
    files: tuple[BundledFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def place(self, file: BundledFile) -> str:
        return place_of(self.repo, file.path)

    def parts(self, file: BundledFile) -> tuple[tuple[str, int], ...]:
        return parts_of(self.place(file), file.size_bytes, file.pieces)

    @cached_property
    def repo_files(self) -> tuple[RepoFile, ...]:
        """As a hub tells of them; what is their address there is their place here."""
        return tuple(
            RepoFile(
                file.path,
                file.size_bytes,
                sha256=None if file.git_oid else file.sha256,
                git_oid=file.git_oid,
                url=self.place(file),
            )
            for file in self.files
        )

    @cached_property
    def model(self) -> ModelFiles:
        """Raises BadBundle unless there is one, and whole."""
        models = group_files(self.repo_files).models
        if len(models) != 1 or models[0].missing:
            raise BadBundle(f"its manifest names {len(models)} models as {self.name}", hint=_UPDATE)
        return models[0]

    @property
    def beside(self) -> tuple[RepoFile, ...]:
        return tuple(file for file in self.repo_files if file not in self.model.files)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    made_at: _When
    made_by: _Text
    models: tuple[BundledModel, ...]

    @property
    def files(self) -> Iterator[tuple[BundledModel, BundledFile]]:
        """Each once, in the order in which a tar holds them; models of a repository share some."""
        seen = set()
        for model in self.models:
            for file in model.files:
                if (place := model.place(file)) not in seen:
                    seen.add(place)
                    yield model, file

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for _, file in self.files)


class _Format(msgspec.Struct):
    format: int


def encode(manifest: Manifest) -> bytes:
    """Raises BadBundle for what `decode` would not take."""
    _check(manifest)
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode(data: bytes) -> Manifest:
    """Raises BadBundle."""
    try:
        told = msgspec.json.decode(data, type=_Format).format
        if told > FORMAT:
            raise BadBundle(
                f"the bundle has format {told}, and this edgellm reads {FORMAT}",
                hint="a newer edgellm has made it: bring the one here up to date",
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBundle(f"the bundle's {MANIFEST} is none: {error}", hint=_UPDATE) from error
    if manifest.format != FORMAT:
        raise BadBundle(f"the bundle's format {manifest.format} never was one", hint=_UPDATE)
    _check(manifest)
    return manifest


def fingerprint(data: bytes) -> str:
    """Of the manifest, and so of every byte that it vouches for: short enough for a telephone."""
    return hashlib.sha256(data).hexdigest()


def _check(manifest: Manifest) -> None:
    if not manifest.models:
        raise BadBundle("the bundle has no model in it", hint=_UPDATE)
    n_files = sum(len(model.files) for model in manifest.models)
    if n_files > _MAX_FILES:
        raise BadBundle(f"the bundle names {n_files} files, more than {_MAX_FILES}")
    for model in manifest.models:
        _check_model(model)
    _check_places(manifest.models)


def _check_model(model: BundledModel) -> None:
    for word, what in ((model.commit, "commit"), (model.revision, "revision")):
        if not is_safe_path(word) or (what == "commit" and "/" in word):
            raise BadBundle(f"{word!r} is no name of a {what}")
    if len({file.path for file in model.files}) < len(model.files):
        raise BadBundle(f"the bundle names a file of {model.name!r} twice")
    for file in model.files:
        model.place(file)
        if file.pieces and (sum(file.pieces) != file.size_bytes or 0 in file.pieces):
            raise BadBundle(f"the pieces of {file.path} don't make {file.size_bytes} bytes")
    name = listed_name(model.repo, model.quant, model.model.files[0].path, model.hub)
    if (model.quant, model.name) != (model.model.quant, name):
        raise BadBundle(f"the bundle calls {name} {model.name!r}")


def _check_places(models: Sequence[BundledModel]) -> None:
    """As on a disk that knows no capital letters. What two models share, they tell alike, also
    how it is cut."""
    taken: dict[str, tuple[str, BundledFile]] = {}
    for model in models:
        for file in model.files:
            for name in (model.place(file), *(name for name, _ in model.parts(file))):
                known = taken.setdefault(name.casefold(), (name, file))
                if known != (name, file):
                    raise BadBundle(
                        f"the bundle has two files at {name}",
                        hint="export the two models into places of their own",
                    )
    folders = {name.rsplit("/", n)[0] for name in taken for n in range(1, name.count("/") + 1)}
    if both := sorted(folders & taken.keys()):
        raise BadBundle(f"the bundle has a file and a folder at {both[0]}")
    if len({(model.repo, model.model.files[0].path) for model in models}) < len(models):
        raise BadBundle("the bundle names a model twice")
