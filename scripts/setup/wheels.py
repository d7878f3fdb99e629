"""Which prebuilt llama-cpp-python suits this machine, and whether its index answers.

Upstream publishes one index a backend, BASE/TAG/llama-cpp-python/. What follows is read off the
workflows that build them (.github/workflows/build-wheels-*.yaml, generate-index-from-release.yaml
in the source package of llama-cpp-python 0.3.36):

    cpu            Linux x86-64 (AVX2, FMA, F16C, BMI2 compiled in), Linux arm64, macOS arm64
    cu118          Linux x86-64, compute capability 6.0 – 8.9
    cu121 … cu125  Linux x86-64, 6.0 – 9.0, newer cards by PTX
    cu130, cu132   Linux x86-64, 7.5 – 9.0, newer cards by PTX
    rocm72         Linux x86-64, the targets below
    vulkan         Linux x86-64, the same CPU instructions as cpu
    metal          macOS arm64

All are py3-none wheels: the Python version doesn't matter.
"""

import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Literal

from scripts.setup.machine import Amd, Machine, Nvidia, dotted

Kind = Literal["cuda", "rocm", "vulkan", "metal", "cpu"]
TITLES: dict[Kind, str] = {
    "cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "metal": "Metal", "cpu": "the CPU",
}  # fmt: skip

UPSTREAM = "https://abetlen.github.io/llama-cpp-python/whl"
LIMIT_S = 5.0

_CUDA_TAGS = ("cu132", "cu130", "cu125", "cu124", "cu123", "cu122", "cu121", "cu118")
TAGS: tuple[str, ...] = (*_CUDA_TAGS, "rocm72", "vulkan", "metal", "cpu")  # the best first
_ROCM_TARGETS = frozenset(
    (
        "gfx908", "gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1101", "gfx1102", "gfx1150",
        "gfx1151", "gfx1200", "gfx1201",
    )
)  # fmt: skip
_WHEEL_CPU_FLAGS = frozenset(("avx2", "fma", "f16c", "bmi2"))


@dataclass(frozen=True, slots=True)
class Wheel:
    tag: str


@dataclass(frozen=True, slots=True)
class NoWheel:
    """`why` goes on after "no prebuilt wheel: "."""

    why: str


def kinds(machine: Machine) -> tuple[Kind, ...]:
    """The backends that could drive this machine, the best first, the CPU last."""
    found: list[Kind] = []
    if machine.system == "Darwin":
        found.append("metal")  # llama-cpp-python builds it on every Mac, wanted or not
    if machine.nvidia:
        found.append("cuda")
    if machine.amd:
        found.append("rocm")
    if machine.has_vulkan_loader and (machine.gpu_vendors or machine.nvidia):
        found.append("vulkan")
    return (*found, "cpu")


def wheel(machine: Machine, kind: Kind) -> Wheel | NoWheel:
    """The one for a backend that `kinds` named."""
    on_arm = machine.architecture in ("arm64", "aarch64")
    if (kind == "cpu" and on_arm) or (kind == "metal" and machine.architecture == "arm64"):
        return Wheel(kind)
    if not machine.is_linux_x86:
        return NoWheel(f"none is published for {machine.system} {machine.architecture}")
    if kind == "cuda" and machine.nvidia:
        return _cuda(machine.nvidia)
    if kind == "rocm" and machine.amd:
        return _rocm(machine.amd)
    if lacking := [
        flag for flag in cpu_flags(kind, "linux-x86_64") if flag not in machine.cpu_flags
    ]:
        return NoWheel(f"upstream's need a CPU with {', '.join(lacking)}")
    return Wheel(kind)


def kind_of(tag: str) -> Kind:
    """ "cu124" is for "cuda", "rocm72" for "rocm"; others are named as what they are for."""
    found: dict[str, Kind] = {"cu": "cuda", "rocm": "rocm", "vulkan": "vulkan", "metal": "metal"}
    return found.get(tag.rstrip("0123456789"), "cpu")


def cpu_flags(tag: str, platform: str) -> tuple[str, ...]:
    """What upstream's wheel wants of the CPU: cpuinfo's flags."""
    is_compiled_in = tag in ("cpu", "vulkan") and platform == "linux-x86_64"
    return tuple(sorted(_WHEEL_CPU_FLAGS)) if is_compiled_in else ()


