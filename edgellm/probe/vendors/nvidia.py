"""NVIDIA cards and the links between them, as NVML describes them to the child program.

Asked for its memory, a board that has none of its own (GB10, Jetson) answers "not supported" or
zero, depending on the driver; it shares the host's.
"""

from dataclasses import replace

import msgspec

from edgellm.probe import pci
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import LinkKind
from edgellm.probe.pci import normal_address
from edgellm.probe.sources import child
from edgellm.probe.vendors import jetson
from edgellm.probe.vendors.cards import Card, Peer

COMMAND = child("edgellm.probe.nvml_child")
_VGPU = 2  # NVML_GPU_VIRTUALIZATION_MODE_VGPU
_ANCESTORS: dict[int | None, LinkKind] = {
    0: "switch", 10: "switch", 20: "switch", 30: "bridge", 40: "host", 50: "sockets",
}  # fmt: skip

TIMEOUT_S = 10.0  # without persistence mode the first NVML user wakes all cards, for seconds
_AWAKE_TIMEOUT_S = 3.0  # with it, or beside another user, NVML answers in tenths of a second

_SIGNS = ("/dev/nvidia*", "/proc/driver/nvidia", "/sys/module/nvidia", "/dev/dxg", "/dev/nvhost-*")
_MODULE = "/sys/module/nvidia"


class NvmlInstance(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a card that was cut up (MIG)."""

    name: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None


class NvmlAncestor(msgspec.Struct, frozen=True, kw_only=True):
    """Where two cards meet on the PCIe tree, as NVML numbers it: see nvml_child.py."""

    one: int
    other: int
    ancestor: int | None = None


class NvmlCard(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    name: str | None = None
    pci_bus_id: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    link_generation: int | None = None
    link_width: int | None = None
    link_generation_now: int | None = None
    link_width_now: int | None = None
    memory_bus_bits: int | None = None
    memory_clock_mhz: int | None = None
    power_limit_mw: int | None = None
    power_default_mw: int | None = None
    virtualization: int | None = None
    mig: bool = False
    instances: tuple[NvmlInstance, ...] = ()
    nvlinks: tuple[str, ...] = ()  # where each leads
    nvlink_mb_s: int | None = None
    faults: dict[str, str] = {}


class NvmlAnswer(msgspec.Struct, frozen=True, kw_only=True):
    cards: tuple[NvmlCard, ...]
    driver: str | None = None
    cuda_version: int | None = None  # 13000
    common_ancestors: tuple[NvmlAncestor, ...] = ()
    error: str | None = None


def read(evidence: Evidence) -> tuple[Card, ...]:
    """The cards that NVML lists; where it lists none, a Jetson's GPU by its device tree."""
    board = jetson.board(evidence)
    is_sought = board is not None or _may_be_here(evidence)
    answer = evidence.ask(COMMAND, _timeout_s(evidence), NvmlAnswer) if is_sought else None
    found = cards(evidence, answer) if answer else ()
    return found or ((jetson.card(board),) if board else ())


def _may_be_here(evidence: Evidence) -> bool:
    """Any trace of a driver (WSL's and Tegra's, too), or a PCI device that is NVIDIA's or whose
    vendor can't be read. Elsewhere the child would take a third of a second to find nothing."""
    if evidence.system != "Linux" or any(evidence.list(sign) for sign in _SIGNS):
        return evidence.system != "Darwin"
    folders = evidence.list("/sys/bus/pci/devices/*")
    ids = (evidence.number(f"{folder}/vendor") for folder in folders)
    return any(one is None or pci.VENDORS.get(one) == "nvidia" for one in ids)


def _timeout_s(evidence: Evidence) -> float:
    """The cards are awake while a program has one open (nvidia-persistenced does). The kernel
    counts a module's users: the modules that need it (`holders`), and such programs."""
    n_users = evidence.number(f"{_MODULE}/refcnt") or 0
    is_awake = n_users > len(evidence.list(f"{_MODULE}/holders/*"))
    return _AWAKE_TIMEOUT_S if is_awake else TIMEOUT_S


def cards(evidence: Evidence, answer: NvmlAnswer) -> tuple[Card, ...]:
    """NVML's cards with their links; its errors become faults of the evidence."""
    if answer.error:
        evidence.fault("nvml", answer.error)
    for said in answer.cards:
        for field, message in said.faults.items():
            if said.mig and field == "memory":
                continue  # its instances have the memory now
            evidence.fault(f"nvml card {said.index}", f"{field}: {message}")
    told = [said for said in answer.cards if said.pci_bus_id or said.name]
    return tuple(
        replace(
            card(said),
            driver=answer.driver,
            toolkit=_toolkit(answer.cuda_version),
            peers=_peers(said, answer),
        )
        for said in told
    )


def card(said: NvmlCard) -> Card:
    """One card, without what needs the others' answers: links, driver and toolkit."""
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
        # GB10 says PCIe 1.0 x1, and is NVLink-C2C
        link=None if is_unified else _link(said.link_generation, said.link_width),
        link_now=None if is_unified else _link(said.link_generation_now, said.link_width_now),
        power_limit_w=said.power_limit_mw and said.power_limit_mw / 1e3,
        power_default_w=said.power_default_mw and said.power_default_mw / 1e3,
        is_slice=said.mig,
        note=_note(said),
    )


