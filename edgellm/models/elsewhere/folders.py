"""Tools that keep GGUF files under their own names, in folders: what lies in such a folder.

A group is what came from one repository, or lies in one folder: one model in several
quantizations, and a projector beside them.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from edgellm.errors import BadGGUF, ModelNotFound
from edgellm.models.elsewhere.found import FoundModel, Unservable
from edgellm.models.labels import distinct_labels
from edgellm.models.names import NO_LABEL, family, is_safe_path
from edgellm.models.repo_files import Listing, ModelFiles, RepoFile, group_files

# group -> what a file is called there -> where it lies
Groups: TypeAlias = Mapping[str, Mapping[str, Path]]

_MAX_DEPTH: Final = 4  # ORG/REPO/QUANT/FILE, and one more
_MAX_FOLDERS: Final = 4_096  # somebody's store is his whole home


def files_below(root: Path) -> Iterator[tuple[str, Path]]:
    """Every GGUF file by its path below `root`. Links are followed, and no further than the depth
    of a store; what is unreadable or hidden is passed over."""
    left, n_seen = [(root, "", 0)], 0
    while left and n_seen < _MAX_FOLDERS:
        folder, below, depth = left.pop()
        n_seen += 1
        for entry in _entries(folder):
            at, is_folder = f"{below}{entry.name}", _is_folder(entry)
            if is_folder and depth < _MAX_DEPTH and not entry.name.startswith("."):
                left.append((Path(entry.path), f"{at}/", depth + 1))
            elif not is_folder and entry.name.lower().endswith(".gguf"):
                yield at, Path(entry.path)


def by_folder(files: Iterable[tuple[str, Path]], depth: int) -> Groups:
    """By the first `depth` folders on the way to each file: ORG/REPO are two."""
    groups: dict[str, dict[str, Path]] = {}
    for at, path in files:
        *folders, name = at.split("/")
        group, rest = folders[:depth], [*folders[depth:], name]
        groups.setdefault("/".join(group), {})["/".join(rest)] = path
    return groups


def models_in(tool: str, groups: Groups) -> Iterator[FoundModel | Unservable]:
    """Every model, by name. A folder whose name nobody could type is passed over."""
    for group, files in sorted(groups.items()):
        if group and not is_safe_path(group):
            continue
        listing = group_files(_sized(files))
        labels = distinct_labels([(one.quant, one.files[0].path) for one in listing.models])
        for model, label in zip(listing.models, labels, strict=True):
            is_alone = len(listing.models) == 1
            names = tuple(dict.fromkeys(_names(group, model, label, is_alone)))
            if fault := _fault(model):
                yield Unservable(tool, names, fault)
                continue
            with contextlib.suppress(OSError):  # removed meanwhile
                yield _found(tool, names, group, model, listing, files)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a ring of links
        return False


def _sized(files: Mapping[str, Path]) -> Iterator[RepoFile]:
    """Without links to nothing, pipes, and what can't be read."""
    for name, path in files.items():
        with contextlib.suppress(OSError):
            found = path.stat()
            if stat.S_ISREG(found.st_mode) and os.access(path, os.R_OK):
                yield RepoFile(name, found.st_size)


def _names(group: str, model: ModelFiles, label: str, is_alone: bool) -> Iterator[str]:
    """By its label and by its file; by its group, which means all that are in there. First the one
    that tells it from the others."""
    file = model.files[0].path
    by_file = f"{group}/{file}" if group else file
    if group:
        if is_alone and model.quant == NO_LABEL:
            yield group
        yield f"{group}:{label}" if label == model.quant else by_file
        yield by_file
        if model.quant != NO_LABEL:
            yield f"{group}:{model.quant}"
        yield group
    yield by_file
    yield by_file.removesuffix(".gguf")


def _fault(model: ModelFiles) -> BadGGUF | ModelNotFound | None:
    if model.unservable:
        return BadGGUF(model.unservable)
    if model.missing:
        return ModelNotFound(f"it is not whole: {', '.join(model.missing[:3])} is missing")
    return None


def _found(
    tool: str,
    names: tuple[str, ...],
    group: str,
    model: ModelFiles,
    listing: Listing,
    files: Mapping[str, Path],
) -> FoundModel:
    path = files[model.files[0].path]
    beside = listing.projector(model.files[0].path)
    is_one_model = len({family(one.files[0].path) for one in listing.models}) == 1
    return FoundModel(
        tool=tool,
        names=names,
        path=path,
        size_bytes=model.size_bytes,
        modified_at_s=path.stat().st_mtime,
        group=group or names[0],
        quant=model.label,
        projector=files[beside.path] if beside and is_one_model else None,
    )
