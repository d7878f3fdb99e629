"""NVIDIA cards, from what NVML told the child program.

A board that has no memory of its own (GB10, Jetson) says "not supported" to the memory
question, or zero, by driver version; it then shares the host's.
"""

import msgspec

from edgellm.probe.cards import Card
from edgellm.probe.evidence import Evidence
from edgellm.probe.pci import normal_address
from edgellm.probe.sources import child

COMMAND = child("edgellm.probe.nvml_child")
TIMEOUT_S = 10.0  # without persistence mode the first NVML user wakes all cards, for seconds


class NvmlCard(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    name: str | None = None
    pci_bus_id: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    link_generation: int | None = None
    link_width: int | None = None
    memory_bus_bits: int | None = None
    memory_clock_mhz: int | None = None
    power_limit_mw: int | None = None
    mig: bool = False
    faults: dict[str, str] = {}


class NvmlAnswer(msgspec.Struct, frozen=True, kw_only=True):
    cards: tuple[NvmlCard, ...]
    driver: str | None = None
    error: str | None = None


def read(evidence: Evidence) -> tuple[Card, ...]:
    answer = evidence.ask(COMMAND, TIMEOUT_S, NvmlAnswer)
    if answer is None:
        return ()
    if answer.error:
        evidence.fault("nvml", answer.error)
    for said in answer.cards:
        for field, message in said.faults.items():
            evidence.fault(f"nvml card {said.index}", f"{field}: {message}")
    return tuple(card(said) for said in answer.cards if said.pci_bus_id or said.name)


def card(said: NvmlCard) -> Card:
    has_own_memory = bool(said.memory_total_bytes)
    is_unified = not has_own_memory and not said.mig and "memory" not in said.faults
    # Of a card cut into MIG instances we get one, whose size llama.cpp knows and NVML doesn't say.
    tells_memory = has_own_memory and not said.mig
    return Card(
        vendor="nvidia",
        name=said.name or "NVIDIA GPU",
        address=normal_address(said.pci_bus_id),
        total_bytes=said.memory_total_bytes if tells_memory else None,
        free_bytes=said.memory_free_bytes if tells_memory else None,
        is_unified=is_unified,
        bandwidth_bytes_s=None if is_unified else _bandwidth_bytes_s(said),
        architecture=_architecture(said.compute_capability),
        link=None if is_unified else _link(said),  # GB10 says PCIe 1.0 x1, and is NVLink-C2C
        power_limit_w=said.power_limit_mw and said.power_limit_mw / 1e3,
        note="cut into MIG instances; llama.cpp sees the first" if said.mig else None,
    )


def _bandwidth_bytes_s(said: NvmlCard) -> float | None:
    """Two transfers a clock, as NVML counts memory clocks: 10501 MHz × 2 × 384 bit = 1008 GB/s."""
    if not said.memory_bus_bits or not said.memory_clock_mhz or said.mig:
        return None
    return said.memory_clock_mhz * 1e6 * 2 * said.memory_bus_bits / 8


def _architecture(capability: tuple[int, int] | None) -> str | None:
    return f"sm_{capability[0]}{capability[1]}" if capability else None


def _link(said: NvmlCard) -> str | None:
    if not said.link_generation or not said.link_width:
        return None
    return f"PCIe {said.link_generation}.0 x{said.link_width}"
