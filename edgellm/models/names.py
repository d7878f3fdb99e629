"""What people call a model, and what the name of its file says.

References, first match wins:

    ./x.gguf, /x, ~/x, file://x, x.gguf    a file on this disk
    hf.co/ORG/REPO[:QUANT]                 a repository; also huggingface.co/…, https://…, hf://…
    hf.co/ORG/REPO/FILE.gguf               one file of it; also …/resolve/REV/FILE, …/blob/REV/FILE
    modelscope.cn/ORG/REPO[:QUANT]         the same on ModelScope; also ms://… (hubs.py)
    ORG/REPO[:QUANT]                       the same, short, of the hub that is set
    ollama:NAME, lmstudio:NAME …           another tool's (elsewhere/reference.py)
    NAME[:TAG]                             the catalog: qwen3, qwen3:8b, qwen3:8b-q8_0

The tag "latest" says nothing, as with other tools; what a browser has encoded (%20) is decoded.

File names follow no standard: a label in one is only a label, the tensors' types decide.
"""

import re
from dataclasses import field, replace
from typing import Final, TypeAlias
from urllib.parse import parse_qs, unquote

from edgellm.errors import BadRequest
from edgellm.models.elsewhere.reference import ElsewhereReference, parse_elsewhere
from edgellm.models.hubs import HubName, split_address
from edgellm.values import frozen

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
    stem = without_shard(name).removesuffix(".gguf")
    *_, last = (None, *_label.finditer(stem))
    return (stem[: last.start()], last[1]) if last else (stem, None)


def unservable_reason(label: str) -> str | None:
    """Why llama.cpp can't load a file with this label; None where nothing speaks against it."""
    if _removed_label.fullmatch(label):
        return f"llama.cpp dropped {label}; Q4_0 does the same, repacked while loading"
    if _fork_label.fullmatch(label):
        return f"{label} is a type of the ik_llama.cpp fork, llama.cpp can't load it"
    return None


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


def without_shard(path: str) -> str:
    match = _shard.fullmatch(path)
    return f"{match[1]}-of-{match[3]}.gguf" if match else path
