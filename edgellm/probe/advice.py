"""Why llama.cpp doesn't use a card, and the command that changes it. Pure."""

from edgellm.probe.hardware import Serving
from edgellm.probe.registry import GgmlDevice, Registry
from edgellm.probe.vendors.cards import Card
from edgellm.units import format_bytes

_CARVE_OUT_RATIO = 0.75


def rebuild(cmake_args: str) -> str:
    """The shell command that compiles llama.cpp for this machine."""
    return (
        f'CMAKE_ARGS="{cmake_args}" python -m pip install --force-reinstall --no-cache-dir '
        "--no-binary llama-cpp-python llama-cpp-python, in the environment that edgellm runs in"
    )


# vendor → the ggml backends that can drive its cards, the best first
_BACKENDS: dict[str, tuple[str, ...]] = {
    "nvidia": ("CUDA", "Vulkan"),
    "amd": ("ROCm", "Vulkan"),
    "intel": ("Vulkan", "SYCL"),
    "huawei": ("CANN",),
    "moorethreads": ("MUSA", "Vulkan"),
    "hygon": ("ROCm",),
    "apple": ("MTL",),
    "qualcomm": ("OpenCL", "Vulkan"),
}

# ggml's backend → its CMake switches, and what has to be there before. Source: llama.cpp's
# docs/build.md and docs/backend/*.md.
_BUILDS: dict[str, tuple[str, str | None]] = {
    "CUDA": ("-DGGML_CUDA=on", None),
    "ROCm": ("-DGGML_HIP=on", None),
    "Vulkan": ("-DGGML_VULKAN=on", None),
    "SYCL": (
        "-DGGML_SYCL=on -DCMAKE_C_COMPILER=icx -DCMAKE_CXX_COMPILER=icpx",
        "first `source /opt/intel/oneapi/setvars.sh`",
    ),
    "CANN": (
        "-DGGML_CANN=on",
        "first install Huawei's CANN toolkit and `source` its set_env.sh",
    ),
    "MUSA": ("-DGGML_MUSA=on", "first install Moore Threads' MUSA SDK of the driver's version"),
    "MTL": ("-DGGML_METAL=on", None),
    "OpenCL": ("-DGGML_OPENCL=on", None),
}

# Vendors of compute-only processors
_WITHOUT_GRAPHICS = frozenset(
    ("hexagon", "biren", "cambricon", "iluvatar", "metax", "thead", "hygon", "huawei")
)

_DRIVERS = {
    "nvidia": "install NVIDIA's (`nvidia-smi` must list the card), or give this container the card",
    "amd": "load amdgpu (`modprobe amdgpu`), or give this container the card",
}


def why_unused(card: Card, registry: Registry | None) -> str:
    """For a card that llama.cpp does not list."""
    backends = _BACKENDS.get(card.vendor, ())
    if card.vendor == "hexagon":
        return "llama.cpp's Hexagon backend is an experiment that needs Qualcomm's SDK"
    if not backends:
        return "llama.cpp has no backend for it; the CPU is used instead"
    if not card.has_driver and card.vendor in _DRIVERS:
        return f"no driver answers for it: {_DRIVERS[card.vendor]}"
    if registry is None:
        return "llama.cpp's device list could not be read; `edgellm probe --raw` says why"
    present = next((name for name in backends if name in registry.registries), None)
    if present is None:
        best = backends[0]
        return f"this llama.cpp build has no {best} backend; get one: {build(card, best)}"
    said = f" (it says: {'; '.join(registry.complaints)})" if registry.complaints else ""
    return (
        f"llama.cpp's {present} backend does not list it{said}: check that its driver works in "
        f"this place and that {_visibility(present)} does not hide it"
    )


def why_less(card: Card, device: GgmlDevice) -> str | None:
    """ROCm counts only the firmware's carve-out of some APUs, Vulkan all that the GPU may map."""
    limit = card.limit_bytes
    if device.backend != "rocm" or not card.is_unified or not limit:
        return None
    if device.total_bytes >= limit * _CARVE_OUT_RATIO:
        return None
    return (
        f"ROCm sees {format_bytes(device.total_bytes)} of the {format_bytes(limit)} that it may "
        f"map; Vulkan sees all: {build(card, 'Vulkan')}"
    )


def serving(card: Card, registry: Registry | None) -> Serving | None:
    """The backend that drives it best, of those in this build if there is one."""
    backends = _BACKENDS.get(card.vendor, ())
    if not backends:
        return None
    if registry is None:
        return Serving(backends[0], None, build(card, backends[0]))
    present = next((name for name in backends if name in registry.registries), None)
    if present is None:
        return Serving(backends[0], False, build(card, backends[0]))
    return Serving(present, True, None)


def build(card: Card, backend: str) -> str:
    """The command that makes a llama.cpp with this backend, for this very card."""
    switches, before = _BUILDS[backend]
    if backend == "ROCm" and (card.architecture or "").startswith("gfx"):
        switches += f" -DGPU_TARGETS={card.architecture}"
    command = rebuild(switches)
    if card.vendor == "hygon":
        before = "first install Hygon's DTK, whose hipcc compiles it (upstream does not test this)"
    return f"{command}; {before}" if before else command


def why_unrunnable(card: Card | None, device: GgmlDevice, registry: Registry) -> str | None:
    """For a card that is listed, but older than all code in this build."""
    built = registry.cuda_architectures
    sm = (card.architecture or "").removeprefix("sm_") if card else ""
    if device.backend != "cuda" or not built or not sm.isdecimal() or int(sm) >= built[0]:
        return None
    return (
        f"this build's CUDA code begins at compute capability {built[0] / 10}, the card has "
        f"{int(sm) / 10}; get one: "
        f"{rebuild('-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=native')}"
    )


def can_drive(device: GgmlDevice, vendor: str) -> bool:
    """Whether a device of this backend can be a card of this vendor. An unknown vendor may have a
    graphics driver; the known ones without graphics have none."""
    backends = _BACKENDS.get(vendor, () if vendor in _WITHOUT_GRAPHICS else ("Vulkan", "OpenCL"))
    if device.registry == "OpenCL" and "Vulkan" in backends:
        return True
    return device.registry in backends


def _visibility(registry: str) -> str:
    return {
        "CUDA": "CUDA_VISIBLE_DEVICES",
        "ROCm": "HIP_VISIBLE_DEVICES",
        "Vulkan": "GGML_VK_VISIBLE_DEVICES",
        "SYCL": "ONEAPI_DEVICE_SELECTOR",
        "CANN": "ASCEND_RT_VISIBLE_DEVICES",
        "MUSA": "MUSA_VISIBLE_DEVICES",
    }.get(registry, "the environment")
