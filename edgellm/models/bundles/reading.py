"""A bundle opened: what it says of itself, checked, and the way to its bytes."""

import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from edgellm.errors import BadBundle, BadRequest, ModelNotFound, StorageError
from edgellm.files import path_of
from edgellm.models.bundles.layout import MANIFEST, PENDING
from edgellm.models.bundles.manifest import Manifest, decode, fingerprint
from edgellm.models.bundles.sources import FolderSource, Source, StreamSource, TarSource
from edgellm.models.bundles.ssh_keygen import Signer, Signers, read_signers, signer_of
from edgellm.models.fetching.cache_layout import children
from edgellm.values import frozen

PASSING: Final = "-"  # as a place: what comes through a pipe


@frozen
class Bundle:
    place: str
    manifest: Manifest
    sha256: str  # of the manifest as it lies there
    source: Source
    signed_by: Signer | None = None  # None: nobody asked
    has_signature: bool = False  # whatever it is worth

    @property
    def origin(self) -> str:
        """ "exported 2026-11-28, signed by alice (SHA256:…)": a signature says who, never that
        there is no newer one, so its day stands beside it."""
        day = f"exported {self.manifest.made_at:%Y-%m-%d}"
        if self.signed_by:
            return f"{day}, signed by {self.signed_by.words}"
        if self.has_signature:
            return f"{day}; its signature was not checked: --signers FILE says who may have made it"
        return f"{day}, not signed"


@contextmanager
def opened(
    place: str, stdin: BinaryIO, sha256: str | None = None, signers: Path | None = None
) -> Iterator[Bundle]:
    """`sha256`: what the manifest must hash to; `signers`: the file of those one of whom must have
    signed it. Raises BadBundle, BadRequest, ConfigError, ModelNotFound, StorageError."""
    known = read_signers(signers) if signers else None
    with ExitStack() as files:
        with reading(place):
            source = _source(place, stdin, files)
            data = source.manifest()
        found = fingerprint(data)
        if sha256 is not None and found != sha256.strip().lower():
            raise BadBundle(
                f"the bundle's manifest hashes to {found}, not to what --sha256 says",
                hint="this is not the bundle that was exported, or the number was mistyped",
            )
        signer = _signer(place, source, data, known) if known else None
        has_signature = signer is not None or _has_signature(place, source)
        yield Bundle(place, decode(data), found, source, signer, has_signature)
        with reading(place):
            source.finish()


@contextmanager
def reading(place: str) -> Iterator[None]:
    """What the medium refuses is said in words. Raises StorageError."""
    try:
        yield
    except OSError as error:
        why, hint = error.strerror or str(error), "is its disk still there, and sound?"
        if isinstance(error, PermissionError):
            why += f" ({error.filename})" if error.filename else ""
            hint = "let it be read by who runs edgellm: chmod, or another owner"
        raise StorageError(f"the bundle {place} can't be read: {why}", hint=hint) from error


def _signer(place: str, source: Source, data: bytes, signers: Signers) -> Signer:
    with reading(place):
        text = source.signature()
    if text is None:
        hint = "edgellm export MODEL -o PLACE --sign KEY signs what it writes"
        if source.is_passing:
            hint += "; in a pipe the signature comes right behind the manifest"
        raise BadBundle(
            f"the bundle is not signed, and {signers.path} says who must have", hint=hint
        )
    return signer_of(data, text, signers)


def _has_signature(place: str, source: Source) -> bool:
    """One that can't even be read is there, too: nobody has asked that it be good."""
    try:
        with reading(place):
            return source.signature() is not None
    except (BadBundle, StorageError):
        return True


def _source(place: str, stdin: BinaryIO, files: ExitStack) -> Source:
    if place == PASSING:
        if stdin.isatty():
            raise BadRequest(
                "a bundle is to come from the standard input, and that is a terminal",
                hint="ssh HOST edgellm export MODEL -o - | edgellm import -",
            )
        return StreamSource(stdin)
    path = path_of(place)
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFound(
            f"there is no bundle {place}", hint="edgellm export MODEL -o PLACE makes one"
        ) from None
    if stat.S_ISDIR(kind):
        return _folder(path)
    if path.name.lower().endswith(".gguf"):
        raise BadRequest(
            f"{place} is a model itself, no bundle of them",
            hint=f"edgellm serve {place} serves it where it lies",
        )
    file = files.enter_context(path.open("rb", buffering=0))
    return TarSource(file) if stat.S_ISREG(kind) else StreamSource(file)


def _folder(path: Path) -> FolderSource:
    """Raises ModelNotFound for one that is no bundle, and says what it is."""
    if (path / MANIFEST).is_file():
        return FolderSource(path)
    if (path / PENDING).exists():
        raise BadBundle(
            f"the export into {path} was broken off: it is no bundle yet",
            hint="the same export goes on where it was",
        )
    inside = [child for child in children(path) if (child / MANIFEST).is_file()]
    models = sorted(path.glob("*.gguf"))
    hint = "edgellm export MODEL -o PLACE makes a bundle"
    if inside:
        hint = f"did you mean {inside[0]}?"
    elif models:
        hint = f"edgellm serve {models[0]} serves a model where it lies"
    raise ModelNotFound(f"{path} is no bundle: it has no {MANIFEST}", hint=hint)
