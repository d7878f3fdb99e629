"""Headers of files on this disk: thin I/O around the parser.

Plain reads, no mmap: a file that is cut short under a mapping kills the process (SIGBUS).
"""

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgellm.errors import BadGGUF, ModelNotFound, StorageError
from edgellm.models.gguf.header import GGUFHeader, NeedBytes, parse_header
from edgellm.models.gguf.vocabulary import check_vocabulary
from edgellm.models.names import family, quant_label, shard_names
from edgellm.models.repo_files import RepoFile, group_files, sidecar_kind
from edgellm.models.spec import ModelSpec, model_spec

# A header with a large vocabulary, at once: parsing it twice costs more.
_FIRST_READ_BYTES = 12 << 20


def read_header(path: Path) -> GGUFHeader:
    """One file's header. Raises ModelNotFound, StorageError, BadGGUF."""
    try:
        if stat.S_ISFIFO(path.stat().st_mode):  # nobody may ever write to it
            raise StorageError(f"{path.name} is a pipe", hint="keep what comes in a file")
        with path.open("rb") as file, _named(path):
            return header_of(file)
    except OSError as error:
        raise unreadable(path, error) from error


def header_of(file: BinaryIO) -> GGUFHeader:
    """Raises BadGGUF, OSError."""
    file_bytes = file.seek(0, 2)
    prefix, wanted = b"", min(_FIRST_READ_BYTES, file_bytes)
    while True:
        file.seek(len(prefix))
        more = file.read(wanted - len(prefix))
        if not more and wanted > len(prefix):
            raise BadGGUF(
                "the file was cut while it was read",
                hint="wait until whatever writes it is done, or fetch it again",
            )
        prefix += more
        header = parse_header(prefix, file_bytes)
        if not isinstance(header, NeedBytes):
            return header
        wanted = header.count


def shards(path: Path) -> tuple[Path, ...]:
    """All files of the model that `path` belongs to, the first one first.

    llama.cpp finds the others by name ("-00001-of-00003"), so every part must lie beside it.
    """
    parts = tuple(path.with_name(name) for name in shard_names(path.name))
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise ModelNotFound(
            f"{len(missing)} of {len(parts)} files are missing: {', '.join(missing[:5])}"
            + (" …" if len(missing) > 5 else ""),
            hint=f"put all parts beside {path.name}, or pull the model again",
        )
    return parts


def read_headers(path: Path) -> tuple[GGUFHeader, ...]:
    """Every part's header, checked to be parts of one model. Raises BadGGUF."""
    parts = shards(path)
    headers = tuple(read_header(part) for part in parts)
    for number, (part, header) in enumerate(zip(parts, headers, strict=True)):
        if header.split_count != len(parts) or header.split_no != number:
            raise BadGGUF(
                f"{part.name} says it is part {header.split_no + 1} of {header.split_count}, "
                f"its name says {number + 1} of {len(parts)}",
                hint="don't rename the parts of a split model",
            )
    return headers


def read_model(path: Path) -> tuple[tuple[GGUFHeader, ...], ModelSpec]:
    """The headers of the model at `path`, all its parts together, and what they say. Raises
    ModelNotFound, StorageError, BadGGUF."""
    if path.is_dir():
        raise _is_folder(path)
    if path.exists() and sidecar_kind(path.name) == "part":
        raise BadGGUF(
            f"{path.name} is a raw piece of a file", hint="join the pieces with cat first"
        )
    headers = read_headers(path)
    with _named(path):
        return headers, model_spec(headers, model_name(path), quant_label(path.name))


def read_spec(path: Path) -> ModelSpec:
    """What the selector must know of the model at `path`."""
    return read_model(path)[1]


def projector_beside(path: Path) -> RepoFile | None:
    """The one in the model's folder, by its path on this disk; None among several models."""
    listing = group_files(_files_in(path.parent))
    found = listing.projector(path.name)
    if found is None or len({family(model.files[0].path) for model in listing.models}) > 1:
        return None
    return RepoFile(str(path.with_name(found.path)), found.size_bytes)


def _files_in(folder: Path) -> Iterator[RepoFile]:
    """None in a folder that can't be read; a link to nothing is passed over."""
    with contextlib.suppress(OSError):
        for at in folder.glob("*.gguf"):
            with contextlib.suppress(OSError):
                yield RepoFile(at.name, at.stat().st_size)


def is_adapter(path: Path) -> bool:
    """By its header, not by its name. Raises ModelNotFound, StorageError, BadGGUF."""
    return read_header(path).text("general.type") == "adapter"


def check(path: Path) -> None:
    """Raises BadGGUF for faults in the vocabulary that would abort llama.cpp's process.

    Costs a tenth of a second on a large vocabulary: once, before the first native load.
    """
    first = read_headers(path)[0]
    with _named(path):
        check_vocabulary(first)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    try:
        yield
    except BadGGUF as error:
        raise BadGGUF(f"{path.name}: {error}", hint=error.hint) from error


def model_name(path: Path) -> str:
    """ "/models/Qwen3-8B-Q4_K_M-00001-of-00002.gguf" -> "Qwen3-8B-Q4_K_M"."""
    first = shard_names(path.name)[0]
    stem = first.removesuffix(".gguf")
    return stem[: -len("-00001-of-00001")] if len(shard_names(path.name)) > 1 else stem


def unreadable(path: Path, error: OSError) -> ModelNotFound | StorageError:
    """The right error for a file that won't open; its name, never its whole path."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return ModelNotFound(
                f"there is no file {path.name}", hint="edgellm list shows what is here"
            )
        case IsADirectoryError():
            return _is_folder(path)
        case PermissionError():
            return StorageError(f"no permission to read {path.name}", hint=f"chmod +r {path.name}")
        case _:
            return StorageError(f"{path.name} can't be read: {error.strerror}")


def _is_folder(path: Path) -> StorageError:
    return StorageError(f"{path.name or path} is a folder", hint="name the .gguf file in it")
