"""What llama.cpp will use a device for, or why not: one line for people."""

from edgellm.probe.advice import rebuild
from edgellm.probe.hardware import Device, Hardware
from edgellm.probe.known.limits import backend_limits
from edgellm.units import format_bytes

_SPOKEN = {
    "cuda": "CUDA", "rocm": "ROCm", "musa": "MUSA", "metal": "Metal", "vulkan": "Vulkan",
    "sycl": "SYCL", "cann": "CANN", "opencl": "OpenCL",
}  # fmt: skip

# ggml's feature → the CPU's flag. A build that lacks a fast one that the CPU has is a slow build.
_FAST_FEATURES = {
    "AVX2": "avx2", "AVX512": "avx512f", "AVX512_VNNI": "avx512_vnni", "AVX_VNNI": "avx_vnni",
    "AMX_INT8": "amx_int8", "DOTPROD": "dotprod", "MATMUL_INT8": "i8mm", "SVE": "sve",
}  # fmt: skip


def usage_line(hardware: Hardware, device: Device) -> str:
    """ "used through CUDA as CUDA0: 23.3 GiB of 24.0 GiB free", or why it isn't used."""
    if device.backend == "none":
        return f"not used: {device.note or 'llama.cpp does not list it'}"
    if device.backend == "cpu":
        return _cpu_line(hardware) + (f"; {device.note}" if device.note else "")
    pool = hardware.pool(device.pool_id)
    memory = format_bytes(pool.total_bytes)
    if pool.free_bytes is not None:
        memory = f"{format_bytes(pool.free_bytes)} of {memory} free"
    if pool.kind == "unified":
        memory += ", shared with the CPU"
    if device.memory_limit_bytes is not None:
        memory += f", of which it may map {format_bytes(device.memory_limit_bytes)}"
    name = f" as {device.ggml_name}" if device.ggml_name else ""
    note = f"; {device.note}" if device.note else ""
    if lanes := narrowed(device):
        note += f"; attached by {lanes[0]} of its {lanes[1]} lanes"
    limits = backend_limits(device)
    if limits.is_choosy and limits.note:
        note += f"; {limits.note}"
    return f"used through {_SPOKEN[device.backend]}{name}: {memory}{note}"


def narrowed(device: Device) -> tuple[int, int] | None:
    """(lanes in use, lanes that it has) where some are missing. Lanes only: an idle card lowers its
    link's speed, not its width."""
    running, able = _n_lanes(device.link_now), _n_lanes(device.link)
    return (running, able) if running and able and running < able else None


def _n_lanes(link: str | None) -> int | None:
    """ "PCIe 4.0 x16" -> 16"""
    lanes = (link or "").rpartition(" x")[2]
    return int(lanes) if lanes.isdecimal() else None


def _cpu_line(hardware: Hardware) -> str:
    cpu = hardware.cpu
    cores = f"{cpu.n_physical_cores} core{'s' if cpu.n_physical_cores > 1 else ''}"
    task = "used for what no accelerator holds" if hardware.accelerators else "runs everything"
    line = f"{task}, on {cores}"
    if cpu.quota_cores is not None:
        line += f" (a cgroup allows {cpu.quota_cores:g})"
    if not hardware.ggml_registries:
        return f"{line}; whether llama.cpp works here could not be asked"
    if lacking := features_not_built(hardware):
        return (
            f"{line}; slowly: this llama.cpp was built without {', '.join(lacking)}, which the "
            f"CPU has; get one: {rebuild('-DGGML_NATIVE=on')}"
        )
    return line


def features_not_built(hardware: Hardware) -> tuple[str, ...]:
    """Instruction sets that the CPU has and this build of llama.cpp makes no use of."""
    if not hardware.ggml_features:
        return ()
    return tuple(
        flag
        for feature, flag in _FAST_FEATURES.items()
        if flag in hardware.cpu.isa and feature not in hardware.ggml_features
    )
