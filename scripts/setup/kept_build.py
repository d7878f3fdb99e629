"""A compilation that goes on where it was broken off.

pip unpacks a source package into a new folder each time, and its objects go with that folder. Here
the sources and what was compiled of them stay until there is a wheel: ninja computes what is left,
and makes again what it was at when it was killed.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PIP = (sys.executable, "-m", "pip")
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
    def is_begun(self) -> bool:
        return self._objects.is_dir()

    def forget(self) -> None:
        """The wheel, which does not run here, and what may be left of its making."""
        for wheel in self.folder.glob("*.whl"):
            wheel.unlink()
            shutil.rmtree(self._objects, ignore_errors=True)

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

    def _unpacked(self) -> Path | None:
        return next((path for path in self._sources.glob("*") if path.is_dir()), None)

    def _fetched(self, download: Run) -> Path | None:
        """Whole, or not there: it is unpacked beside its place."""
        beside = self.folder / "unpacking"
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
