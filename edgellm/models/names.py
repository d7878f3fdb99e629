"""What people call a model, and what repositories call their files.

References, first match wins:

    ./x.gguf, /x, ~/x, file://x, x.gguf    a file on this disk
    hf.co/ORG/REPO[:QUANT]                 a repository; also huggingface.co/…, https://…, hf://…
    hf.co/ORG/REPO/FILE.gguf               one file of it; also …/resolve/REV/FILE, …/blob/REV/FILE
    modelscope.cn/ORG/REPO[:QUANT]         the same on ModelScope; also ms://… (hubs.py)
    ORG/REPO[:QUANT]                       the same, short, of the hub that is set
    ollama:NAME, lmstudio:NAME …           another tool's (elsewhere/reference.py)
    NAME[:TAG]                             the catalog: qwen3, qwen3:8b, qwen3:8b-q8_0

The tag "latest" says nothing, as with other tools; what a browser has encoded (%20) is decoded.

File names follow no standard. The rules are llama.cpp's (common/download.cpp) and what the
large publishers do; a label in a name is only a label, the tensors' types decide.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qs, unquote

from edgellm.errors import BadRequest, ModelNotFound
from edgellm.models.elsewhere.reference import ElsewhereReference, parse_elsewhere
from edgellm.models.hubs import DEFAULT_HUB, HubName, split_address
from edgellm.values import frozen

SidecarKind = Literal["projector", "imatrix", "draft", "adapter", "part", "vocabulary"]

# Without a wish and without a selector: the first of these that is there, else the smallest.
# Q4_K_M is the common ground of quality and size; MXFP4 is what gpt-oss was trained for.
DEFAULT_QUANTS: Final = (
    "Q4_K_M", "UD-Q4_K_XL", "MXFP4", "MXFP4_MOE", "Q4_K_S", "Q4_0", "IQ4_XS", "Q5_K_M", "Q6_K",
    "Q8_0", "Q3_K_M", "F16", "BF16", "F32",
)  # fmt: skip

_PROJECTORS: Final = ("F16", "BF16", "Q8_0", "F32")
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_LABEL: Final = (
    r"(?:UD-)?(?:[IT]?Q[1-8]_[A-Z0-9_]+|BF16|FP?16|FP?32|MXFP4(?:_MOE)?|NVFP4"
    r"|I2_S|TL[12]|TURBO\d[A-Z0-9_]*)"
)
_label = re.compile(rf"(?:^|[-._])({_LABEL})(?=$|[-.])", re.IGNORECASE)
_repo = re.compile(rf"{_NAME}/{_NAME}")
_catalog = re.compile(rf"({_NAME})(?::({_NAME}))?(?::({_LABEL}))?", re.IGNORECASE)
_tag = re.compile(rf"(?:(.*?)-)?({_LABEL})", re.IGNORECASE)
_quant = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_shard = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_part = re.compile(r"\.gguf\.part|\.gguf-split-|[-.]part\d+of\d+|-split-[a-z](?:\.|$)")
# llama.cpp's own words, in its own case: "-MTP-" in capitals is a whole model with such layers
_draft_part = re.compile(r"(?:^|[-_.])(?:mtp|eagle3|dflash|dspark)-|^(?:MTP|EAGLE3)-")
_drafter = re.compile(r"(?:^|[-_.])(?:draft(?:er)?|assistant)(?=[-_.]|$)")
_adapter = re.compile(r"(?:^|[-_.])(?:lora\d*|adapter)(?=[-_.]|$)")
_vocabulary = re.compile(r"^ggml-vocab-|(?:^|[-_.])vocab(?:-only)?(?=[-.]|$)")
_fork_label = re.compile(
    r"IQ[1-6]_K(?:S|SS|T|L)?|.*_R[48]|IQ[12]_BN|Q6_0|Q8_KV|TURBO.*|I2_S|TL[12]"
)
_removed_label = re.compile(r"Q4_0_[48]_[48]")
_device_name = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)
_MAX_SHARDS: Final = 1_024
_NO_TAG: Final = "latest"  # what other tools write where none was
NO_LABEL: Final = "?"
MAIN: Final = "main"  # the revision that is meant where none is named


@frozen
class PathReference:
    path: str  # as written; "~" is not yet expanded


@frozen
class HubReference:
    repo: str  # "Qwen/Qwen3-8B-GGUF"
    quant: str | None = None
    file: str | None = None  # one file of it, named in full
    revision: str = MAIN
    hub: HubName | None = field(default=None, compare=False)  # to be asked; None: that is set


@frozen
class CatalogReference:
    name: str  # "qwen3:8b"; "qwen3" takes the family's default size
    quant: str | None = None


Reference: TypeAlias = PathReference | HubReference | CatalogReference | ElsewhereReference


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


def parse_reference(text: str) -> Reference:
    """Raises BadRequest."""
    text = text.strip()
    if text.lower().startswith("file://"):
        return PathReference(unquote(text[len("file://") :]))
    if there := parse_elsewhere(text):
        return there
    if at := split_address(text):
        return replace(_hub_reference(at[1], text), hub=at[0])
    if "://" in text:
        raise BadRequest(
            f"{text!r} is no address of a model hub", hint="download it, then serve the file"
        )
    if text.startswith(("/", ".", "~")) or text.lower().endswith(".gguf"):
        return PathReference(text)
    if "/" in text:
        return _hub_reference(text, text)
    return _catalog_reference(text)


def _shares_folder(beside: str, path: str) -> bool:
    folder = beside.rpartition("/")[0]
    return not folder or path.startswith(f"{folder}/")


def _projector_rank(file: RepoFile) -> tuple[int, int, int]:
    label = quant_label(file.path)
    rank = _PROJECTORS.index(label) if label in _PROJECTORS else len(_PROJECTORS)
    return -file.path.count("/"), rank, file.size_bytes


def _hub_reference(rest: str, text: str) -> HubReference:
    rest, _, query = rest.partition("#")[0].partition("?")
    shown = parse_qs(query).get("show_file_info", [""])[0]  # as a browser has it beside a file
    head, _, tag = rest.strip("/").partition(":")
    quant = "" if tag.lower() == _NO_TAG else tag
    parts = [unquote(part) for part in head.split("/")]  # "refs%2Fpr%2F3" is one of them
    repo, revision, file = "/".join(parts[:2]), MAIN, parts[2:]
    if file and file[0] in ("resolve", "blob", "tree") and len(file) > 1:
        revision, file = file[1], file[2:]
    path = shown or "/".join(file) or None  # whole, also where the page is a folder's
    bad_quant = bool(quant) and not _quant.fullmatch(quant)
    are_safe = all(map(is_safe_path, filter(None, (revision, path))))
    if bad_quant or not is_repo_name(repo) or not are_safe:
        raise BadRequest(
            f"{text!r} does not name a model", hint="write it like hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M"
        )
    if path and not path.lower().endswith(".gguf"):
        raise BadRequest(f"{path!r} is not a .gguf file", hint=f"edgellm show hf.co/{repo}")
    return HubReference(repo, normal_quant(quant) if quant else None, path, revision)


def _catalog_reference(text: str) -> CatalogReference:
    match = _catalog.fullmatch(text)
    name, mark, label = text.rpartition(":")
    if not match and mark and (known := _catalog.fullmatch(name)) and known[2] and not known[3]:
        raise BadRequest(
            f"{label!r} is no quantization",
            hint=f"write it like {name}:Q4_K_M; edgellm show {name} lists them",
        )
    if not match:
        raise BadRequest(
            f"{text!r} does not name a model",
            hint="name a .gguf file, hf.co/ORG/REPO[:QUANT] or a catalog name like qwen3:8b",
        )
    family = match[1].lower()
    tag = "-".join(part for part in match.group(2, 3) if part and part.lower() != _NO_TAG)
    if with_quant := _tag.fullmatch(tag):
        size = with_quant[1]
        name = f"{family}:{size.lower()}" if size else family
        return CatalogReference(name, normal_quant(with_quant[2]))
    return CatalogReference(f"{family}:{tag.lower()}" if tag else family)


def normal_quant(label: str) -> str:
    """ "q4_k_m" -> "Q4_K_M", "fp16" -> "F16"."""
    upper = label.upper()
    return {"FP16": "F16", "FP32": "F32"}.get(upper, upper)


def quant_label(path: str) -> str | None:
    """The label in a file's name, else in its folder's: "UD-Q4_K_XL". None: neither tells."""
    for part in reversed(path.split("/")):
        _, label = _cut(part)
        if label:
            return normal_quant(label)
    return None


def family(name: str) -> str:
    """ "Gemma-3-4B-it-Q4_K_M.gguf" -> "gemma-3-4b-it": the same for all mixes of one model."""
    return _cut(name)[0].lower()


def _cut(name: str) -> tuple[str, str | None]:
    """A file's or folder's name before its label, and that label as it is written."""
    stem = _without_shard(name).removesuffix(".gguf")
    *_, last = (None, *_label.finditer(stem))
    return (stem[: last.start()], last[1]) if last else (stem, None)


def unservable_reason(label: str) -> str | None:
    """Why llama.cpp can't load a file with this label; None where nothing speaks against it."""
    if _removed_label.fullmatch(label):
        return f"llama.cpp dropped {label}; Q4_0 does the same, repacked while loading"
    if _fork_label.fullmatch(label):
        return f"{label} is a type of the ik_llama.cpp fork, llama.cpp can't load it"
    return None


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


