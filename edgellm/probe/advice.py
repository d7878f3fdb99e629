"""Why llama.cpp won't use a card, and the command that changes it. Pure."""

from edgellm.probe.cards import Card
from edgellm.probe.registry import BACKENDS, GgmlDevice, Registry


def rebuild(cmake_args: str) -> str:
    """A shell's words for an engine that is compiled for this machine."""
    return (
        f'CMAKE_ARGS="{cmake_args}" python -m pip install --force-reinstall --no-cache-dir '
        "--no-binary llama-cpp-python llama-cpp-python, in the environment that edgellm runs in"
    )


# vendor → the ggml backends that can drive its cards, the best first, with the CMake switch
_WAYS: dict[str, tuple[tuple[str, str], ...]] = {
    "nvidia": (("CUDA", "GGML_CUDA"), ("Vulkan", "GGML_VULKAN")),
    "amd": (("ROCm", "GGML_HIP"), ("Vulkan", "GGML_VULKAN")),
    "intel": (("Vulkan", "GGML_VULKAN"), ("SYCL", "GGML_SYCL")),
    "huawei": (("CANN", "GGML_CANN"),),
    "moorethreads": (("MUSA", "GGML_MUSA"),),
    "hygon": (("ROCm", "GGML_HIP"),),
    "apple": (("MTL", "GGML_METAL"),),
}

_DRIVERS = {
    "nvidia": "install NVIDIA's (`nvidia-smi` must list the card), or give this container the card",
    "amd": "load amdgpu (`modprobe amdgpu`), or give this container the card",
}


def why_unused(card: Card, registry: Registry | None) -> str:
    """For a card that llama.cpp does not list."""
    ways = _WAYS.get(card.vendor, ())
    if not ways:
        return "llama.cpp has no backend for it; the CPU is used instead"
    if not card.is_told and card.vendor in _DRIVERS:
        return f"no driver answers for it: {_DRIVERS[card.vendor]}"
    if registry is None:
        return "llama.cpp's device list could not be read; `edgellm probe --raw` says why"
    present = next((name for name, _ in ways if name in registry.registries), None)
    if present:
        return (
            f"llama.cpp's {present} backend does not list it: check that its driver works in "
            f"this place and that {_visibility(present)} does not hide it"
        )
    name, switch = ways[0]
    return f"this llama.cpp build has no {name} backend; get one: {rebuild(f'-D{switch}=on')}"


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
    """Whether this backend can be one of this vendor's cards."""
    return any(name == device.registry for name, _ in _WAYS.get(vendor, ())) or (
        device.registry in ("Vulkan", "OpenCL") and device.registry in BACKENDS
    )


def _visibility(registry: str) -> str:
    return {
        "CUDA": "CUDA_VISIBLE_DEVICES",
        "ROCm": "HIP_VISIBLE_DEVICES",
        "Vulkan": "GGML_VK_VISIBLE_DEVICES",
        "SYCL": "ONEAPI_DEVICE_SELECTOR",
        "CANN": "ASCEND_RT_VISIBLE_DEVICES",
        "MUSA": "MUSA_VISIBLE_DEVICES",
    }.get(registry, "the environment")
