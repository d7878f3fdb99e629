"""Which servers run here: a small file of each in the user's runtime folder.

A file says where its server listens, by which certificate, and whose process that is, never a key.
One whose process is gone, or whose number is another process's by now, is stale: it is ignored and
removed. One that can't be read may be another version's: it is ignored, and stays while the process
lives that it is named after. A server that winds up says so before it closes its port, which may be
anybody's from then on.
"""

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from edgellm import status
from edgellm.cli.serving.process_identity import identity_of
from edgellm.files import write_whole

_LOGINS = Path("/run/user")


class Running(msgspec.Struct, frozen=True, kw_only=True):
    url: str  # http://host:port, https://host:port or unix:///path
    pid: int
    identity: str  # with the pid it names one process
    listening_since_s: float
    certificate: str | None = None  # the one that it shows, in PEM's form; None: it speaks no TLS
    is_stopping: bool = False  # its models are being unloaded, and its URL is not its own any more


def folders(logins: Path = _LOGINS) -> tuple[Path, ...]:
    """Where a server's file is written and looked for: in each of them, under one name.

    The login's folder comes and goes with the login. A server may begin before it, at boot, or go
    on after it, and is found by its file in the temporary folder. An XDG_RUNTIME_DIR of somebody's
    own choice is a place apart.
    """
    user, chosen = os.getuid(), os.environ.get("XDG_RUNTIME_DIR")
    login = logins / str(user)
    if chosen and Path(chosen) != login and os.access(chosen, os.W_OK):
        return (Path(chosen) / "edgellm",)
    temporary = Path(tempfile.gettempdir()) / f"edgellm-{user}"
    return (login / "edgellm", temporary) if os.access(login, os.W_OK) else (temporary,)


def running() -> tuple[Running, ...]:
    """Those that listen, the newest first."""
    return tuple(server for server in alive() if not server.is_stopping)


def alive(places: Sequence[Path] | None = None) -> tuple[Running, ...]:
    """Those that have not ended yet, the newest first. `places`: instead of `folders()`."""
    found = dict[str, Running]()
    for place in folders() if places is None else places:
        with contextlib.suppress(OSError):
            for path in place.glob("*.json") if _is_ours(place) else ():
                if server := _living(path):
                    found[path.name] = server
    return tuple(sorted(found.values(), key=lambda server: -server.listening_since_s))


class Announcement:
    """A server's own word, as long as its `with` block lasts. Others find it from `listening` to
    `stopping`. A folder that can't be written costs only that. `places`: instead of `folders()`.
    """

    def __init__(self, places: Sequence[Path] | None = None) -> None:
        self._places = folders() if places is None else places
        self._server: Running | None = None
        self._paths: list[Path] = []

    def listening(self, url: str, now_s: float, certificate: str | None = None) -> None:
        """`now_s` is Unix time, `certificate` in PEM's form."""
        pid = os.getpid()
        try:
            identity = identity_of(pid)
        except OSError:  # nor could others tell that it lives
            return
        if not identity:
            return
        self._server = Running(
            url=url, pid=pid, identity=identity, listening_since_s=now_s, certificate=certificate
        )
        name = f"{pid}-{secrets.token_hex(4)}.json"  # one process may serve twice: the library can
        for place in self._places:
            with contextlib.suppress(OSError):
                _make(place)
                write_whole(place / name, msgspec.json.encode(self._server))
                self._paths.append(place / name)

    def shows(self, certificate: str) -> None:
        """From now on, in PEM's form."""
        self._rewrite(certificate=certificate)

    def stopping(self) -> None:
        """To be said before the port is closed. Where it can't be, there is no file any more."""
        self._rewrite(is_stopping=True)

    def _rewrite(self, **changes: object) -> None:
        if not self._server:
            return
        self._server = msgspec.structs.replace(self._server, **changes)
        word = msgspec.json.encode(self._server)
        for path in self._paths:
            try:
                write_whole(path, word)
            except OSError:
                _remove(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._paths:
            _remove(path)


def _make(place: Path) -> None:
    """For this user only: who can write here could send our prompts to a server of his own."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(place):
        raise PermissionError(f"{place} belongs to somebody else")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _is_ours(place: Path) -> bool:
    found = place.lstat()
    is_private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and is_private


def _living(path: Path) -> Running | None:
    """The server whose file this is. Without one to be read, its name tells whose it is."""
    server = _read(path)
    with contextlib.suppress(OSError, ValueError):  # whose it is can't be known: it stays
        identity = identity_of(server.pid if server else int(path.name.partition("-")[0]))
        if server and identity == server.identity:
            return server
        if server or identity is None:
            _remove(path)
    return None


def _read(path: Path) -> Running | None:
    try:
        return status.read(_decoder, path.read_bytes())
    except (OSError, status.Unreadable):
        return None


_decoder = msgspec.json.Decoder(Running)
