"""A model hub on loopback that speaks what huggingface-hub's client asks for, and can misbehave.

    with HubServer() as hub:
        hub.add("org/repo", "m-Q8_0.gguf", data)
        hub.faults.append(Cut(after_bytes=1000))      # for the next request to the CDN
        HuggingFaceHub(endpoint=hub.endpoint)

The hub answers on 127.0.0.1 and redirects to its CDN on localhost: two hosts, as in the world.
"""

import contextlib
import functools
import hashlib
import json
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

CHUNK = 16 << 10


@dataclass(frozen=True)
class Cut:
    """The connection breaks after so many bytes of the body."""

    after_bytes: int


@dataclass(frozen=True)
class Stall:
    """Silence after so many bytes of the body."""

    after_bytes: int
    seconds: float = 30.0


@dataclass(frozen=True)
class Corrupt:
    """One byte of the file is another."""

    at_byte: int


@dataclass(frozen=True)
class Status:
    code: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"{}"  # of the API's answer


@dataclass(frozen=True)
class NoRanges:
    """Sends the whole file, whatever part is asked for."""


@dataclass(frozen=True)
class Part:
    """The part that was asked for with another status, or from so many bytes earlier."""

    status: int = 206
    early_bytes: int = 0


@dataclass(frozen=True)
class Instead:
    """Another answer in the file's place, of its own kind."""

    headers: tuple[tuple[str, str], ...]
    body: bytes = b"<html>Please log in</html>"


Fault = Cut | Stall | Corrupt | Status | NoRanges | Part | Instead


