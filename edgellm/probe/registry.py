"""What this llama.cpp can use: ggml's own list of devices, as the child program reports it."""

import re
from typing import Literal

import msgspec

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Backend
from edgellm.probe.sources import child

COMMAND = child("edgellm.probe.registry_child")
TIMEOUT_S = 15.0  # a CUDA context on a cold driver takes seconds

_COMPLAINT = re.compile(r"\b(?:failed|error|insufficient|no devices|not found)\b", re.IGNORECASE)

# ggml's name of a backend → ours, and how a build gets it
BACKENDS: dict[str, Backend] = {
    "CUDA": "cuda", "ROCm": "rocm", "MUSA": "musa", "MTL": "metal", "Vulkan": "vulkan",
    "SYCL": "sycl", "CANN": "cann", "OpenCL": "opencl", "CPU": "cpu",
}  # fmt: skip


class GgmlDevice(msgspec.Struct, frozen=True, kw_only=True):
    name: str  # "CUDA0"
    description: str
    type: Literal["cpu", "gpu", "igpu", "accel", "meta"]
    free_bytes: int
    total_bytes: int
    registry: str
    device_id: str | None = None  # PCI address; only CUDA, ROCm, MUSA and Vulkan tell it

    @property
    def backend(self) -> Backend:
        return BACKENDS.get(self.registry, "none")


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """`devices` in llama.cpp's order: of two views on one card it takes the first."""

    devices: tuple[GgmlDevice, ...]
    registries: tuple[str, ...] = ()
    features: dict[str, dict[str, str]] = {}
    libraries: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()  # what its backends wrote when they found no driver

    @property
    def accelerators(self) -> tuple[GgmlDevice, ...]:
        """What can hold layers. An RPC device is somebody else's machine and never used."""
        return tuple(
            d for d in self.devices if d.type in ("gpu", "igpu") and d.registry in BACKENDS
        )

    @property
    def cpu_features(self) -> tuple[str, ...]:
        """Those switched on: ("AVX2", "FMA", …)."""
        return tuple(n for n, value in self.features.get("CPU", {}).items() if value != "0")

    @property
    def cuda_architectures(self) -> tuple[int, ...]:
        """Compute capabilities × 10 that the CUDA code was compiled for; empty: not told."""
        told = self.features.get("CUDA", {}).get("ARCHS", "")
        return tuple(sorted(int(part) // 10 for part in told.split(",") if part.isdecimal()))


def read(evidence: Evidence) -> Registry | None:
    """ggml's devices, and what its backends complained of; None where the child gave no answer."""
    told = evidence.ask(COMMAND, TIMEOUT_S, Registry)
    if told:
        errors = evidence.errors_of("registry_child").splitlines()
        words = (line.strip()[:200] for line in errors if _COMPLAINT.search(line))
        told = msgspec.structs.replace(told, complaints=tuple(dict.fromkeys(words))[:3])
    if told and "RPC" in told.registries:
        evidence.fault(
            "ggml",
            "this llama.cpp was built with GGML_RPC, which executes what the network says; "
            "its devices are never used, a build without it is safer",
        )
    return told
