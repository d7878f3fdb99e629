"""What a request wants of the hub. Pure: a request's line in, an `Asked` out.

The paths are the Hugging Face hub's, as its clients ask them (huggingface_hub: hf_api.py,
file_download.py; llama.cpp: common/hf-cache.cpp, and common/download.cpp before that):

    /ORG/REPO/resolve/REVISION/FILE             a file; also …/raw/…
    /api/models?search=…&author=…&filter=…      all models
    /api/models/ORG/REPO[/revision/REVISION]    one, with its files
    /api/models/ORG/REPO/tree/REVISION[/FOLDER] its files, as a tree
    /api/models/ORG/REPO/paths-info/REVISION    those of them that the body names
    /api/models/ORG/REPO/refs                   its branches
    /v2/ORG/REPO/manifests/QUANT                the file for a label, as llama.cpp asked in 2025

A path is taken apart before it is decoded: "refs%2Fpr%2F3" is one part. What a part says is a
stranger's word: names that can't be are told apart here, and become paths in cache_layout.py only.
"""

from typing import TypeAlias
from urllib.parse import parse_qs, unquote

from edgellm.models.names import MAIN, is_repo_name, is_safe_path
from edgellm.server.envelope import HTTPProblem
from edgellm.server.hub.told import NotHere
from edgellm.values import frozen

_READING = ("GET", "HEAD")
_MOST_LISTED = 10_000
_MOST_DIGITS = 18
_LATEST = "latest"


@frozen
class Page:
    """For a person."""


@frozen
class Health:
    pass


@frozen
class Search:
    words: str = ""
    author: str = ""
    tags: tuple[str, ...] = ()
    limit: int = _MOST_LISTED

    def finds(self, repo: str, tags: tuple[str, ...]) -> bool:
        is_wanted = self.words.casefold() in repo.casefold()
        is_theirs = not self.author or repo.partition("/")[0].casefold() == self.author.casefold()
        return is_wanted and is_theirs and {*self.tags} <= {*tags}


@frozen
class Info:
    repo: str
    revision: str = MAIN


@frozen
class Tree:
    repo: str
    revision: str
    folder: str = ""
    is_recursive: bool = False


@frozen
class Named:
    """Those of a repository's files that the body names."""

    repo: str
    revision: str


@frozen
class Refs:
    repo: str


@frozen
class Manifest:
    repo: str
    label: str | None = None


@frozen
class Content:
    repo: str
    revision: str
    path: str


Asked: TypeAlias = Page | Health | Search | Info | Tree | Named | Refs | Manifest | Content


def asked(method: str, raw_path: bytes, query: bytes) -> Asked:
    """Raises NotHere; HTTPProblem for another method than the path's."""
    parts = _parts(raw_path)
    wanted = _wanted(parts, _Query(query))
    methods = ("POST",) if isinstance(wanted, Named) else _READING
    if method not in methods:
        raise HTTPProblem(405, f"this hub is read only; here it is asked by {methods[0]}")
    return wanted


def named_paths(body: bytes) -> tuple[str, ...]:
    """Of a `Named`'s form: paths=a&paths=b."""
    return tuple(parse_qs(body.decode("utf-8", "replace")).get("paths", ()))


def _wanted(parts: list[str], query: "_Query") -> Asked:
    match parts:
        case []:
            return Page()
        case ["health"]:
            return Health()
        case ["api", "models"]:
            return Search(
                query.text("search"), query.text("author"), query.all("filter"), query.limit()
            )
        case ["api", "models", org, name, *rest]:
            return _of_model(_repo(org, name), rest, query)
        case ["v2", org, name, "manifests", label]:
            return Manifest(_repo(org, name), None if label == _LATEST else label)
        case [org, name, "resolve" | "raw", revision, *path] if path:
            repo = _repo(org, name)
            return Content(repo, _revision(repo, revision), _path(repo, path))
    raise HTTPProblem(404, "there is nothing here; GET / tells what is", code="not_found")


def _of_model(repo: str, rest: list[str], query: "_Query") -> Asked:
    match rest:
        case []:
            return Info(repo)
        case ["revision", revision]:
            return Info(repo, _revision(repo, revision))
        case ["tree", revision, *folder]:
            is_recursive = query.text("recursive").casefold() in ("1", "true")
            path = _path(repo, folder) if folder else ""
            return Tree(repo, _revision(repo, revision), path, is_recursive)
        case ["paths-info", revision]:
            return Named(repo, _revision(repo, revision))
        case ["refs"]:
            return Refs(repo)
    raise HTTPProblem(404, "this hub does not tell that of a model", code="not_found")


def _parts(raw_path: bytes) -> list[str]:
    """Without the slashes too many that a client's endpoint may begin or end with."""
    try:
        path = raw_path.decode("ascii").strip("/")
        return [unquote(part, errors="strict") for part in path.split("/")] if path else []
    except UnicodeDecodeError as error:
        raise HTTPProblem(404, "the path is no UTF-8", code="not_found") from error


def _repo(org: str, name: str) -> str:
    repo = f"{org}/{name}"
    if not is_repo_name(repo):
        raise NotHere.repo(repo)
    return repo


def _revision(repo: str, revision: str) -> str:
    if not is_safe_path(revision):
        raise NotHere.revision(repo, revision)
    return revision


def _path(repo: str, parts: list[str]) -> str:
    path = "/".join(parts)
    if not is_safe_path(path):
        raise NotHere.entry(repo, path)
    return path


class _Query:
    """What is no number, or no UTF-8, was not said."""

    def __init__(self, query: bytes) -> None:
        self._given = parse_qs(query.decode("ascii", "replace"), errors="replace")

    def text(self, name: str) -> str:
        return self._given.get(name, [""])[0]

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self._given.get(name, ()))

    def limit(self) -> int:
        text = self.text("limit")
        is_number = text.isdecimal() and len(text) <= _MOST_DIGITS  # int refuses thousands of them
        return min(int(text), _MOST_LISTED) if is_number else _MOST_LISTED
