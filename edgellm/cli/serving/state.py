"""Which servers run here: one small file for each in the user's runtime folder.

A file says where its server listens and whose process that is, never a key. One whose process is
gone, or whose number is another process's by now, is stale: it is ignored and removed. One that
winds up says so before it closes its port, which may be anybody's from then on.
"""

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Self

import msgspec
import psutil

from edgellm.files import write_whole

_SAME_PROCESS_S = 2.0  # how exactly a process's start is told, twice


class Running(msgspec.Struct, frozen=True, kw_only=True):
    url: str  # http://host:port or unix:///path
    pid: int
    process_started_s: float  # Unix seconds; with the pid it names one process
    listening_since_s: float
    is_stopping: bool = False  # its models are being unloaded, and its URL is not its own any more


def folder() -> Path:
    """For this user only: who can write here could send our prompts to a server of his own."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if os.access(runtime, os.W_OK):
        return Path(runtime) / "edgellm"
    return Path(tempfile.gettempdir()) / f"edgellm-{os.getuid()}"


def running() -> tuple[Running, ...]:
    """Those that listen, the newest first."""
    return tuple(server for server in alive() if not server.is_stopping)


def stopping() -> tuple[Running, ...]:
    """Those that wind up, the newest first."""
    return tuple(server for server in alive() if server.is_stopping)


def alive() -> tuple[Running, ...]:
    """Those that have not ended yet, the newest first."""
    found = []
    place = folder()
    with contextlib.suppress(OSError):
        for path in place.glob("*.json") if _is_ours(place) else ():
            server = _read(path)
            if server and _is_alive(server):
                found.append(server)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
    return tuple(sorted(found, key=lambda server: -server.listening_since_s))


class Announcement:
    """A server's own file, as long as its `with` block lasts. Others find it from `listening` to
    `stopping`. A folder that can't be written costs only that."""

    def __init__(self) -> None:
        self._server: Running | None = None
        self._path: Path | None = None

    def listening(self, url: str, now_s: float) -> None:
        """`now_s` is Unix time."""
        process = psutil.Process()
        self._server = Running(
            url=url,
            pid=process.pid,
            process_started_s=process.create_time(),
            listening_since_s=now_s,
        )
        with contextlib.suppress(OSError):
            self._path = _new_path(self._server.pid)
            write_whole(self._path, msgspec.json.encode(self._server))

    def stopping(self) -> None:
        """To be said before the port is closed. Where it can't be, there is no file any more."""
        if not (self._server and self._path):
            return
        self._server = msgspec.structs.replace(self._server, is_stopping=True)
        try:
            write_whole(self._path, msgspec.json.encode(self._server))
        except OSError:
            self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        if self._path:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._path = None


def _new_path(pid: int) -> Path:
    """One process may serve twice (the library can), so the name is not the pid alone."""
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(place):
        raise PermissionError(f"{place} belongs to somebody else")
    return place / f"{pid}-{secrets.token_hex(4)}.json"


def _is_ours(place: Path) -> bool:
    found = place.lstat()
    is_private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and is_private


def _read(path: Path) -> Running | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None


def _is_alive(server: Running) -> bool:
    try:
        started_s = psutil.Process(server.pid).create_time()
    except psutil.Error:
        return False
    return bool(abs(started_s - server.process_started_s) < _SAME_PROCESS_S)
