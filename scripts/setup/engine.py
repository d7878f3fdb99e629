"""llama-cpp-python into this environment: the one that is there, a packed wheel, upstream's wheel,
or a compilation.

Each way returns None when it is done, else one clause that says why it is not.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgellm.models.fetching.lock import locked
from edgellm.probe.sources import Output, Sources
from scripts.setup import cuda_runtime, libraries, room, wheels
from scripts.setup.kept_build import KeptBuild, keep_the_last_used
from scripts.setup.machine import Machine
from scripts.setup.packages import how_to_get
from scripts.setup.packed import Pack
from scripts.setup.progress import Painter, Watch, run
from scripts.setup.source_build import PORTABLE, Missing, Recipe, estimate, n_jobs, recipe
from scripts.setup.wheels import TITLES, Kind, NoWheel, kind_of

_PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check")
_PIP_CACHE = (sys.executable, "-m", "pip", "cache", "list", "llama_cpp_python")
_REGISTRIES: dict[Kind, str] = {
    "cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "metal": "MTL", "cpu": "CPU",
}  # fmt: skip
_REGISTRY_CHILD = (sys.executable, "-m", "edgellm.probe.registry_child")
_WHEEL_NETWORK = ("--timeout", "15", "--retries", "1")


@dataclass(slots=True)
class Engine:
    root: Path
    machine: Machine
    sources: Sources
    painter: Painter
    log: Path
    index_base: str | None  # None: "EDGELLM_WHEEL_INDEX=none"
    cmake_args: str = ""  # the person's own
    pack: Pack | None = None  # then nothing is taken from anywhere else
    was_ready_made: bool = field(default=False, init=False)  # what `compile` installed last
    _index_is_down: str | None = field(default=None)
    _lacked_memory: bool = field(default=False)  # what was run last

    @property
    def requirement(self) -> str:
        with (self.root / "pyproject.toml").open("rb") as file:
            listed: list[str] = tomllib.load(file)["project"]["dependencies"]
        return next(line for line in listed if line.startswith("llama-cpp-python"))

    @property
    def _version(self) -> str:
        """The one that we ask for, the oldest that will do."""
        bound = re.search(r"[=>]=([\d.]+)", self.requirement)
        assert bound, self.requirement
        return bound[1]

    # ── the one that is there ────────────────────────────────────────────────

    def present(self, kind: Kind) -> str | None:
        """A dry run that may not ask the network succeeds only when nothing is to be done. Isolated
        from pip's settings, by which sources in a folder would be good enough."""
        dry = ("--quiet", "--dry-run", "--no-deps", "--no-index", "--no-build-isolation")
        answer = self.sources.run((*_PIP, "--isolated", *dry, self.requirement), 60.0)
        if not isinstance(answer, Output) or answer.code != 0:
            return "llama-cpp-python is not installed"
        if self.cmake_args:
            return "CMAKE_ARGS is set"
        if _REGISTRIES[kind] not in self.registries():
            return f"the llama-cpp-python that is installed has no {_REGISTRIES[kind]} backend"
        return None

    def registries(self) -> tuple[str, ...]:
        answer = self.sources.run(_REGISTRY_CHILD, 60.0)
        if not isinstance(answer, Output) or answer.code != 0:
            return ()
        return tuple(json.loads(answer.text)["registries"])

    # ── a wheel that was packed ──────────────────────────────────────────────

    def packed(self, kind: Kind) -> str | None:
        if self.pack is None:
            return "nothing was packed"
        if self.cmake_args:
            return "CMAKE_ARGS is set"
        found = self.pack.engine(self.machine, kind)
        if isinstance(found, str):
            return found
        self.painter.say(f"llama-cpp-python: the wheel that was packed for {found.tag}")
        wheel = self.pack.folder / found.wheel
        if not self._pip(f"wheel for {found.tag}", ("--no-deps", "--force-reinstall", str(wheel))):
            return f"{wheel} can't be installed, see {self.log}"
        libraries.lay_beside(self.pack.folder / name for name in found.libraries)
        return None if self._has_cuda_runtime(found.tag) else "CUDA's libraries are missing"

    # ── a wheel ──────────────────────────────────────────────────────────────

    def wheel(self, kind: Kind) -> str | None:
        if self.cmake_args:
            return "CMAKE_ARGS is set"
        if self.index_base is None:
            return "EDGELLM_WHEEL_INDEX=none"
        choice = wheels.wheel(self.machine, kind)
        if isinstance(choice, NoWheel):
            return f"no prebuilt wheel: {choice.why}"
        if problem := self.why_silent(choice.tag):
            named = "" if choice.tag == kind else f" for {choice.tag}"
            return f"no prebuilt wheel{named}: {problem}"
        if not self._install_wheel(choice.tag):
            return f"{self.index_base}/{choice.tag} has no wheel of {self.requirement} that fits"
        return None

    def why_silent(self, tag: str) -> str | None:
        """An index that could not be reached is not asked twice."""
        if self._index_is_down:
            return self._index_is_down
        url = f"{self.index_base}/{tag}/llama-cpp-python/"
        silence = wheels.why_silent(url)
        if silence is None:
            return None
        if silence.reached:
            return f"{url}: {silence.message}"
        self._index_is_down = f"{self.index_base} can't be reached ({silence.message})"
        return self._index_is_down

    def _install_wheel(self, tag: str) -> bool:
        self.painter.say(f"llama-cpp-python: a prebuilt wheel from {self.index_base}/{tag}")
        only = ("--only-binary", "llama-cpp-python", "--no-deps", "--force-reinstall")
        index = ("--index-url", f"{self.index_base}/{tag}")
        if not self._pip(f"wheel for {tag}", (*only, *index, *_WHEEL_NETWORK, self.requirement)):
            return False
        return self._has_cuda_runtime(tag)

    def _has_cuda_runtime(self, tag: str) -> bool:
        if kind_of(tag) != "cuda" or not cuda_runtime.missing(tag):
            return True
        self.painter.say("llama-cpp-python: CUDA's runtime libraries, which the wheel leaves out")
        if not self._pip("CUDA's libraries", cuda_runtime.packages(tag)):
            return False
        return cuda_runtime.link() > 0

    # ── a compilation ────────────────────────────────────────────────────────

    def compile(self, kind: Kind) -> str | None:
        self.was_ready_made = False
        answer = recipe(self.machine, kind, self.sources, self.cmake_args)
        if isinstance(answer, Missing):
            return f"{answer.what}; get it: {how_to_get(answer.tool, self.sources)}"
        self.was_ready_made = self._kept(answer).wheel is not None
        # pip's cache knows a wheel by its version alone: a CPU build would pass for a CUDA one.
        is_plain = kind == "cpu" and not self.cmake_args
        if is_plain and not self.was_ready_made and self._install_ready_made(answer):
            self.was_ready_made = True
            return None
        return None if self._compile(answer) else self._why_not_compiled()

    def recompile(self, kind: Kind) -> str | None:
        """What was ready made does not run here: it was made on another machine."""
        answer = recipe(self.machine, kind, self.sources, self.cmake_args)
        if isinstance(answer, Missing):
            return f"{answer.what}; get it: {how_to_get(answer.tool, self.sources)}"
        return None if self._compile(answer, anew=True) else self._why_not_compiled()

    def _why_not_compiled(self) -> str:
        if not self._lacked_memory:
            return f"the compilation failed, see {self.log}"
        return (
            "the compilation failed for want of memory: CMAKE_BUILD_PARALLEL_LEVEL=1 scripts/run "
            f"goes on with one file at a time; see {self.log}"
        )

    def _install_ready_made(self, how: Recipe) -> bool:
        """A wheel that pip compiled before, or that its own settings lead to. By force: a build
        that was tried before and does not run would be good enough."""
        cached = self.sources.run(_PIP_CACHE, 60.0)
        again = ("--force-reinstall", "--no-deps")
        if isinstance(cached, Output) and f"llama_cpp_python-{self._version}-" in cached.text:
            this_one = f"llama-cpp-python=={self._version}"
            return self._pip("llama-cpp-python", ("-v", *again, this_one), how)
        only = ("--quiet", "--only-binary", "llama-cpp-python", *again, *_WHEEL_NETWORK)
        answer = self.sources.run((*_PIP, *only, self.requirement), 600.0)
        return isinstance(answer, Output) and answer.code == 0

    def _compile(self, how: Recipe, anew: bool = False) -> bool:
        """In a folder of our own, so that it can go on later, and a new environment need not
        compile again. Two set-ups compile one after the other: the second finds the wheel. None
        is taken away while it is installed."""
        kept = self._kept(how)
        with locked(kept.lock, self._waiter("another set-up compiles llama.cpp here")):
            if anew:
                kept.forget()
            wheel = self._kept_or_made(kept, how)
            if wheel is None:
                return False
            again = ("--no-deps", "--force-reinstall", str(wheel))
            return self._pip("llama-cpp-python", again)

    def portable(self) -> Path | str:
        """A wheel that runs on other CPUs, too, compiled here now or before; else one clause."""
        answer = recipe(self.machine, "cpu", self.sources, PORTABLE)
        if isinstance(answer, Missing):
            return f"{answer.what}; get it: {how_to_get(answer.tool, self.sources)}"
        kept = self._kept(answer)
        with locked(kept.lock, self._waiter("another set-up compiles llama.cpp here")):
            return self._kept_or_made(kept, answer) or self._why_not_compiled()

    def _kept_or_made(self, kept: KeptBuild, how: Recipe) -> Path | None:
        """The caller holds its lock."""
        wheel = kept.wheel or self._made(kept, how)
        if wheel is not None:
            with contextlib.suppress(OSError):  # whoever can't tidy up can install all the same
                wheel.touch()
                keep_the_last_used(kept.folder.parent)
        return wheel

    def _made(self, kept: KeptBuild, how: Recipe) -> Path | None:
        if kept.is_begun:
            self.painter.say("llama-cpp-python: its compilation was begun before, and goes on")
        return kept.make(
            lambda title, argv: self._run(title, argv, None),
            lambda title, argv: self._run(title, argv, how),
        )

    def _waiter(self, why: str) -> Callable[[], None]:
        said: list[str] = []

        def waits() -> None:
            if not said:
                self.painter.say(f"{why}; waiting for it")
                said.append(why)

        return waits

    def _kept(self, how: Recipe) -> KeptBuild:
        """By all that it depends on: a wheel for CUDA 12 has no libraries to run with under 13."""
        machine, flags = self.machine, " ".join(sorted(self.machine.cpu_flags))
        parts = (
            self.requirement,
            how.cmake_args,
            how.compilers,
            machine.libc,
            machine.architecture,
        )
        key = hashlib.sha256("\n".join((*parts, flags)).encode()).hexdigest()[:16]
        return KeptBuild(self._cache_folder(key), self.requirement)

    def _cache_folder(self, key: str) -> Path:
        """The user's, so that a new environment finds it; this environment's where a service has no
        home, or a read-only one."""
        try:
            own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            folder = Path(own) / "edgellm" / "wheels" / key
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
        except (OSError, RuntimeError):  # the latter: nobody knows where home is
            pass
        return self.root / ".venv" / "cache" / key

    # ── running pip ──────────────────────────────────────────────────────────

    def _pip(self, title: str, arguments: tuple[str, ...], how: Recipe | None = None) -> bool:
        return self._run(title, (*_PIP, *arguments), how)

    def run(self, title: str, argv: tuple[str, ...]) -> bool:
        """A command that takes a while, told about as all others. Whether it succeeded."""
        return run(argv, Watch(title), self.log, self.painter, dict(os.environ))

    def _run(self, title: str, argv: tuple[str, ...], how: Recipe | None) -> bool:
        env = dict(os.environ)
        announcement = ""
        if how:
            here = room.look(self.sources)
            jobs = n_jobs(how.kind, here.n_cores, here.free_bytes)
            env["CMAKE_ARGS"] = how.cmake_args
            env.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(jobs))
            if how.tool_folder:
                env["PATH"] = f"{how.tool_folder}{os.pathsep}{env.get('PATH', '')}"
            announcement = (
                f"compiling llama.cpp for {TITLES[how.kind]}, {estimate(how.kind, jobs)}; "
                f"log in {self.log}"
            )
        watch = Watch(f"installing {title}", announcement)
        done = run(argv, watch, self.log, self.painter, env)
        self._lacked_memory = watch.lacked_memory
        return done