def _bandwidth_bytes_s(said: NvmlCard) -> float | None:
    """Two transfers a clock, as NVML counts memory clocks: 10501 MHz × 2 × 384 bit = 1008 GB/s."""
    if not said.memory_bus_bits or not said.memory_clock_mhz or said.mig:
        return None
    return said.memory_clock_mhz * 1e6 * 2 * said.memory_bus_bits / 8


def _architecture(capability: tuple[int, int] | None) -> str | None:
    return f"sm_{capability[0]}{capability[1]}" if capability else None


def _link(generation: int | None, width: int | None) -> str | None:
    return f"PCIe {generation}.0 x{width}" if generation and width else None


def _note(said: NvmlCard) -> str | None:
    if said.mig:
        names = ", ".join(part.name for part in said.instances if part.name)
        return f"cut into MIG instances{f' ({names})' if names else ''}; llama.cpp sees the first"
    if said.virtualization == _VGPU:
        return "a virtual GPU: its memory is its share, power and clocks are its host's to tell"
    return None


def _toolkit(version: int | None) -> str | None:
    """13000 -> "CUDA 13.0" """
    return f"CUDA {version // 1000}.{version % 1000 // 10}" if version else None


def _peers(said: NvmlCard, answer: NvmlAnswer) -> tuple[Peer, ...]:
    """The links to cards of a higher index, so that each is listed once. An NVLink that leads to no
    card leads to an NVSwitch, and through it at full rate to every other card on one."""
    by_index = {other.index: other for other in answer.cards}
    own = normal_address(said.pci_bus_id)
    found = []
    for pair in answer.common_ancestors:
        other = by_index.get(pair.other)
        address = normal_address(other.pci_bus_id) if other else None
        if pair.one != said.index or other is None or own is None or address is None:
            continue
        n_links = _n_nvlinks(said, other, answer)
        kind: LinkKind | None = "nvlink" if n_links else _ANCESTORS.get(pair.ancestor)
        rate = n_links * said.nvlink_mb_s * 1e6 if n_links and said.nvlink_mb_s else None
        if kind:
            found.append(Peer(address, kind, rate))
    return tuple(found)


def _n_nvlinks(one: NvmlCard, other: NvmlCard, answer: NvmlAnswer) -> int:
    cards = {normal_address(card.pci_bus_id) for card in answer.cards}
    straight = sum(normal_address(end) == normal_address(other.pci_bus_id) for end in one.nvlinks)
    if straight:
        return straight
    to_switch = [
        sum(normal_address(end) not in cards for end in card.nvlinks) for card in (one, other)
    ]
    return min(to_switch)
