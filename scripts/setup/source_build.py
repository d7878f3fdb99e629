"""Compiling llama.cpp here: what it takes, with which switches, and how many at a time."""

import os
import re
from dataclasses import dataclass

from edgellm.probe.sources import Output, Sources
from scripts.setup.machine import Machine, dotted
from scripts.setup.wheels import TITLES, Kind

_SWITCHES: dict[Kind, str] = {
    "cuda": "-DGGML_CUDA=on",
    "rocm": "-DGGML_HIP=on",
    "vulkan": "-DGGML_VULKAN=on",
    "metal": "-DGGML_METAL=on",
    "cpu": "",
}
_NO_RPC = "-DGGML_RPC=off"  # it computes what the network says
# For any CPU of its kind: each variant is a library, and ggml loads the best that runs. A native
# build ends with SIGILL elsewhere. They have to lie beside libggml, where upstream's rules don't
# put them.
PORTABLE = (
    "-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON "
    "-DCMAKE_INSTALL_BINDIR=llama_cpp/lib"
)
_COMPILERS: dict[Kind, tuple[str, tuple[str, ...]]] = {
    "cuda": ("nvcc", ("nvcc", "/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")),
    "rocm": ("hipcc", ("hipcc", "/opt/rocm/bin/hipcc")),
    "vulkan": ("glslc", ("glslc",)),
}
_CPU_CORE_MINUTES = 16.0  # measured: about 8 minutes on 2 cores, llama-cpp-python 0.3.36
_GIB_PER_JOB: dict[Kind, float] = {
    "cuda": 2.0,
    "rocm": 2.0,
    "vulkan": 1.0,
    "metal": 1.0,
    "cpu": 1.0,
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A tool that the build needs. `what` names it and what is wrong with it."""

    tool: str
    what: str


@dataclass(frozen=True, slots=True)
class Recipe:
    kind: Kind
    cmake_args: str
    tool_folder: str | None = None  # to put on the PATH: CUDA's is often not
    compilers: str = ""  # what they say of their versions, and their distribution's name


def recipe(machine: Machine, kind: Kind, sources: Sources, own_args: str = "") -> Recipe | Missing:
    """`own_args` is the person's CMAKE_ARGS: after ours, before what nobody may change."""
    compilers = _cpp(sources)
    if compilers is None:
        return Missing("c++", "no C++ compiler")
    folder, extra = None, ""
    if kind in _COMPILERS:
        tool, places = _COMPILERS[kind]
        found = _first_that_runs(places, sources)
        if found is None:
            return Missing(tool, f"no {tool}, the compiler for {TITLES[kind]}")
        compilers = f"{compilers}\n{found[1]}"
        folder = os.path.dirname(found[0]) or None  # noqa: PTH120 - "" means: on the PATH
        if kind == "cuda" and machine.nvidia:
            problem = _too_new(found[1], machine.nvidia.lowest)
            if problem:
                return Missing("nvcc of CUDA 12", problem)
            extra = _architectures(machine.nvidia.capabilities)
    parts = (_SWITCHES[kind], extra, own_args.strip(), _NO_RPC)
    return Recipe(kind, " ".join(part for part in parts if part), folder, compilers)


def _cpp(sources: Sources) -> str | None:
    """What it says of its version."""
    if sources.system == "Darwin" and _runs(("xcode-select", "-p"), sources) is None:
        return None  # /usr/bin/c++ is there always, and opens a dialogue
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    found = _first_that_runs(tuple(name for name in names if name), sources)
    return found[1] if found else None


def _first_that_runs(places: tuple[str, ...], sources: Sources) -> tuple[str, str] | None:
    """(the place, what it said of its version)"""
    for place in places:
        said = _runs((place, "--version"), sources)
        if said is not None:
            return place, said
    return None


def _runs(argv: tuple[str, ...], sources: Sources) -> str | None:
    answer = sources.run(argv, 20.0)
    return answer.text if isinstance(answer, Output) and answer.code == 0 else None


def _too_new(nvcc_said: str, lowest: tuple[int, int] | None) -> str | None:
    """CUDA 13 compiles for 7.5 and newer only."""
    told = re.search(r"release (\d+)\.(\d+)", nvcc_said)
    if not told or lowest is None or int(told[1]) < 13 or lowest >= (7, 5):
        return None
    return (
        f"the nvcc of CUDA {told[1]}.{told[2]} can't compile for compute capability "
        f"{dotted(lowest)}"
    )


def _architectures(capabilities: tuple[tuple[int, int], ...]) -> str:
    """Code for these cards only: a fraction of the time that all of them take."""
    if not capabilities:
        return ""
    listed = ";".join(f"{major}{minor}-real" for major, minor in dict.fromkeys(capabilities))
    return f"-DCMAKE_CUDA_ARCHITECTURES={listed}"


def n_jobs(kind: Kind, n_cores: int, memory_bytes: int | None) -> int:
    """As many compilers at a time as there are cores and memory for."""
    if memory_bytes is None:
        return n_cores
    return max(1, min(n_cores, int(memory_bytes / (_GIB_PER_JOB.get(kind, 1.0) * 2**30))))


def estimate(kind: Kind, jobs: int) -> str:
    minutes = max(1, round(_CPU_CORE_MINUTES / jobs))
    cores = f"{jobs} core{'s' if jobs > 1 else ''}"
    if kind in ("cpu", "metal"):
        return f"about {minutes} minute{'s' if minutes > 1 else ''} on {cores}"
    return f"several times the {minutes} min that a CPU build takes on {cores}"
