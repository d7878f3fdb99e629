"""Headers of files on the hub, by range: what is needed of them, never the file.

The first header of a model is read as it streams in, and the connection dropped when the parser
has enough; of its other quantizations only the part behind the vocabulary is asked for
(siblings.py). A repository of 20 quantizations costs 20 requests and some MiB; of several models
in one, each has a first header of its own. A hub that is busy or hangs up is asked again.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from edgellm.errors import BadGGUF, NetworkError, TransientError
from edgellm.models.fetching.hub import Hub
from edgellm.models.fetching.policy import INTERACTIVE
from edgellm.models.gguf.header import GGUFHeader, NeedBytes, parse_header
from edgellm.models.gguf.siblings import Sibling, read_behind, sibling_of
from edgellm.models.names import family
from edgellm.models.repo_files import ModelFiles, RepoFile

_AT_ONCE: Final = 8
_FIRST_LOOK_BYTES: Final = 64 << 10  # before this much has come in, parsing is a waste
_STREAM_BYTES: Final = 14 << 20  # the longest that one request may run on, were it not dropped

Headers: TypeAlias = tuple[GGUFHeader, ...]


def read_remote_header(hub: Hub, file: RepoFile) -> GGUFHeader:
    """One file's header, from its start. Raises BadGGUF, NetworkError."""
    return _read_whole(hub, file)[0]


def read_remote_headers(hub: Hub, models: Sequence[ModelFiles]) -> tuple[Headers | BadGGUF, ...]:
    """Those of every model of a repository, all its parts together; BadGGUF for a model that
    is none, so that one broken file costs itself only. Raises NetworkError."""
    by_kin = _by_kin([model.files[0] for model in models])
    found: dict[str, GGUFHeader | BadGGUF] = {}
    siblings: dict[str, Sibling | None] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        looks = pool.map(lambda kin: _first_of(hub, kin), by_kin.values())
        for name, (seen, sibling) in zip(by_kin, looks, strict=True):
            found |= seen
            siblings[name] = sibling
        rest = [file for model in models for file in model.files if file.path not in found]
        answers = pool.map(lambda file: _one(hub, file, siblings.get(_kin(file))), rest)
        found |= {file.path: answer for file, answer in zip(rest, answers, strict=True)}
    return tuple(_together([found[file.path] for file in model.files]) for model in models)


def _by_kin(files: Sequence[RepoFile]) -> dict[str, list[RepoFile]]:
    kin: dict[str, list[RepoFile]] = {}
    for file in files:
        kin.setdefault(_kin(file), []).append(file)
    return kin


def _kin(file: RepoFile) -> str:
    """The same for files that differ in their quantization alone, whichever folder they are in."""
    names = (family(part).strip("-._") for part in file.path.split("/"))
    return "/".join(dict.fromkeys(name for name in names if name))


def _first_of(
    hub: Hub, files: Sequence[RepoFile]
) -> tuple[dict[str, GGUFHeader | BadGGUF], Sibling | None]:
    """Read from their starts, until one may stand for the others."""
    found: dict[str, GGUFHeader | BadGGUF] = {}
    for file in files:
        found[file.path], sibling = _first(hub, file)
        if sibling is not None:
            return found, sibling
    return found, None


def _together(parts: Sequence[GGUFHeader | BadGGUF]) -> Headers | BadGGUF:
    whole: list[GGUFHeader] = []
    for part in parts:
        if isinstance(part, BadGGUF):
            return part
        whole.append(part)
    return tuple(whole)


def _first(hub: Hub, file: RepoFile) -> tuple[GGUFHeader | BadGGUF, Sibling | None]:
    try:
        header, prefix = _read_whole(hub, file)
    except BadGGUF as error:
        return error, None
    return header, sibling_of(prefix, header)


def _one(hub: Hub, file: RepoFile, sibling: Sibling | None) -> GGUFHeader | BadGGUF:
    try:
        header = _read_behind(hub, file, sibling) if sibling and not _is_later_part(file) else None
        return header or read_remote_header(hub, file)
    except BadGGUF as error:
        return error


def _is_later_part(file: RepoFile) -> bool:
    """A split model has its vocabulary in the first part only."""
    return "-of-" in file.path and "-00001-of-" not in file.path


def _read_behind(hub: Hub, file: RepoFile, sibling: Sibling) -> GGUFHeader | None:
    """None: this file has to be read from its start."""
    start, end = sibling.window
    window = b""
    while start + len(window) < min(end, file.size_bytes):
        came = _range(hub, file, start + len(window), min(end, file.size_bytes))
        window += came
        header = read_behind(sibling, window, start, file.size_bytes)
        if not isinstance(header, NeedBytes):
            return header
        end = max(header.at_least, end + len(came)) if came else 0
    return None


def _read_whole(hub: Hub, file: RepoFile) -> tuple[GGUFHeader, bytes]:
    """The header, and the bytes that it was read from."""
    came, wanted = bytearray(), _needed(parse_header(b"", file.size_bytes), 0)
    for chunk in _chunks(hub, file):
        came += chunk
        if len(came) >= min(wanted, file.size_bytes):
            prefix = bytes(came)
            header = parse_header(prefix, file.size_bytes)
            if isinstance(header, GGUFHeader):
                return header, prefix
            wanted = _needed(header, len(prefix))
    raise NetworkError(f"{file.path} ended after {len(came):,} bytes")


def _needed(answer: GGUFHeader | NeedBytes, n_bytes: int) -> int:
    """A quarter more at a time: little is read in vain, and parsing again costs little."""
    least = answer.at_least if isinstance(answer, NeedBytes) else 0
    return max(least, n_bytes * 5 // 4, _FIRST_LOOK_BYTES)


def _range(hub: Hub, file: RepoFile, start: int, end: int) -> bytes:
    n_tries = 0
    while True:
        try:
            return hub.read_range(file.url, start, end)
        except TransientError as failure:
            n_tries += 1
            INTERACTIVE.rest(failure, n_tries)


def _chunks(hub: Hub, file: RepoFile) -> Iterator[bytes]:
    """The file as it streams in, by requests that none of them would run through a whole model."""
    at = n_tries = 0
    while at < file.size_bytes:
        before = at
        try:
            for chunk in hub.stream(file.url, at, min(at + _STREAM_BYTES, file.size_bytes)):
                at += len(chunk)
                yield chunk
        except TransientError as failure:
            n_tries = 0 if at > before else n_tries + 1
            INTERACTIVE.rest(failure, n_tries)
        else:
            if at == before:
                return
