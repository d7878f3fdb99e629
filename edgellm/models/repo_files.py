"""What lies in a repository: which of its files make a model, and what lies beside.

File names follow no standard. The rules are llama.cpp's (common/download.cpp) and what the
large publishers do; a label in a name is only a label, the tensors' types decide.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Final, Literal

from edgellm.errors import BadRequest, ModelNotFound
from edgellm.models.hubs import DEFAULT_HUB, HubName
from edgellm.models.names import (
    NO_LABEL,
    is_safe_path,
    quant_label,
    shard_names,
    unservable_reason,
    without_shard,
)
from edgellm.values import frozen

SidecarKind = Literal["projector", "imatrix", "draft", "adapter", "part", "vocabulary"]

# Without a wish and without a selector: the first of these that is there, else the smallest.
# Q4_K_M is the common ground of quality and size; MXFP4 is what gpt-oss was trained for.
DEFAULT_QUANTS: Final = (
    "Q4_K_M", "UD-Q4_K_XL", "MXFP4", "MXFP4_MOE", "Q4_K_S", "Q4_0", "IQ4_XS", "Q5_K_M", "Q6_K",
    "Q8_0", "Q3_K_M", "F16", "BF16", "F32",
)  # fmt: skip

_PROJECTORS: Final = ("F16", "BF16", "Q8_0", "F32")
_part = re.compile(r"\.gguf\.part|\.gguf-split-|[-.]part\d+of\d+|-split-[a-z](?:\.|$)")
# llama.cpp's own words, in its own case: "-MTP-" in capitals is a whole model with such layers
_draft_part = re.compile(r"(?:^|[-_.])(?:mtp|eagle3|dflash|dspark)-|^(?:MTP|EAGLE3)-")
_drafter = re.compile(r"(?:^|[-_.])(?:draft(?:er)?|assistant)(?=[-_.]|$)")
_adapter = re.compile(r"(?:^|[-_.])(?:lora\d*|adapter)(?=[-_.]|$)")
_vocabulary = re.compile(r"^ggml-vocab-|(?:^|[-_.])vocab(?:-only)?(?=[-.]|$)")


@frozen
class RepoFile:
    path: str  # inside the repository
    size_bytes: int
    sha256: str | None = None  # None: a small file that git itself keeps
    git_oid: str | None = None  # git's own digest of such a file
    url: str = ""
    hub: HubName = field(default=DEFAULT_HUB, compare=False)  # that has it


@frozen
class ModelFiles:
    """One model that can be fetched: a file, or all parts of a split one, in order."""

    quant: str  # upper case, NO_LABEL where no name tells
    files: tuple[RepoFile, ...]
    missing: tuple[str, ...] = ()  # parts that the repository lacks
    unservable: str | None = None  # why llama.cpp can't load it, where the name tells

    @property
    def label(self) -> str | None:
        """The quant, where a name tells it."""
        return None if self.quant == NO_LABEL else self.quant

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


@frozen
class Sidecar:
    kind: SidecarKind
    file: RepoFile


@frozen
class Listing:
    """A repository, sorted out: models by size, everything else beside them."""

    models: tuple[ModelFiles, ...]
    sidecars: tuple[Sidecar, ...]

    def projector(self, path: str) -> RepoFile | None:
        """That of the model at `path`: in its folder or one above it, the nearest; of several
        the half-precision one, which costs half of F32 and loses nothing that shows."""
        here = [
            side.file
            for side in self.sidecars
            if side.kind == "projector" and _shares_folder(side.file.path, path)
        ]
        return min(here, key=_projector_rank, default=None)


def _shares_folder(beside: str, path: str) -> bool:
    folder = beside.rpartition("/")[0]
    return not folder or path.startswith(f"{folder}/")


def _projector_rank(file: RepoFile) -> tuple[int, int, int]:
    label = quant_label(file.path)
    rank = _PROJECTORS.index(label) if label in _PROJECTORS else len(_PROJECTORS)
    return -file.path.count("/"), rank, file.size_bytes


def sidecar_kind(path: str) -> SidecarKind | None:
    """What a file is that is no model itself. The name tells; the header has the last word."""
    *folders, written = path.split("/")
    name = written.lower()
    if _part.search(name):
        return "part"
    if "mmproj" in name:
        return "projector"
    if "imatrix" in name:
        return "imatrix"
    if _vocabulary.search(name):
        return "vocabulary"
    if _draft_part.search(written) or _drafter.search(name) or "MTP" in map(str.upper, folders):
        return "draft"
    return "adapter" if _adapter.search(name) else None


def group_files(files: Iterable[RepoFile]) -> Listing:
    """A repository's files by model: parts joined, folders read, sidecars set apart.

    Files that are neither GGUF nor known beside one, and names that could leave their folder,
    are left out. Where drafters are all there is, they are the models; failing these, what is
    called an adapter: it may be one merged into its model, and the header has the last word.
    """
    models: dict[str, list[RepoFile]] = {}
    sidecars: list[Sidecar] = []
    for file in sorted(files, key=lambda file: file.path):
        if not is_safe_path(file.path):
            continue
        kind = sidecar_kind(file.path)
        if kind is not None:
            sidecars.append(Sidecar(kind, file))
        elif file.path.lower().endswith(".gguf"):
            models.setdefault(without_shard(file.path), []).append(file)
    for is_model in (_is_whole_drafter, _may_be_merged):
        for side in [side for side in sidecars if not models and is_model(side)]:
            sidecars.remove(side)
            models.setdefault(without_shard(side.file.path), []).append(side.file)
    grouped = (_model(parts) for parts in models.values())
    return Listing(tuple(sorted(grouped, key=lambda model: model.size_bytes)), tuple(sidecars))


def _is_whole_drafter(side: Sidecar) -> bool:
    """A small model of its own, not a head that only works on another's layers."""
    name = side.file.path.rpartition("/")[2]
    return side.kind == "draft" and name.lower().endswith(".gguf") and not _draft_part.search(name)


