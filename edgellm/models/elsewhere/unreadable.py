"""Folders and files that this user may not read, and the command that opens them.

A service has its store in a home folder of its own: Ollama's installer makes /usr/share/ollama for
a user of that name (scripts/install.sh), with mode 0700 or 0750, as the system's `useradd` has it.
"""

import os
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path

from edgellm.errors import StorageError
from edgellm.values import frozen

try:
    import grp
except ImportError:  # Windows has no such groups
    grp = None  # type: ignore[assignment]


@frozen
class Unreadable:
    """`hint`: the command that opens it."""

    title: str  # of the tool
    path: Path
    hint: str

    @property
    def error(self) -> StorageError:
        return StorageError(f"no permission to read {self.title}'s {self.path}", hint=self.hint)


def unreadable_at(title: str, path: Path) -> Unreadable | None:
    """The outermost unreadable folder on the way to `path`, or `path` itself. None where all can be
    read, or nothing is there."""
    for part in (*reversed(path.parents), path):
        try:
            mode = part.stat().st_mode
        except OSError:
            return None
        needed = os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK
        if not os.access(part, os.X_OK if part != path and stat.S_ISDIR(mode) else needed):
            return Unreadable(title, part, _remedy(part))
    return None


def unreadable_folders(title: str, folders: Iterable[Path]) -> tuple[Unreadable, ...]:
    """Each unreadable folder once: several of `folders` may lie in it."""
    found = (unreadable_at(title, folder) for folder in folders)
    return tuple({one.path: one for one in found if one}.values())


def _remedy(path: Path) -> str:
    """The command: to join its group, where that may read it; else to open it to everyone."""
    found = path.stat()
    is_folder = stat.S_ISDIR(found.st_mode)
    needed = stat.S_IRGRP | stat.S_IXGRP if is_folder else stat.S_IRGRP
    group = _group(found.st_gid) if found.st_mode & needed == needed else None
    if group:
        return f'sudo usermod -aG {group} "$USER", then log in again'
    return f"sudo chmod o+r{'x' * is_folder} {shlex.quote(str(path))}"


def _group(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name if grp else None
    except KeyError:
        return None
