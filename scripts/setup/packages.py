"""How this system calls the tools that a build needs, and the command that installs them."""

import os
import re

from edgellm.probe.sources import Sources

# tool → the packages that bring it, by package manager
_PACKAGES: dict[str, dict[str, str]] = {
    "apt": {
        "c++": "build-essential",
        "nvcc": "nvidia-cuda-toolkit",
        "hipcc": "hipcc libhipblas-dev librocblas-dev",
        "glslc": "glslc libvulkan-dev spirv-headers",
    },
    "dnf": {
        "c++": "gcc-c++",
        "nvcc": "cuda-toolkit",
        "hipcc": "rocm-hip-devel hipblas-devel rocblas-devel",
        "glslc": "glslc vulkan-headers vulkan-loader-devel spirv-headers-devel",
    },
    "apk": {"c++": "build-base linux-headers", "glslc": "shaderc vulkan-loader-dev spirv-headers"},
    "pacman": {
        "c++": "base-devel",
        "nvcc": "cuda",
        "hipcc": "rocm-hip-sdk",
        "glslc": "shaderc vulkan-headers spirv-headers",
    },
    "zypper": {"c++": "gcc-c++", "glslc": "shaderc vulkan-devel spirv-headers"},
}
_INSTALL = {
    "apt": "apt install",
    "dnf": "dnf install",
    "apk": "apk add",
    "pacman": "pacman -S",
    "zypper": "zypper install",
}
_MANAGERS = {
    "debian": "apt",
    "ubuntu": "apt",
    "fedora": "dnf",
    "rhel": "dnf",
    "centos": "dnf",
    "openeuler": "dnf",
    "alpine": "apk",
    "arch": "pacman",
    "suse": "zypper",
    "opensuse": "zypper",
}
_VENDORS = {
    "nvcc": "NVIDIA's CUDA toolkit (developer.nvidia.com/cuda-downloads)",
    "nvcc of CUDA 12": "CUDA 12's toolkit (developer.nvidia.com/cuda-toolkit-archive)",
    "hipcc": "AMD's ROCm (rocm.docs.amd.com)",
    "glslc": "the Vulkan SDK (vulkan.lunarg.com)",
    "c++": "a C++ compiler (g++ or clang++)",
}


def how_to_get(tool: str, sources: Sources, *, is_root: bool | None = None) -> str:
    """For "c++", "nvcc", "hipcc", "glslc": "sudo apt install build-essential"."""
    if sources.system == "Darwin" and tool == "c++":
        return "xcode-select --install"
    manager = _manager(sources)
    packages = _PACKAGES.get(manager, {}).get(tool)
    if packages is None:
        return f"install {_VENDORS[tool]}"
    root = os.geteuid() == 0 if is_root is None else is_root
    return f"{'' if root else 'sudo '}{_INSTALL[manager]} {packages}"


def _manager(sources: Sources) -> str:
    said = sources.read_text("/etc/os-release")
    names = re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)', said if isinstance(said, str) else "", re.M)
    known = (_MANAGERS.get(name.partition("-")[0]) for name in " ".join(names).split())
    return next((manager for manager in known if manager), "")