def _may_be_merged(side: Sidecar) -> bool:
    return side.kind == "adapter" and side.file.path.lower().endswith(".gguf")


def choose_files(listing: Listing, quant: str | None = None, file: str | None = None) -> ModelFiles:
    """The model with this file, or this label, or the default one.

    Raises ModelNotFound, BadRequest when the label fits several.
    """
    if file is not None:
        return _with_file(listing, file)
    whole = [model for model in listing.models if not model.missing and not model.unservable]
    if not whole:
        raise ModelNotFound("the repository has no complete GGUF model", hint=_why_not(listing))
    for wish in (quant,) if quant else DEFAULT_QUANTS:
        found = _labelled(whole, wish)
        if quant and len(found) > 1:
            names = ", ".join(model.files[0].path for model in found)
            raise BadRequest(
                f"{len(found)} models are labelled {quant}: {names}", hint="name the file"
            )
        if found:
            return found[0]
    if quant:
        labels = ", ".join(dict.fromkeys(model.quant for model in whole))
        raise ModelNotFound(f"the repository has no {quant}", hint=f"it has {labels}")
    return whole[0]


def _with_file(listing: Listing, path: str) -> ModelFiles:
    for model in listing.models:
        if any(file.path == path for file in model.files):
            return model
    if any(side.file.path == path and side.kind == "projector" for side in listing.sidecars):
        raise ModelNotFound(
            f"{path} is a projector, no model",
            hint="pull a model of its repository: it comes along",
        )
    raise ModelNotFound(f"the repository has no model {path}", hint="edgellm show lists its files")


def _labelled(models: Sequence[ModelFiles], label: str) -> list[ModelFiles]:
    """Exactly so; failing that, Unsloth's dynamic mix of the same name."""
    exact = [model for model in models if model.quant == label]
    return exact or [model for model in models if model.quant == f"UD-{label}"]


def _model(parts: Sequence[RepoFile]) -> ModelFiles:
    here = {file.path for file in parts}
    folder, _, name = parts[0].path.rpartition("/")
    wanted = [f"{folder}/{part}" if folder else part for part in shard_names(name)]
    label = quant_label(parts[0].path) or NO_LABEL
    missing = tuple(path for path in wanted if path not in here)
    return ModelFiles(label, tuple(parts), missing, unservable_reason(label))


def _why_not(listing: Listing) -> str:
    for model in listing.models:
        if model.unservable:
            return model.unservable
        if model.missing:
            return f"{len(model.missing)} parts of {model.files[0].path} are missing there"
    if any(side.kind == "part" for side in listing.sidecars):
        return "its files are raw pieces: download them and join them with cat"
    return "look for a repository whose name ends in -GGUF"