@dataclass(frozen=True)
class Request:
    method: str
    host: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class HubServer:
    token: str | None = None  # without it, every repository is hidden
    license: str = "apache-2.0"
    bytes_per_s: float | None = None
    faults: deque[Fault] = field(default_factory=deque)  # of the CDN, each for one request
    api_faults: deque[Status] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    sent_bytes: int = 0
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    plain_git: set[str] = field(default_factory=set)  # files that are no LFS files
    scheme_of_cdn: str = "http"

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        handler = type("Handler", (self.handler(),), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = False
        self._server.block_on_close = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # a client may keep it alive for ever
        self._server.server_close()
        self._thread.join()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return Handler

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, repo: str, path: str, data: bytes) -> str:
        """Returns the file's sha256."""
        self.repos.setdefault(repo, {})[path] = data
        return hashlib.sha256(data).hexdigest()

    def commit(self, repo: str) -> str:
        """Changes whenever a file does."""
        state = sorted((path, _sha256(data)) for path, data in self.repos[repo].items())
        return hashlib.sha1(json.dumps(state).encode()).hexdigest()

    def content(self, sha256: str) -> bytes | None:
        everything = (data for files in self.repos.values() for data in files.values())
        return next((data for data in everything if _sha256(data) == sha256), None)

    def wait(self, seconds: float) -> None:
        """Sleeps, but not beyond the server's end."""
        self._stopping.wait(seconds)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def setup(self) -> None:
        super().setup()
        self.hub._connections.add(self.connection)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):  # a client that has read enough hangs up
            super().handle()

    def finish(self) -> None:
        self.hub._connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """The tests look at `requests`."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        host = (self.headers.get("Host") or "").partition(":")[0]
        authorization = self.headers.get("Authorization")
        self.hub.requests.append(
            Request(self.command, host, path, self.headers.get("Range"), authorization)
        )
        try:
            if path.startswith("/cdn/"):
                self._cdn(path.removeprefix("/cdn/"))
            elif self.hub.api_faults:
                fault = self.hub.api_faults.popleft()
                self._send(fault.code, fault.body, dict(fault.headers))
            elif self.hub.token and authorization != f"Bearer {self.hub.token}":
                self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif path.startswith("/api/models/"):
                self._api(path.removeprefix("/api/models/"))
            else:
                self._resolve(path.removeprefix("/"))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _api(self, path: str) -> None:
        repo, _, rest = _split_repo(path)
        if repo not in self.hub.repos:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        kind, _, revision = rest.partition("/")
        commit = self.hub.commit(repo)
        if revision not in ("", "main", commit):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif kind == "tree":
            self._json([self._entry(repo, path) for path in self.hub.repos[repo]])
        else:
            siblings = [self._sibling(repo, path) for path in self.hub.repos[repo]]
            self._json(
                {
                    "id": repo,
                    "sha": commit,
                    "siblings": siblings,
                    "cardData": {"license": self.hub.license},
                    "tags": [],
                    "downloads": 0,
                }
            )

    def _entry(self, repo: str, path: str) -> dict[str, Any]:
        data = self.hub.repos[repo][path]
        entry: dict[str, Any] = {
            "type": "file",
            "path": path,
            "size": len(data),
            "oid": _git_oid(data),
        }
        if path not in self.hub.plain_git:
            entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
        return entry

    def _sibling(self, repo: str, path: str) -> dict[str, Any]:
        entry = self._entry(repo, path)
        sibling = {"rfilename": path, "size": entry["size"], "blobId": entry["oid"]}
        if "lfs" in entry:
            sibling["lfs"] = {
                "sha256": entry["lfs"]["oid"],
                "size": entry["size"],
                "pointerSize": 134,
            }
        return sibling

    def _resolve(self, path: str) -> None:
        repo, _, rest = _split_repo(path)
        _, _, rest = rest.partition("/")  # "resolve"
        _, _, file = rest.partition("/")  # the revision
        data = self.hub.repos.get(repo, {}).get(file)
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        sha256 = _sha256(data)
        self._send(
            302,
            b"",
            {
                "Location": f"{self.hub.scheme_of_cdn}://localhost:{self.hub.port}/cdn/{sha256}",
                "X-Repo-Commit": self.hub.commit(repo),
                "X-Linked-Size": str(len(data)),
                "X-Linked-Etag": f'"{sha256}"',
                "ETag": f'"{sha256}"',
            },
        )

    def _cdn(self, sha256: str) -> None:
        data, fault = self.hub.content(sha256), None
        if self.hub.faults:
            fault = self.hub.faults.popleft()
        if data is None:
            self._send(404, b"", {})
            return
        if isinstance(fault, Status):
            self._send(fault.code, b"", dict(fault.headers))
            return
        if isinstance(fault, Instead):
            self._send(200, fault.body, dict(fault.headers))
            return
        if isinstance(fault, Corrupt):
            at = fault.at_byte
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        start, end = 0, len(data)
        wanted = self.headers.get("Range")
        if wanted and not isinstance(fault, NoRanges):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) + 1 if last else len(data)
            end = min(end, len(data))
        status = 206 if wanted and not isinstance(fault, NoRanges) else 200
        if isinstance(fault, Part):
            status, start = fault.status, max(start - fault.early_bytes, 0)
        self.send_response(status)
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", f'"{sha256}"')
        if wanted and not isinstance(fault, NoRanges):
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            self._body(data[start:end], fault)

    def _body(self, data: bytes, fault: Fault | None) -> None:
        for at in range(0, len(data), CHUNK):
            chunk = data[at : at + CHUNK]
            if isinstance(fault, Cut | Stall) and at + len(chunk) > fault.after_bytes:
                self.wfile.write(chunk[: fault.after_bytes - at])
                self.wfile.flush()
                if isinstance(fault, Stall):
                    self.hub.wait(fault.seconds)
                self.close_connection = True
                return
            self.wfile.write(chunk)
            self.hub.sent_bytes += len(chunk)
            if self.hub.bytes_per_s:
                time.sleep(len(chunk) / self.hub.bytes_per_s)

    def _json(self, body: object) -> None:
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _split_repo(path: str) -> tuple[str, str, str]:
    parts = path.split("/")
    return "/".join(parts[:2]), "/", "/".join(parts[2:])


@functools.cache  # a repository of large files is asked about many times
def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
