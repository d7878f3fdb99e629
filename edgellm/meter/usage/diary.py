"""Counts of use on this disk: a small file for each day.

Several servers of one user write the same file, so each adds what is new to what is there, while it
holds a lock. A file that can't be read is set aside, not overwritten. As many days are kept as were
asked for, counted by files: a clock that jumps years ahead for a moment must not remove them all.
"""

import fcntl
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import platformdirs

from edgellm.errors import StorageError
from edgellm.files import write_durably
from edgellm.meter.usage.counts import Day

_SUFFIX: Final = ".json"
_ASIDE: Final = ".unreadable"
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PATIENCE_S, _LOOK_AGAIN_S = 5.0, 0.05  # for the lock: who holds it may have been stopped
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_MOST_BYTES: Final = 16 << 20  # 256 keys and a hundred models are a quarter of it


class Diary:
    """`complaint` says what was wrong with a file, when something was."""

    def __init__(self, folder: Path, n_days: int) -> None:
        self._folder, self.n_days = folder, n_days
        self.complaint: str | None = None

    def add(self, day: str, new: Day) -> Day:
        """What the day has come to, with `new`. Raises OSError: then nothing was added."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            whole = self._read_or_set_aside(day)
            whole.add(new)
            write_durably(self._path(day), msgspec.json.encode(whole))
            with suppress(OSError):  # what can't go now goes another day
                others = [one for one in self.days() if one != day]
                for old in others[: max(0, len(others) + 1 - self.n_days)]:
                    self._path(old).unlink(missing_ok=True)
        return whole

    def read(self, day: str) -> Day:
        """Nothing of a file that can't be read. Raises OSError."""
        try:
            return self._read(day)
        except _UNREADABLE:
            return Day()

    def days(self) -> list[str]:
        """Those that are kept, the oldest first. Raises OSError."""
        try:
            files = [path for path in self._folder.iterdir() if path.suffix == _SUFFIX]
        except FileNotFoundError:
            return []
        return sorted(path.stem for path in files if _DAY.fullmatch(path.stem))

    def between(self, since: str, until: str) -> dict[str, Day]:
        """Both days are in it. Raises StorageError."""
        try:
            return {day: self.read(day) for day in self.days() if since <= day <= until}
        except OSError as error:
            raise StorageError(f"who has used what can't be read: {error}") from error

    def _read(self, day: str) -> Day:
        """Raises OSError, and what is _UNREADABLE."""
        try:
            with self._path(day).open("rb") as file:
                return msgspec.json.decode(file.read(_MOST_BYTES), type=Day)
        except FileNotFoundError:
            return Day()

    def _read_or_set_aside(self, day: str) -> Day:
        """By who holds the lock: another may have written it anew meanwhile. Raises OSError."""
        path = self._path(day)
        try:
            return self._read(day)
        except _UNREADABLE as error:
            path.replace(path.with_suffix(_ASIDE))
            self.complaint = f"{path} could not be read, and is {path.stem}{_ASIDE} now: {error}"
            return Day()

    def _path(self, day: str) -> Path:
        return self._folder / f"{day}{_SUFFIX}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / "lock").open("ab") as file:
            ends_s = time.monotonic() + _PATIENCE_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > ends_s:
                        words = "another server holds the lock"
                        raise BlockingIOError(error.errno, words, file.name) from error
                    time.sleep(_LOOK_AGAIN_S)
            yield


def users_diary(n_days: int) -> Diary:
    return Diary(platformdirs.user_state_path("edgellm") / "usage", n_days)
