"""What goes into a pack's wheels/: llama.cpps, and everything that edgellm needs beside."""

import re
import shutil
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.setup import closure, cuda_runtime, libraries
from scripts.setup.engine import Engine
from scripts.setup.packed import FOLDER, Pack, PackedEngine
from scripts.setup.target import Target, Version, platform_of
from scripts.setup.wheels import cpu_flags, kind_of

_PIP = (sys.executable, "-m", "pip", "download", "--disable-pip-version-check")
_GLIBC = re.compile(rb"GLIBC_(\d+)\.(\d+)")
# What hatchling asks for when a checkout is installed in place, and scikit-build-core where the
# system has none: they say so only when they are asked.
_IN_PLACE = "editables"
_BUILDERS = ("cmake>=3.21", "ninja")
_OPENMP = "libgomp.so.1"  # a compiler brings it, and a machine without one may lack it
_MOST_ROUNDS = 9


class Unpackable(Exception):
    """What can't be packed, and why."""


@dataclass(frozen=True, slots=True)
class Packing:
    root: Path  # the pack's
    engine: Engine  # how this machine gets a llama.cpp
    target: Target
    with_source: bool
    for_tests: bool

    @property
    def _wheels(self) -> Path:
        return self.root / FOLDER

    def fill(self, tags: tuple[str, ...]) -> Pack:
        """`tags`: upstream's names, the CPU's last. Raises Unpackable."""
        self._wheels.mkdir(parents=True, exist_ok=True)
        source = self._source() if self.with_source else None
        engines = []
        for tag in tags:
            answer = self._engine(tag)
            if isinstance(answer, PackedEngine):
                engines.append(answer)
            elif self.with_source or (engines and tag == tags[-1]):
                self.engine.painter.say(f"  {answer}")
            else:
                raise Unpackable(answer)
        self._dependencies(engines, source)
        return Pack(self._wheels, self.target, tuple(engines), source is not None, self.for_tests)

    # ── llama.cpp ────────────────────────────────────────────────────────────

    def _engine(self, tag: str) -> PackedEngine | str:
        """Upstream's wheel, or one that is compiled here; else a clause."""
        folder = self._wheels / "engine" / tag
        folder.mkdir(parents=True, exist_ok=True)
        if (why := self._upstream(tag, folder)) is None:
            return self._described(tag, folder, "upstream's", cpu_flags(tag, self.target.platform))
        if kind_of(tag) != "cpu" or platform_of(self.engine.machine) != self.target.platform:
            return f"{why}; --with-source packs its sources instead"
        self.engine.painter.say(f"  {why}")
        made = self.engine.portable()
        if isinstance(made, str):
            return f"{why}; {made}"
        shutil.copy(made, folder)
        if place := libraries.place_of(_OPENMP):
            shutil.copy(place, folder / _OPENMP)
        return self._described(tag, folder, "compiled, with a variant for each CPU", ())

    def _upstream(self, tag: str, folder: Path) -> str | None:
        if self.engine.cmake_args:
            return "CMAKE_ARGS is set"
        if self.engine.index_base is None:
            return "EDGELLM_WHEEL_INDEX=none"
        if problem := self.engine.why_silent(tag):
            return f"no prebuilt wheel for {tag}: {problem}"
        index = ("--index-url", f"{self.engine.index_base}/{tag}", "--no-deps")
        wanted = (*index, *self.target.tags(self.target.pythons[0]), self.engine.requirement)
        if self._download(f"llama-cpp-python for {tag}", folder, wanted):
            return None
        return f"{self.engine.index_base}/{tag} has no wheel for {self.target.platform}"

    def _described(self, tag: str, folder: Path, made: str, flags: tuple[str, ...]) -> PackedEngine:
        wheel = max(folder.glob("*.whl"), key=lambda path: path.stat().st_mtime)
        names = [path.relative_to(self._wheels).as_posix() for path in folder.glob("*.so*")]
        glibc = glibc_of(wheel) if self.target.is_linux else None
        return PackedEngine(
            tag, wheel.relative_to(self._wheels).as_posix(), made, glibc, flags, tuple(names)
        )

    def _source(self) -> Path:
        """Raises Unpackable."""
        only = ("--no-deps", "--no-binary", "llama-cpp-python", self.engine.requirement)
        if not self._download("llama-cpp-python's sources", self._wheels, only):
            raise Unpackable(f"llama-cpp-python's sources can't be had, see {self.engine.log}")
        found = self._wheels.glob("llama_cpp_python-*.tar.gz")
        return max(found, key=lambda path: path.stat().st_mtime)

    # ── all else ─────────────────────────────────────────────────────────────

    def _dependencies(self, engines: list[PackedEngine], source: Path | None) -> None:
        """For each Python, until nothing is missing. Raises Unpackable."""
        wanted = [*self._wanted(), *self._of_llama(engines, source)]
        for engine in engines:
            if kind_of(engine.tag) == "cuda":
                wanted += cuda_runtime.packages(engine.tag)
        for python in self.target.pythons:
            lacking = tuple(wanted)
            for _ in range(_MOST_ROUNDS):
                title = f"wheels for Python {python} on {self.target.platform}"
                if not self._download(title, self._wheels, (*self.target.tags(python), *lacking)):
                    raise Unpackable(f"not all {title} can be had, see {self.engine.log}")
                lacking = closure.missing(self._wheels, wanted, self.target.markers(python))
                if not lacking:
                    break
            else:
                raise Unpackable(f"of the {title}, these are missing: {', '.join(lacking)}")

    def _wanted(self) -> list[str]:
        """Of the project, llama-cpp-python aside."""
        with (self.root / "pyproject.toml").open("rb") as file:
            told: dict[str, Any] = tomllib.load(file)
        project = told["project"]
        more = project["optional-dependencies"]["dev"] if self.for_tests else []
        ours = [line for line in project["dependencies"] if line != self.engine.requirement]
        return [*ours, *more, *told["build-system"]["requires"], _IN_PLACE, "pip"]

    def _of_llama(self, engines: list[PackedEngine], source: Path | None) -> list[str]:
        """What the wheels want to run, and the sources to be compiled."""
        wanted = [line for e in engines for line in closure.required_by(self._wheels / e.wheel)]
        if source:
            metadata, project = (_member(source, name) for name in ("PKG-INFO", "pyproject.toml"))
            wanted += closure.requirements_of(metadata)
            wanted += [*tomllib.loads(project)["build-system"]["requires"], *_BUILDERS]
        return sorted({line for line in wanted if "extra ==" not in line})

    def _download(self, title: str, folder: Path, arguments: tuple[str, ...]) -> bool:
        argv = (*_PIP, "--dest", str(folder), *arguments)
        return self.engine.run(f"downloading {title}", argv)


def _member(archive: Path, name: str) -> str:
    """A file of a source package's top folder."""
    with tarfile.open(archive) as opened:
        file = opened.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{name}")
        assert file, name
        return file.read().decode("utf-8", "replace")


def glibc_of(wheel: Path) -> Version | None:
    """The newest glibc that its libraries have symbols of: they name it, "GLIBC_2.34"."""
    with zipfile.ZipFile(wheel) as opened:
        found = [
            (int(major), int(minor))
            for name in opened.namelist()
            if ".so" in name
            for major, minor in _GLIBC.findall(opened.read(name))
        ]
    return max(found, default=None)
