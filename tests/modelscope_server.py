"""A stand-in for ModelScope on loopback: what its own tools ask, answered as it was seen to answer.

    with ModelScopeServer() as hub:
        hub.add("org/repo", "m-Q8_0.gguf", data)      # a commit of its own, as in git
        ModelScopeHub(endpoint=hub.endpoint)

Strict: what the real one doesn't know is refused. From where its answers are known:

    addresses, "Recursive", "Root"          modelscope_hub 0.5.1, _legacy_api.py, _list_files_page
    a file's address                        modelscope 1.40.2, hub/file_download.py
    Code, Message, Success, Data            GPUStack's operator, modelartifact, modelScopeEnvelope
    an unknown revision: "Files": null      Neutree's downloader, test_model_scope.py
    Id "", ShortId of 8, Revision a file    an MNN catalog's publisher, test_model_catalog.py
    a direct file: 200 with Content-Range   modelscope_hub issue 50, by curl
    a redirect to signed storage            modelscope_hub 0.5.1, _download.py
"""

import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hub_server import Handler, HubServer

NO_REPO, NO_ACCESS, NO_REVISION = 10010205001, 10010200001, 10990101004
_FILE_QUERY = {"Revision", "FilePath"}
_LIST_QUERY = {"Revision", "Recursive", "Root"}


@dataclass
class Commit:
    id: str
    files: dict[str, bytes]
    changed_by: dict[str, str]  # a path: the commit that changed it last


@dataclass
class ModelScopeServer(HubServer):
    history: dict[str, list[Commit]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)  # repositories that want the token
    direct: set[str] = field(default_factory=set)  # files that come without a redirect
    tells_full_id: bool = False

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _ModelScope

    def add(self, repo: str, path: str, data: bytes) -> str:
        self._commit(repo, path, data)
        return super().add(repo, path, data)

    def remove(self, repo: str, path: str) -> None:
        """A commit that changes no file that is left."""
        self._commit(repo, path, None)
        del self.repos[repo][path]

    def commit(self, repo: str) -> str:
        return self.history[repo][-1].id

    def content(self, sha256: str) -> bytes | None:
        """Of older commits, too."""
        commits = (commit for commits in self.history.values() for commit in commits)
        kept = (data for commit in commits for data in commit.files.values())
        return next((data for data in kept if hashlib.sha256(data).hexdigest() == sha256), None)

    def at(self, repo: str, revision: str) -> Commit | None:
        wanted = self.tags.get(revision, revision)
        commits = self.history.get(repo, [])
        if wanted == "master" and commits:
            return commits[-1]
        return next((one for one in commits if one.id == wanted), None)

    def _commit(self, repo: str, path: str, data: bytes | None) -> None:
        commits = self.history.setdefault(repo, [])
        files = dict(commits[-1].files) if commits else {}
        changed_by = dict(commits[-1].changed_by) if commits else {}
        named = f"{repo} {len(commits)} {path}".encode() + (data or b"")
        commit_id = hashlib.sha1(b"ModelScope's " + named).hexdigest()
        files.pop(path, None)
        changed_by.pop(path, None)
        if data is not None:
            files[path], changed_by[path] = data, commit_id
        commits.append(Commit(commit_id, files, changed_by))


class _ModelScope(Handler):
    hub: ModelScopeServer

    def _api(self, path: str) -> None:
        self._resolve(path)

    def _resolve(self, path: str) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        match path.split("/"):
            case ["api", "v1", "models", org, name, *what]:
                repo = f"{org}/{name}"
            case _:
                self._send(404, b"<html>404</html>", {"Content-Type": "text/html"})
                return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo not in self.hub.history:
            self._refuse(404, NO_REPO, "获取模型信息失败，信息：record not found")  # noqa: RUF001
        elif repo in self.hub.private and token != "ms-secret":
            self._refuse(404, NO_ACCESS, "no access")
        elif what == []:
            self._data({"License": self.hub.license, "Name": name, "Path": org})
        elif what == ["repo", "files"] and asked.keys() <= _LIST_QUERY:
            self._list(repo, asked)
        elif what == ["commits"] and asked.keys() == {"Ref", "PageSize"}:
            found = self.hub.at(repo, asked["Ref"])
            self._data({"Commit": [{"Id": found.id}] if found else None})
        elif what == ["repo"] and asked.keys() == _FILE_QUERY:
            self._file(repo, asked["Revision"], asked["FilePath"])
        else:
            self._refuse(404, 404, f"no such address: {self.path}")

    def _list(self, repo: str, asked: dict[str, str]) -> None:
        commit = self.hub.at(repo, asked.get("Revision", "master"))
        if commit is None:
            self._data({"Files": None, "IsVisual": 0, "LatestCommitter": None})
            return
        is_recursive = asked.get("Recursive") == "True"
        folders = {path.rpartition("/")[0] for path in commit.files} - {""}
        entries: list[dict[str, Any]] = [
            {"Path": one, "Name": one, "Type": "tree", "Size": 0, "Sha256": "", "IsLFS": False}
            for one in sorted(folders)
        ]
        for path, data in sorted(commit.files.items()):
            if is_recursive or "/" not in path:
                entries.append(self._file_entry(commit, path, data))
        latest = {"Id": commit.id if self.hub.tells_full_id else "", "ShortId": commit.id[:8]}
        self._data({"Files": entries[:3000], "IsVisual": 0, "LatestCommitter": latest})

    def _file_entry(self, commit: Commit, path: str, data: bytes) -> dict[str, Any]:
        return {
            "Path": path,
            "Name": path.rpartition("/")[2],
            "Type": "blob",
            "Size": len(data),
            "Sha256": hashlib.sha256(data).hexdigest(),
            "IsLFS": path not in self.hub.direct,
            "Revision": commit.changed_by[path],
        }

    def _file(self, repo: str, revision: str, path: str) -> None:
        commit = self.hub.at(repo, revision)
        if commit is None or path not in commit.files:
            self._refuse(404, NO_REVISION, "no file tree")
            return
        data = commit.files[path]
        sha256 = hashlib.sha256(data).hexdigest()
        if path in self.hub.direct:
            self._direct(data)
            return
        address = f"{self.hub.scheme_of_cdn}://localhost:{self.hub.port}/cdn/{sha256}"
        self._send(302, b"", {"Location": f"{address}?Expires=1&Signature=a%2Fb%2B"})

    def _direct(self, data: bytes) -> None:
        """The part that was asked for, and status 200 all the same."""
        said = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else len(data), len(data))
            said["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            data = data[start:end]
        self._send(200, data, said)

    def _cdn(self, sha256: str) -> None:
        """Storage takes a signature or a header, never both, and no signature that was changed."""
        if self.headers.get("Authorization") or not self.path.endswith("Signature=a%2Fb%2B"):
            self._send(400, b"<Code>InvalidArgument</Code>", {"Content-Type": "application/xml"})
            return
        super()._cdn(sha256)

    def _data(self, data: object) -> None:
        self._json({"Code": 200, "Data": data, "Message": "success", "Success": True})

    def _refuse(self, status: int, code: int, message: str) -> None:
        body = {"Code": code, "Message": message, "RequestId": "0", "Success": False}
        self._send(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
