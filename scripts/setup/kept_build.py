"""A compilation that goes on where it was broken off.

pip unpacks a source package into a new folder each time, and its objects go with that folder. Here
the sources and what was compiled of them stay until there is a wheel: ninja computes what is left,
and makes again what it was at when it was killed.

A wheel is for one requirement, one set of switches and one kind of machine: who moves on to the
next never asks for it again. So the few that were used last stay.
"""

import contextlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from edgellm.models.fetching.lock import locked

_PIP = (sys.executable, "-m", "pip")
_N_KEPT = 3
_PLAINLY = ("-v", "--no-deps", "--no-cache-dir", "--disable-pip-version-check")

Run = Callable[[str, tuple[str, ...]], bool]  # a title and a command; whether it succeeded


@dataclass(frozen=True, slots=True)
class KeptBuild:
    """`folder` is for one requirement, one set of switches and one kind of machine."""

    folder: Path
    requirement: str

    @property
    def wheel(self) -> Path | None:
        found = self.folder.glob("*.whl")
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    @property
    def lock(self) -> Path:
        """Held by whoever works in the folder."""
        return self.folder / "lock"

    @property
    def used_s(self) -> float | None:
        """When its wheel was installed last, or its making was begun, in Unix seconds. None: there
        is nothing here."""
        here = (path for path in self.folder.iterdir() if path != self.lock)
        return max((path.stat().st_mtime for path in here), default=None)

    @property
    def is_begun(self) -> bool:
        return self._objects.is_dir()

    def forget(self) -> None:
        """The wheel, which does not run here, and what may be left of its making."""
        for wheel in self.folder.glob("*.whl"):
            wheel.unlink()
            shutil.rmtree(self._objects, ignore_errors=True)

    def clear(self) -> None:
        """All but the lock, for which somebody may be waiting."""
        for path in self.folder.glob("*.whl"):
            path.unlink()
        for path in (self._objects, self._sources, self._unpacking):
            shutil.rmtree(path, ignore_errors=True)

    def make(self, download: Run, build: Run) -> Path | None:
        """The wheel; None: it failed, and what is here of it stays.

        Objects that an earlier try left may be of a system that has changed since: where it fails
        with them, it is tried without.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        source = self._unpacked() or self._fetched(download)
        if source is None:
            return None
        was_begun = self.is_begun
        done = self._built(source, build)
        if not done and was_begun:
            shutil.rmtree(self._objects, ignore_errors=True)
            done = self._built(source, build)
        if not done:
            return None
        for done_with in (self._objects, self._sources):
            shutil.rmtree(done_with, ignore_errors=True)
        return self.wheel

    @property
    def _objects(self) -> Path:
        return self.folder / "build"

    @property
    def _sources(self) -> Path:
        return self.folder / "source"

    @property
    def _unpacking(self) -> Path:
        return self.folder / "unpacking"

    def _unpacked(self) -> Path | None:
        return next((path for path in self._sources.glob("*") if path.is_dir()), None)

    def _fetched(self, download: Run) -> Path | None:
        """Whole, or not there: it is unpacked beside its place."""
        beside = self._unpacking
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        only = ("--no-binary", "llama-cpp-python", "--dest", str(beside))
        fetch = (*_PIP, "download", *_PLAINLY, *only, self.requirement)
        if not download("llama-cpp-python's sources", fetch):
            return None
        package = next(beside.glob("*.tar.gz"), None)
        if package is None:
            return None
        shutil.unpack_archive(package, beside)
        package.unlink()
        shutil.rmtree(self._objects, ignore_errors=True)  # of other sources
        beside.rename(self._sources)
        return self._unpacked()

    def _built(self, source: Path, build: Run) -> bool:
        kept = ("--config-settings", f"build-dir={self._objects}", "--wheel-dir", str(self.folder))
        return build("llama-cpp-python", (*_PIP, "wheel", *_PLAINLY, *kept, str(source)))


class _IsAtWork(Exception):
    """Somebody works in this folder."""


def keep_the_last_used(folder: Path, n: int = _N_KEPT) -> None:
    """Of all builds that are kept in it, and of those that somebody is working at."""
    builds = [KeptBuild(path, "") for path in folder.iterdir() if path.is_dir()]
    used = [(used_s, build) for build in builds if (used_s := build.used_s) is not None]
    for _, old in sorted(used, key=lambda row: row[0], reverse=True)[n:]:
        with contextlib.suppress(_IsAtWork, OSError), locked(old.lock, _give_up):
            old.clear()


def _give_up() -> NoReturn:
    raise _IsAtWork
