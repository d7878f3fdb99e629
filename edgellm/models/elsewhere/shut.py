"""What keeps this user out of a folder or a file of another's, and what would let him in.

A service has its store in a home of its own: Ollama's installer makes /usr/share/ollama for a user
of that name (scripts/install.sh), and `useradd` gives it 0700 or 0750, as the system has it.
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
class Shut:
    """`hint`: the command that opens it."""

    title: str  # of the tool
    path: Path
    hint: str

    @property
    def error(self) -> StorageError:
        return StorageError(f"no permission to read {self.title}'s {self.path}", hint=self.hint)


def shut_at(title: str, path: Path) -> Shut | None:
    """The outermost of its folders, or itself, that this user may not read; None: none is, or there
    is nothing at all."""
    for part in (*reversed(path.parents), path):
        try:
            mode = part.stat().st_mode
        except OSError:
            return None
        needed = os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK
        if not os.access(part, os.X_OK if part != path and stat.S_ISDIR(mode) else needed):
            return Shut(title, part, _way_in(part))
    return None


def shut_of(title: str, folders: Iterable[Path]) -> tuple[Shut, ...]:
    """Each once: several stores may lie behind one door."""
    found = (shut_at(title, folder) for folder in folders)
    return tuple({one.path: one for one in found if one}.values())


def _way_in(path: Path) -> str:
    """Through its group, where that may read it; else the door has to be opened."""
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