def shard_names(name: str) -> tuple[str, ...]:
    """Every part of the split model that `name` belongs to; itself alone, where it isn't split."""
    match = _shard.fullmatch(name)
    if not match:
        return (name,)
    number, count = int(match[2]), int(match[3])
    if not 1 <= number <= count <= _MAX_SHARDS:
        return (name,)
    return tuple(f"{match[1]}-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1))


def is_repo_name(repo: str) -> bool:
    """ "ORG/REPO", as the hub allows it."""
    return bool(_repo.fullmatch(repo)) and ".." not in repo and "--" not in repo


def is_safe_path(path: str) -> bool:
    """Whether a path from a stranger may become one on this disk, whatever the system."""
    return all(
        part.isprintable()  # first: what isn't UTF-8 can't be encoded either
        and 0 < len(part.encode()) <= 255
        and part not in (".", "..")
        and not set(part) & set('\\:*?"<>|')
        and part[-1] not in ". "
        and not _device_name.match(part)
        for part in path.split("/")
    )


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
            models.setdefault(_without_shard(file.path), []).append(file)
    for is_model in (_is_whole_drafter, _may_be_merged):
        for side in [side for side in sidecars if not models and is_model(side)]:
            sidecars.remove(side)
            models.setdefault(_without_shard(side.file.path), []).append(side.file)
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


def _without_shard(path: str) -> str:
    match = _shard.fullmatch(path)
    return f"{match[1]}-of-{match[3]}.gguf" if match else path


def _why_not(listing: Listing) -> str:
    for model in listing.models:
        if model.unservable:
            return model.unservable
        if model.missing:
            return f"{len(model.missing)} parts of {model.files[0].path} are missing there"
    if any(side.kind == "part" for side in listing.sidecars):
        return "its files are raw pieces: download them and join them with cat"
    return "look for a repository whose name ends in -GGUF"
