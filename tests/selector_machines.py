"""Described machines for the selector's tests."""

from dataclasses import replace

from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.units import GIB

GB_S = 10**9


def machine(
    *cards: tuple[float, float | None],
    ram: float = 64,
    ram_bandwidth: float | None = 50,
    backend="cuda",
    **facts,
) -> Hardware:
    """`cards`: (free GiB, GB/s) of each accelerator; the CPU has eight cores."""
    pools = [
        MemoryPool(f"gpu{i}", "dedicated", int(size * GIB), int(size * GIB), speed and speed * GB_S)
        for i, (size, speed) in enumerate(cards)
    ]
    devices = [
        Device(f"gpu{i}", "nvidia", f"Card {i}", backend, f"gpu{i}", ggml_name=f"CUDA{i}")
        for i in range(len(cards))
    ]
    host = MemoryPool(
        "host", "host", int(ram * GIB), int(ram * GIB), ram_bandwidth and ram_bandwidth * GB_S
    )
    cpu = Device("cpu", "cpu", "CPU", "cpu", "host", ggml_name="CPU")
    return Hardware((*devices, cpu), (*pools, host), Cpu("CPU", 8, 16, ("avx2",)), **facts)


def unified(ram: float = 64, bandwidth: float = 400, backend="metal") -> Hardware:
    """One pool for the GPU and the CPU."""
    pool = MemoryPool("host", "unified", int(ram * GIB), int(ram * GIB), bandwidth * GB_S)
    gpu = Device("gpu0", "apple", "GPU", backend, "host", ggml_name="Metal")
    cpu = Device("cpu", "cpu", "CPU", "cpu", "host", ggml_name="CPU")
    return Hardware((gpu, cpu), (pool,), Cpu("CPU", 8, 8, ("neon",)))


def powered(hardware, *watts):
    """With these limits on its accelerators, one after the other."""
    cards = tuple(
        replace(device, board_power_w=limit)
        for device, limit in zip(hardware.accelerators, watts, strict=True)
    )
    return replace(hardware, devices=(*cards, hardware.devices[-1]))
