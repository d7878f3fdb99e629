"""Ollama's store:

    manifests/<host>/<namespace>/<model>/<tag>    JSON that names blobs, or a link to one
    manifests-v2/ollama.com/…                     the same, of newer versions, and goes before it
    blobs/sha256-<digest>                         GGUF files, templates, licences

Sources, in Ollama's repository: envconfig/config.go (OLLAMA_MODELS), manifest/paths.go,
types/model/name.go (what a name may be, and how it is shortened), scripts/install.sh (where the
service has its home). Gentoo, Arch and NixOS give it /var/lib/ollama.

A model is served from its blob: its weights, and the projector's layer. Its chat template is the
GGUF's own; Ollama's, which is Go's, and its parameters and system prompt are not used.
"""

import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgellm.errors import BadGGUF, BadRequest, EdgellmError, ModelNotFound
from edgellm.files import path_of
from edgellm.models.elsewhere.found import FoundModel, Unservable
from edgellm.models.elsewhere.manifest import (
    MAX_BYTES,
    BlobDigest,
    Layer,
    Manifest,
    decode,
    parts_of,
)
from edgellm.models.elsewhere.reference import TITLES
from edgellm.models.elsewhere.unreadable import unreadable_at
from edgellm.units import format_bytes
from edgellm.values import frozen

TOOL: Final = "ollama"
_SERVICES: Final = (
    "/usr/share/ollama/.ollama/models",
    "/var/lib/ollama/.ollama/models",
    "/var/lib/ollama/models",
    "/var/lib/ollama",
)
_KINDS: Final = ("manifests-v2", "manifests")
_HOSTS: Final = ("registry.ollama.ai", "ollama.com")  # the same one
_NAMESPACE: Final = "library"
_TAG: Final = "latest"
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")


@frozen
class _Entry:
    store: Path
    path: Path  # of the manifest
    parts: tuple[str, str, str, str]  # host, namespace, model, tag

    @property
    def name(self) -> str:
        """As `ollama list` has it."""
        host, namespace, model, tag = self.parts
        named = f"{model}:{tag}"
        if host.lower() not in _HOSTS:
            return f"{host}/{namespace}/{named}"
        return named if namespace.lower() == _NAMESPACE else f"{namespace}/{named}"

    @property
    def names(self) -> tuple[str, ...]:
        short, whole = self.name, "/".join(self.parts[:3]) + f":{self.parts[3]}"
        untagged = (short.removesuffix(f":{_TAG}"),) if self.parts[3] == _TAG else ()
        return tuple(dict.fromkeys((short, *untagged, whole)))


def stores() -> tuple[Path, ...]:
    """Where Ollama keeps models, by its own variable; else the user's store and the service's."""
    if given := os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'"):
        return (path_of(given),)
    return (path_of("~/.ollama/models"), *map(Path, _SERVICES))


def folders() -> tuple[Path, ...]:
    """The folders that a user must be able to read."""
    return tuple(store / part for store in stores() for part in (*_KINDS, "blobs"))


def models() -> Iterator[FoundModel | Unservable]:
    """Every model, by name. What is broken costs itself only."""
    entries: dict[str, _Entry] = {}
    for store in stores():
        for kind in _KINDS:
            for entry in _entries(store, store / kind):
                entries.setdefault(entry.name.casefold(), entry)
    for _, entry in sorted(entries.items()):
        try:
            yield _found(entry)
        except EdgellmError as fault:
            yield Unservable(TOOL, entry.names, fault)
        except OSError as error:
            yield Unservable(
                TOOL, entry.names, BadGGUF(f"its manifest can't be read: {error.strerror}")
            )


def removal(name: str) -> str:
    return f"ollama rm {name}"


def _entries(store: Path, manifests: Path) -> Iterator[_Entry]:
    for host in _below(manifests):
        for namespace in _below(host) if _HOST.fullmatch(host.name) else ():
            for model in _below(namespace):
                for tag in _below(model):
                    named = (namespace.name, model.name, tag.name)
                    is_name = all(map(_PART.fullmatch, named))
                    if is_name and not os.path.isdir(tag):  # noqa: PTH112 - which never raises
                        yield _Entry(store, tag, (host.name, *named))


def _below(folder: Path) -> list[Path]:
    """Its entries; none of what is no folder or can't be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _found(entry: _Entry) -> FoundModel:
    """Raises EdgellmError, OSError."""
    manifest = _manifest(entry)
    parts = parts_of(manifest)
    path = _blob(entry, parts.model)
    beside = _blob(entry, parts.projector) if parts.projector else None
    if parts.adapters:
        flags = [word for layer in parts.adapters for word in ("--lora", str(_blob(entry, layer)))]
        raise BadRequest(
            f"{TOOL}:{entry.name} is a model and an adapter (LoRA) of its own",
            hint=shlex.join(["edgellm", "serve", str(path), *flags]),
        )
    return FoundModel(
        tool=TOOL,
        names=entry.names,
        path=path,
        size_bytes=parts.model.size + (parts.projector.size if parts.projector else 0),
        modified_at_s=entry.path.stat().st_mtime,
        group=entry.name,
        projector=beside,
    )


def _manifest(entry: _Entry) -> Manifest:
    """Of a list, the entry for llama.cpp. Raises BadGGUF, OSError."""
    if not _is_own(entry):
        raise BadGGUF("its manifest is a link that leaves Ollama's store")
    found = decode(_read(entry.path)).for_llama_cpp()
    if found.layers is None and found.digest is not None:
        return decode(_read(_place(entry.store, found.digest)))
    return found


def _is_own(entry: _Entry) -> bool:
    """In one of the store's own folders, whatever links are on the way."""
    real = os.path.realpath(entry.path)
    folders = (os.path.realpath(entry.store / kind) for kind in (*_KINDS, "blobs"))
    return any(os.path.commonpath((real, folder)) == folder for folder in folders)


def _read(path: Path) -> bytes:
    """Raises BadGGUF, OSError."""
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
        raise BadGGUF("its manifest is no file")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadGGUF(f"its manifest has more than {format_bytes(MAX_BYTES)}")
    return data


def _place(store: Path, digest: BlobDigest) -> Path:
    return store / "blobs" / digest.file_name


def _blob(entry: _Entry, layer: Layer) -> Path:
    """A file that is whole, and that this user may read. Raises EdgellmError."""
    path, again = _place(entry.store, layer.digest), f"ollama pull {entry.name}"
    try:
        found = path.stat()
    except OSError as error:
        if unreadable := unreadable_at(TITLES[TOOL], path):
            raise unreadable.error from error
        raise ModelNotFound(
            f"{TOOL}:{entry.name} is not whole: {path.name[:19]} … is not here", hint=again
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise BadGGUF(f"{path.name[:19]} … of {TOOL}:{entry.name} is no file", hint=again)
    if found.st_size != layer.size:
        raise BadGGUF(
            f"{TOOL}:{entry.name} is not whole: {found.st_size} of {layer.size} bytes are here",
            hint=again,
        )
    if unreadable := unreadable_at(TITLES[TOOL], path):
        raise unreadable.error
    return path