def unfit(machine: Machine, tag: str) -> str | None:
    """Why this machine's card or driver can't use the wheel of this tag; None when they can."""
    if kind_of(tag) == "cuda":
        nvidia = machine.nvidia
        return _unfit_cuda(nvidia, tag) if nvidia else "there is no driver of NVIDIA's"
    if kind_of(tag) == "rocm":
        return _unfit_rocm(machine.amd) if machine.amd else "there is no card of AMD's"
    return None


def _unfit_cuda(nvidia: Nvidia, tag: str) -> str | None:
    lowest, driver, version = nvidia.lowest, nvidia.driver_cuda, cuda_version(tag)
    if lowest is None or driver is None:
        return "the driver does not tell its CUDA version and the compute capability"
    if version > driver:
        return f"the driver is for CUDA {dotted(driver)}, {tag} needs {dotted(version)}"
    if lowest < (floor := (7, 5) if version >= (13, 0) else (6, 0)):
        return f"{tag} begins at compute capability {dotted(floor)}, a card has {dotted(lowest)}"
    if version < (12, 0) and nvidia.capabilities[-1] > (8, 9):
        return f"{tag} ends at compute capability 8.9"
    return None


def cuda_version(tag: str) -> tuple[int, int]:
    """ "cu124": (12, 4)"""
    return int(tag[2:-1]), int(tag[-1])


def _cuda(nvidia: Nvidia) -> Wheel | NoWheel:
    """The newest CUDA that the driver can run and the least of the cards was compiled for."""
    lowest, driver = nvidia.lowest, nvidia.driver_cuda
    if lowest is None or driver is None:
        return NoWheel("the driver does not tell its CUDA version and the compute capability")
    if lowest < (6, 0):
        return NoWheel(f"upstream's begin at compute capability 6.0, a card has {dotted(lowest)}")
    for tag in _CUDA_TAGS:
        if _unfit_cuda(nvidia, tag) is None:
            return Wheel(tag)
    return NoWheel(f"the driver is for CUDA {dotted(driver)}, upstream's begin at 11.8 and 12.1")


def _rocm(amd: Amd) -> Wheel | NoWheel:
    problem = _unfit_rocm(amd)
    return NoWheel(problem) if problem else Wheel("rocm72")


def _unfit_rocm(amd: Amd) -> str | None:
    if amd.rocm is None:
        return "there is no ROCm in /opt/rocm"
    if not (7, 2) <= amd.rocm < (8, 0):
        return f"upstream's is for ROCm 7.2, here is {dotted(amd.rocm)}"
    foreign = [target for target in amd.targets if target not in _ROCM_TARGETS]
    if foreign or not amd.targets:
        return f"upstream's has no code for {', '.join(foreign) or 'an unknown card'}"
    return None


def index_base(setting: str | None) -> str | None:
    """EDGELLM_WHEEL_INDEX: a base URL in upstream's place, or "none"."""
    if setting is None or not setting.strip():
        return UPSTREAM
    return None if setting.strip().lower() == "none" else setting.strip().rstrip("/")


@dataclass(frozen=True, slots=True)
class Silence:
    message: str
    reached: bool  # the index answered, but not with this page


def why_silent(url: str, limit_s: float = LIMIT_S) -> Silence | None:
    """None when the page is there. Bounded as a whole: a resolver or a proxy may hang too."""
    answer: list[Silence | None] = []
    asking = threading.Thread(target=lambda: answer.append(_ask(url, limit_s)), daemon=True)
    asking.start()
    asking.join(limit_s)
    return answer[0] if answer else Silence(f"no answer within {limit_s:g} s", reached=False)


def _ask(url: str, limit_s: float) -> Silence | None:
    try:
        with urllib.request.urlopen(url, timeout=limit_s) as response:
            response.read(1)
    except urllib.error.HTTPError as error:
        return Silence(f"HTTP {error.code}", reached=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or str(reason)  # without its "[Errno -2]"
        return Silence(words, reached=False)
    return None
