"""What this machine has that llama.cpp could be built for, before anything is installed.

Standard library only. The probe asks the same machine far better, but needs edgellm's dependencies
and a llama.cpp; this answers the one question that comes before both: which build of it?
"""

import platform
import re
from dataclasses import dataclass

from edgellm.probe.sources import Output, Sources
from edgellm.probe.vendors.gfx import gfx_name

_SMI_PLACES = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")  # WSL keeps it off the PATH
_SMI_S = 10.0  # without persistence mode it wakes all cards, for seconds
_GPU_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_KFD_NODES = "/sys/class/kfd/kfd/topology/nodes/*/properties"
_DRM_VENDORS = "/sys/class/drm/card*/device/vendor"
_VULKAN_LOADERS = (
    "/usr/lib/*/libvulkan.so.1",
    "/usr/lib*/libvulkan.so.1",
    "/usr/local/lib/libvulkan.so.1",
)


@dataclass(frozen=True, slots=True)
class Nvidia:
    names: tuple[str, ...]
    driver_cuda: tuple[int, int] | None  # the newest CUDA that this driver can run
    capabilities: tuple[tuple[int, int], ...]  # sorted; empty: the driver is too old to say

    @property
    def lowest(self) -> tuple[int, int] | None:
        return self.capabilities[0] if self.capabilities else None


@dataclass(frozen=True, slots=True)
class Amd:
    targets: tuple[str, ...]  # "gfx1101"
    rocm: tuple[int, int] | None  # as installed in /opt/rocm


@dataclass(frozen=True, slots=True)
class Machine:
    system: str  # platform.system()
    architecture: str  # "x86_64", "arm64"; platform.machine()
    nvidia: Nvidia | None = None
    amd: Amd | None = None
    gpu_vendors: tuple[str, ...] = ()  # with a kernel driver that Vulkan could use
    has_vulkan_loader: bool = False
    cpu_flags: frozenset[str] = frozenset()  # cpuinfo's "flags" (x86) or "Features" (Arm)
    libc: str = ""  # "glibc 2.36"

    @property
    def is_linux_x86(self) -> bool:
        return self.system == "Linux" and self.architecture == "x86_64"

    @property
    def accelerator(self) -> str | None:
        """For people: "NVIDIA GeForce RTX 3090 (compute capability 8.6, driver for CUDA 12.4)"."""
        if self.nvidia:
            return _describe_nvidia(self.nvidia)
        if self.amd:
            return f"AMD GPU ({', '.join(self.amd.targets) or 'unknown target'})"
        if self.system == "Darwin" and self.architecture == "arm64":
            return "Apple GPU"
        return f"{self.gpu_vendors[0]} GPU" if self.gpu_vendors else None


def look(
    sources: Sources,
    architecture: str = platform.machine(),
    libc: str = " ".join(platform.libc_ver()),
) -> Machine:
    vendors = _gpu_vendors(sources)
    return Machine(
        system=sources.system,
        architecture=architecture,
        nvidia=_nvidia(sources),
        amd=_amd(sources) if "AMD" in vendors else None,
        gpu_vendors=vendors,
        has_vulkan_loader=any(sources.list(pattern) for pattern in _VULKAN_LOADERS),
        cpu_flags=_cpu_flags(sources),
        libc=libc,
    )


def _nvidia(sources: Sources) -> Nvidia | None:
    """None where no driver answers: a card without one runs nothing."""
    for program in _SMI_PLACES:
        banner = sources.run((program,), _SMI_S)
        if isinstance(banner, Output) and banner.code == 0:
            query = (program, "--query-gpu=compute_cap,name", "--format=csv,noheader")
            cards = sources.run(query, _SMI_S)
            table = cards.text if isinstance(cards, Output) and cards.code == 0 else ""
            return parse_nvidia(banner.text, table)
    return None


def parse_nvidia(banner: str, table: str) -> Nvidia:
    """The banner says "CUDA Version: 12.4"; from driver 610 on, "CUDA UMD Version: 13.3"."""
    told = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+)\.(\d+)", banner)
    rows = re.findall(r"^\s*(\d+)\.(\d+)\s*,\s*(.+?)\s*$", table, re.MULTILINE)
    return Nvidia(
        names=tuple(name for _, _, name in rows),
        driver_cuda=(int(told[1]), int(told[2])) if told else None,
        capabilities=tuple(sorted((int(major), int(minor)) for major, minor, _ in rows)),
    )


def _describe_nvidia(nvidia: Nvidia) -> str:
    names = ", ".join(dict.fromkeys(nvidia.names)) or "NVIDIA GPU"
    facts = []
    if nvidia.lowest:
        facts.append("compute capability " + " and ".join(_distinct(nvidia.capabilities)))
    if nvidia.driver_cuda:
        facts.append("driver for CUDA " + dotted(nvidia.driver_cuda))
    return f"{names} ({', '.join(facts)})" if facts else names


def _distinct(versions: tuple[tuple[int, int], ...]) -> list[str]:
    return [dotted(version) for version in dict.fromkeys(versions)]


def dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _amd(sources: Sources) -> Amd:
    nodes = [_text(sources, path) for path in sources.list(_KFD_NODES)]
    told = [re.search(r"^gfx_target_version (\d+)$", node, re.MULTILINE) for node in nodes]
    versions = {int(found[1]) for found in told if found} - {0}  # 0 is a CPU's node
    rocm = re.match(r"(\d+)\.(\d+)", _text(sources, "/opt/rocm/.info/version"))
    return Amd(
        targets=tuple(sorted(gfx_name(version) for version in versions)),
        rocm=(int(rocm[1]), int(rocm[2])) if rocm else None,
    )


def _gpu_vendors(sources: Sources) -> tuple[str, ...]:
    ids = {_text(sources, path).strip() for path in sources.list(_DRM_VENDORS)}
    return tuple(name for vendor, name in _GPU_VENDORS.items() if vendor in ids)


def _cpu_flags(sources: Sources) -> frozenset[str]:
    flags = re.search(
        r"^(?:flags|Features)\s*:(.*)$", _text(sources, "/proc/cpuinfo"), re.MULTILINE
    )
    return frozenset(flags[1].split()) if flags else frozenset()


def _text(sources: Sources, path: str) -> str:
    said = sources.read_text(path)
    return said if isinstance(said, str) else ""
