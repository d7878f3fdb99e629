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

_CUDA_12 = ((12, 5), (12, 4), (12, 3), (12, 2), (12, 1))
_CUDA_13 = ((13, 2), (13, 0))
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
    if lacking := sorted(_WHEEL_CPU_FLAGS - machine.cpu_flags):
        return NoWheel(f"upstream's need a CPU with {', '.join(lacking)}")
    return Wheel(kind)


def _cuda(nvidia: Nvidia) -> Wheel | NoWheel:
    """The newest CUDA that the driver can run and the least of the cards was compiled for."""
    lowest, driver = nvidia.lowest, nvidia.driver_cuda
    if lowest is None or driver is None:
        return NoWheel("the driver does not tell its CUDA version and the compute capability")
    if lowest < (6, 0):
        return NoWheel(f"upstream's begin at compute capability 6.0, a card has {dotted(lowest)}")
    for version in _CUDA_13 + _CUDA_12 if lowest >= (7, 5) else _CUDA_12:
        if version <= driver:
            return Wheel(f"cu{version[0]}{version[1]}")
    if driver >= (11, 8) and nvidia.capabilities[-1] <= (8, 9):
        return Wheel("cu118")
    return NoWheel(f"the driver is for CUDA {dotted(driver)}, upstream's begin at 11.8 and 12.1")


def _rocm(amd: Amd) -> Wheel | NoWheel:
    if amd.rocm is None:
        return NoWheel("there is no ROCm in /opt/rocm")
    if not (7, 2) <= amd.rocm < (8, 0):
        return NoWheel(f"upstream's is for ROCm 7.2, here is {dotted(amd.rocm)}")
    foreign = [target for target in amd.targets if target not in _ROCM_TARGETS]
    if foreign or not amd.targets:
        return NoWheel(f"upstream's has no code for {', '.join(foreign) or 'an unknown card'}")
    return Wheel("rocm72")


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
