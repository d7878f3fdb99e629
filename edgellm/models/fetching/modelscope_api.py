"""What ModelScope answers, as values and errors: JSON in, no network.

Each answer is an envelope, {"Code", "Message", "Success", "Data"}. A refusal may come with status
200, so its Code counts: 10010205001 no such repository; 10010200001 one that is not for this token;
10990101004 no files at that revision (GPUStack's operator, modelartifact: classifyModelScope, as
measured). An unknown revision is "Files": null, too (Neutree's downloader, test_model_scope.py).
A database that is out of statements says 10010205001 as well, with "Error 1461" in its Message.

Data of repo/files (modelscope, hub/snapshot_download.py; modelscope_hub, _legacy_api.py) lists
{"Path", "Type": "blob"|"tree", "Size", "Sha256", "Revision": the commit that changed it last}, at
most 3,000 of them, and {"LatestCommitter": {"Id": often "", "ShortId": 8 digits}}.
"""

import re
from typing import Annotated, Final, TypeVar

import msgspec

from edgellm.errors import EdgellmError, ModelNotFound, NetworkError, TransientError
from edgellm.harmless import plain
from edgellm.models.hubs import SITES
from edgellm.models.repo_files import RepoFile

MAX_FILES: Final = 3_000  # a list of so many has lost the others, and does not say so
_SITE: Final = SITES["modelscope"]
_FULL_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_MAX_QUOTED: Final = 200  # letters of what a hub says to an error
_DATABASE: Final = re.compile(r"\bError \d{4}\b")

T = TypeVar("T")


class _Code:
    OK = 200
    NO_ACCESS = 10010200001
    NO_REPO = 10010205001
    NO_REVISION = 10990101004


class _Words(msgspec.Struct, rename="pascal"):
    """Names as they are written there."""


class Envelope(_Words):
    code: int = _Code.OK
    message: str | None = None
    success: bool = True
    data: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def is_refusal(self) -> bool:
        return not self.success or self.code != _Code.OK


class File(_Words):
    path: str
    type: str = "blob"
    size: Annotated[int, msgspec.Meta(ge=0)] | None = None
    sha256: str | None = None
    revision: str | None = None


class _Committer(_Words):
    id: str | None = None
    short_id: str | None = None


class Tree(_Words):
    files: list[File] | None = None
    latest_committer: _Committer | None = None

    @property
    def short_commit(self) -> str:
        return (self.latest_committer and self.latest_committer.short_id) or ""

    @property
    def commit(self) -> str | None:
        """All 40 digits. None: the newest commit changed no file that is here, so none tells it."""
        latest = self.latest_committer
        if latest and latest.id and _FULL_COMMIT.fullmatch(latest.id):
            return latest.id
        told = (file.revision or "" for file in self.files or ())
        short = self.short_commit
        return next((one for one in told if short and is_full(one, short)), None)


class _Commit(_Words):
    id: str = ""


class Commits(_Words):
    commit: list[_Commit] | None = None


class About(_Words):
    license: str | None = None


def is_full(commit: str, short: str) -> bool:
    return bool(_FULL_COMMIT.fullmatch(commit)) and commit.startswith(short)


def envelope_in(body: bytes) -> Envelope | None:
    """None: these are not ModelScope's words."""
    try:
        found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(body, type=Envelope) if "Code" in found else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def data_in(envelope: Envelope, kind: type[T]) -> T | None:
    """None: not of this shape."""
    try:
        return msgspec.json.decode(envelope.data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def repo_file(file: File, url: str) -> RepoFile:
    """Raises NetworkError for a model that has no size."""
    if file.size is None and file.path.endswith(".gguf"):
        raise NetworkError(f"the hub states no size for {file.path}")
    sha256 = (file.sha256 or "").lower() or None
    return RepoFile(file.path, file.size or 0, sha256, url=url, hub="modelscope")


def refusal(envelope: Envelope, host: str, repo: str, revision: str) -> EdgellmError | None:
    """None: its status has to tell."""
    said = plain(envelope.message or "")[:_MAX_QUOTED]
    if _DATABASE.search(said):
        return TransientError(f"{host} is overloaded: {said}", hint="try again in a minute")
    match envelope.code:
        case _Code.NO_REPO:
            return no_repository(host, repo)
        case _Code.NO_ACCESS:
            return NetworkError(
                f"{host} does not open {repo} to everyone",
                hint=f"ask for access on its page, then set {_SITE.token_variable}",
            )
        case _Code.NO_REVISION:
            return no_revision(repo, revision)
        case code if code == _Code.OK or 400 <= code < 600:
            return None
    return NetworkError(f"{host} refuses {repo}: {said} (code {envelope.code})")


def no_repository(host: str, repo: str) -> ModelNotFound:
    return ModelNotFound(
        f"{host} has no {repo}, or not for everyone",
        hint="not all of Hugging Face's are there under the same name: look for it on "
        f"{_SITE.endpoint}/models, or ask Hugging Face: edgellm pull hf.co/{repo}; "
        f"a private one needs {_SITE.token_variable}",
    )


def no_revision(repo: str, revision: str) -> ModelNotFound:
    return ModelNotFound(f"{repo} has no revision {revision} on {_SITE.title}")
