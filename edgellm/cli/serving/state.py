"""Which servers run here: one small file for each in the user's runtime folder.

A file says where its server listens and whose process that is, never a key. One whose process is
gone, or whose number is another process's by now, is stale: it is ignored and removed.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

_SAME_PROCESS_S = 2.0  # how exactly a process's start is told, twice


class Running(msgspec.Struct, frozen=True, kw_only=True):
    url: str  # http://host:port or unix:///path
    pid: int
    process_started_s: float  # Unix seconds; with the pid it names one process
    listening_since_s: float


def folder() -> Path:
    """For this user only: who can write here could send our prompts to a server of his own."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if os.access(runtime, os.W_OK):
        return Path(runtime) / "edgellm"
    return Path(tempfile.gettempdir()) / f"edgellm-{os.getuid()}"


def running() -> tuple[Running, ...]:
    """The newest first."""
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


@contextlib.contextmanager
def announced(url: str, now_s: float) -> Iterator[None]:
    """Others find the server while this lasts. A folder that can't be written costs only that."""
    pid = os.getpid()
    server = Running(
        url=url,
        pid=pid,
        process_started_s=psutil.Process(pid).create_time(),
        listening_since_s=now_s,
    )
    path: Path | None = None
    with contextlib.suppress(OSError):
        path = _write(server)
    try:
        yield
    finally:
        if path:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _write(server: Running) -> Path:
    """One process may serve twice (the library can), so the name is not the pid alone."""
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(place):
        raise PermissionError(f"{place} belongs to somebody else")
    handle, name = tempfile.mkstemp(dir=place, prefix=f"{server.pid}-", suffix=".new")
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(server))
    path = Path(name).with_suffix(".json")
    Path(name).replace(path)
    return path


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
