"""What was typed at the prompt before, for the arrow keys: a file that only this user can read.

Each line is written when it was typed, as a JSON string: a window that is closed loses none, two
conversations at a time don't lose each other's, and a question may have line ends of its own.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgellm.files import write_whole

MOST_LINES = 1000


class History:
    """A file that can't be read or written is a history that isn't kept: nobody asked for one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: str | None = None

    def lines(self) -> list[str]:
        """The oldest first. The file is cut to as many when it has grown to twice that."""
        try:
            kept = self._path.read_bytes().splitlines()
        except OSError:
            return []
        if len(kept) > 2 * MOST_LINES:
            with contextlib.suppress(OSError):
                write_whole(self._path, b"".join(line + b"\n" for line in kept[-MOST_LINES:]))
        lines = []
        for line in kept[-MOST_LINES:]:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                lines.append(msgspec.json.decode(line, type=str))
        self._last = lines[-1] if lines else None
        return lines

    def add(self, line: str) -> None:
        """Not what is blank, and not the same again."""
        if not line.strip() or line == self._last:
            return
        self._last = line
        with contextlib.suppress(OSError, UnicodeEncodeError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            written = msgspec.json.encode(line) + b"\n"
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(file, "wb") as out:
                os.fchmod(file, 0o600)  # whoever made it
                out.write(written)

    def noting(self, read: Callable[[str], str]) -> Callable[[str], str]:
        """`read`, and what it returns is kept."""

        def read_and_note(prompt: str) -> str:
            line = read(prompt)
            self.add(line)
            return line

        return read_and_note


def users_history() -> History:
    import platformdirs

    return History(platformdirs.user_state_path("edgellm") / "history")
