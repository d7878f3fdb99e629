"""What the hub says of its models: JSON and headers, in the Hugging Face hub's words. Pure.

A file that its blob's name calls by a sha256 is what the hub calls an LFS file: there git has a
pointer of three lines in its place, whose own digest follows from them (git-lfs, docs/spec.md).
What this disk does not know of a repository, its likes for one, is left out.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from edgellm.harmless import plain
from edgellm.models.repo_files import RepoFile, choose_files, group_files
from edgellm.server.envelope import HTTPProblem, words_of
from edgellm.server.hub.ranges import Span
from edgellm.server.manners import Manner
from edgellm.values import frozen

Fields: TypeAlias = list[tuple[bytes, bytes]]
_NO_OID = "0" * 40  # git's own word for no object: of a folder there is only a part here
_PULL_REQUEST = "refs/pr/"


@frozen
class Copy:
    """What is here of a repository, under one commit of it."""

    repo: str
    commit: str
    files: tuple[RepoFile, ...]  # each with its sha256 or its git_oid
    modified_at_s: float

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def tags(self) -> tuple[str, ...]:
        return ("gguf",) if any(_is_gguf(file) for file in self.files) else ()


class NotHere(HTTPProblem):
    """A 404, with the hub's word for what is missing as its code; `commit` where that is known."""

    def __init__(self, code: str, message: str, commit: str | None = None) -> None:
        super().__init__(404, message, code=code)
        self.commit = commit

    @classmethod
    def repo(cls, repo: str) -> "NotHere":
        words = f"{repo[:200]} is not on this disk; edgellm pull it there, and it is served"
        return cls("RepoNotFound", words)

    @classmethod
    def revision(cls, repo: str, revision: str) -> "NotHere":
        words = f"{repo} is on this disk, but not its revision {revision[:100]}"
        return cls("RevisionNotFound", words)

    @classmethod
    def entry(cls, repo: str, path: str, commit: str | None = None) -> "NotHere":
        return cls("EntryNotFound", f"{repo} has no {path[:200]} on this disk", commit)


def _error(error: Exception, request_id: str) -> bytes:
    return msgspec.json.encode({"error": words_of(error)})


MANNER = Manner(_error)


def error_fields(error: Exception) -> Fields:
    """Beside the body: by these huggingface_hub tells its errors apart. The words may quote the
    request's own, which a header must not have all of."""
    words = plain(words_of(error)).strip().encode("ascii", "replace")
    fields = [(b"x-error-message", words)]
    if isinstance(error, NotHere):
        fields.append((b"x-error-code", str(error.code).encode()))
        if error.commit:
            fields.append((b"x-repo-commit", error.commit.encode()))
    return fields


def etag(file: RepoFile) -> str:
    return file.sha256 or file.git_oid or ""


def content_fields(file: RepoFile, commit: str, span: Span) -> Fields:
    """Of a file, or of a part of it."""
    tag = b'"%b"' % etag(file).encode()
    fields = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % span.n_bytes),
        (b"accept-ranges", b"bytes"),
        (b"etag", tag),
        (b"x-repo-commit", commit.encode()),
    ]
    if file.sha256:
        fields += [(b"x-linked-etag", tag), (b"x-linked-size", b"%d" % file.size_bytes)]
    if span.is_part:
        shown = b"bytes %d-%d/%d" % (span.start, span.end - 1, file.size_bytes)
        fields.append((b"content-range", shown))
    return fields


def unsatisfied_fields(file: RepoFile) -> Fields:
    return [(b"content-range", b"bytes */%d" % file.size_bytes), (b"accept-ranges", b"bytes")]


def info(copy: Copy) -> dict[str, Any]:
    siblings = [
        {"rfilename": file.path, "size": file.size_bytes, "blobId": _oid(file)}
        | ({"lfs": _lfs(file, "sha256")} if file.sha256 else {})
        for file in copy.files
    ]
    return summary(copy) | {"siblings": siblings, "usedStorage": copy.size_bytes}


def summary(copy: Copy) -> dict[str, Any]:
    when = datetime.fromtimestamp(copy.modified_at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return {
        "id": copy.repo,
        "modelId": copy.repo,
        "author": copy.repo.partition("/")[0],
        "sha": copy.commit,
        "lastModified": when,
        "private": False,
        "gated": False,
        "disabled": False,
        "tags": list(copy.tags),
    }


def tree(copy: Copy, folder: str, *, is_recursive: bool) -> list[dict[str, Any]]:
    """The files below a folder, or the files and folders in it. Raises NotHere."""
    root = f"{folder}/" if folder else ""
    below = [file for file in copy.files if file.path.startswith(root)]
    if folder and not below:
        raise NotHere.entry(copy.repo, folder, copy.commit)
    here = [file for file in below if is_recursive or "/" not in file.path[len(root) :]]
    deeper = (file.path[len(root) :].partition("/")[0] for file in below if file not in here)
    folders = [
        {"type": "directory", "path": root + name, "oid": _NO_OID, "size": 0}
        for name in dict.fromkeys(deeper)
    ]
    return [*folders, *map(_entry, here)]


def entries(copy: Copy, paths: Iterable[str]) -> list[dict[str, Any]]:
    """Those of the files that are named; what is no file of it is left out."""
    by_path = {file.path: file for file in copy.files}
    return [_entry(by_path[path]) for path in paths if path in by_path]


def refs(commits: Mapping[str, str]) -> dict[str, Any]:
    """`commits` by name."""
    pulled = {name for name in commits if name.startswith(_PULL_REQUEST)}
    return {
        "branches": [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
            for name, commit in commits.items()
            if name not in pulled
        ],
        "converts": [],
        "tags": [],
        "pullRequests": [
            {"name": name, "ref": name, "targetCommit": commits[name]} for name in sorted(pulled)
        ],
    }


def manifest(copy: Copy, label: str | None) -> dict[str, Any]:
    """The model for a label, and its projector. Raises ModelNotFound, BadRequest."""
    listing = group_files(copy.files)
    first = choose_files(listing, label.upper() if label else None).files[0]
    named = {"ggufFile": first, "mmprojFile": listing.projector(first.path)}
    return {
        key: {"rfilename": file.path, "size": file.size_bytes, "blobId": _oid(file)}
        for key, file in named.items()
        if file
    }


def _entry(file: RepoFile) -> dict[str, Any]:
    entry = {"type": "file", "path": file.path, "size": file.size_bytes, "oid": _oid(file)}
    return entry | ({"lfs": _lfs(file, "oid")} if file.sha256 else {})


def _lfs(file: RepoFile, digest_field: str) -> dict[str, Any]:
    return {
        digest_field: file.sha256,
        "size": file.size_bytes,
        "pointerSize": len(_pointer(file)),
    }


def _oid(file: RepoFile) -> str:
    if file.sha256 is None:
        return file.git_oid or _NO_OID
    pointer = _pointer(file)
    return hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest()


def _pointer(file: RepoFile) -> bytes:
    lines = (
        "version https://git-lfs.github.com/spec/v1",
        f"oid sha256:{file.sha256}",
        f"size {file.size_bytes}",
    )
    return "".join(f"{line}\n" for line in lines).encode()


def _is_gguf(file: RepoFile) -> bool:
    return file.path.lower().endswith(".gguf")


def sorted_by_name(copies: Iterable[Copy]) -> Sequence[Copy]:
    return sorted(copies, key=lambda copy: copy.repo.casefold())
