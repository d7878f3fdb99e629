"""Which of llama.cpp's devices is which card, and whose memory is whose. Pure.

A card and a ggml device are one when
    1. their PCI addresses are equal; else
    2. they bear the same name, and there are as many of the one as of the other; else
    3. a backend lists as many devices as there are cards that it could drive, and each card tells
       its number in the order that backend counts in (CANN, SYCL); else
    4. each is the only one left that the other could be (a Jetson's GPU is on no PCI bus).
A ggml device that is left over is listed alone, and the cards that it might be are left out: the
same memory must not be counted twice.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from edgellm.probe import advice
from edgellm.probe.hardware import MAX_DEVICE_W, Backend, Device, MemoryPool, PeerLink, Serving
from edgellm.probe.known.catalog import Catalog, DeviceRow
from edgellm.probe.pci import normal_address
from edgellm.probe.registry import GgmlDevice, Registry
from edgellm.probe.vendors.cards import Card
from edgellm.units import GIB
from edgellm.values import frozen

_UNTOLD = Card("", "")  # for a device of which only llama.cpp knows
_MAX_BYTES = 1 << 50  # no device has a PiB
_SOFTWARE = ("llvmpipe", "swiftshader", "lavapipe")  # Vulkan on the CPU


@frozen
class Pair:
    card: Card | None
    ggml: GgmlDevice | None


def pair(cards: Sequence[Card], registry: Registry | None) -> tuple[list[Pair], list[str]]:
    """All cards and all of ggml's accelerators, each once: first ggml's, in its order, then the
    other cards. Also a note on each card that had to be left out."""
    loose = list(registry.accelerators) if registry else []
    at = {card.address: card for card in cards if card.address}
    found: dict[Card, GgmlDevice] = {}
    viewed = set()
    for device in list(loose):
        address = normal_address(device.device_id)
        card = at.get(address) if address else None
        if card:
            found.setdefault(card, device)
        if card or address in viewed:  # a second view on one card is dropped
            loose.remove(device)
        if address:
            viewed.add(address)
    _pair_by_name(cards, loose, found)
    _pair_by_index(cards, loose, found)
    _pair_the_only_ones(cards, loose, found)
    hidden = [
        card for card in cards if card not in found and any(_could_be(d, card) for d in loose)
    ]
    pairs = [Pair(card, found.get(card)) for card in cards if card not in hidden]
    notes = [
        f"{card.name}{f' at {card.address}' if card.address else ''}: which of llama.cpp's devices "
        "it is, nobody tells; shown as llama.cpp sees it"
        for card in hidden
    ]
    pairs += [Pair(None, device) for device in loose]
    order = {device: i for i, device in enumerate(registry.devices)} if registry else {}
    return sorted(
        pairs, key=lambda p: order.get(p.ggml, len(order)) if p.ggml else len(order)
    ), notes


def _pair_by_name(
    cards: Sequence[Card], loose: list[GgmlDevice], found: dict[Card, GgmlDevice]
) -> None:
    for name in dict.fromkeys(device.description for device in loose):
        devices = [d for d in loose if d.description == name]
        backends = {d.registry for d in devices}
        namesakes = [c for c in cards if c not in found and _same_name(c.name, name)]
        if len(backends) == 1 and len(namesakes) == len(devices):
            for card, device in zip(namesakes, devices, strict=True):
                found[card] = device
                loose.remove(device)


def _pair_by_index(
    cards: Sequence[Card], loose: list[GgmlDevice], found: dict[Card, GgmlDevice]
) -> None:
    for backend in dict.fromkeys(device.registry for device in loose):
        devices = [d for d in loose if d.registry == backend]
        possible = [c for c in cards if c not in found and all(_could_be(d, c) for d in devices)]
        vendors = {card.vendor for card in possible}
        if len(vendors) == 1 and len(possible) == len(devices) > 1:
            ordered = sorted(possible, key=lambda card: -1 if card.index is None else card.index)
            if any(card.index is None for card in ordered):
                continue
            for card, device in zip(ordered, devices, strict=True):
                found[card] = device
                loose.remove(device)


def _pair_the_only_ones(
    cards: Sequence[Card], loose: list[GgmlDevice], found: dict[Card, GgmlDevice]
) -> None:
    for device in list(loose):
        rivals = [d for d in loose if d.registry == device.registry]
        possible = [c for c in cards if c not in found and _could_be(device, c)]
        if len(rivals) == 1 and len(possible) == 1:
            found[possible[0]] = device
            loose.remove(device)


def _could_be(device: GgmlDevice, card: Card) -> bool:
    if normal_address(device.device_id) and card.address:
        return False  # both tell where they are, and it is not the same place
    return not _is_software(device) and advice.can_drive(device, card.vendor)


def _same_name(one: str, other: str) -> bool:
    """Vulkan appends its driver: "AMD Radeon RX 7800 XT (RADV NAVI32)"."""
    bare = [re.sub(r"\s+\([^()]*\)$", "", name).lower() for name in (one, other)]
    return bare[0] == bare[1] != ""


def _is_software(device: GgmlDevice) -> bool:
    return any(word in device.description.lower() for word in _SOFTWARE)


@frozen
class Placed:
    device: Device
    own_pool: MemoryPool | None  # None: it shares the host's memory, or its own is unknown
    shares_host: bool
    known: DeviceRow | None = None  # its row in profiles/devices.toml


def place(found: Pair, registry: Registry | None, host: MemoryPool, catalog: Catalog) -> Placed:
    """The device that a pair is, and its memory: a pool of its own, or the host's."""
    card, ggml = found.card, found.ggml
    backend, note = _use(card, ggml, registry)
    own_pool, shares_host = _memory(found, host, catalog)
    told, total = card or _UNTOLD, (own_pool or host).total_bytes
    known = catalog.row(_name(found), total, told.n_gpu_cores)
    device = Device(
        id=_id(found),
        vendor=card.vendor if card else _vendor_of(ggml),
        name=_name(found),
        backend=backend,
        pool_id=own_pool.id if own_pool else host.id,
        architecture=told.architecture,
        n_gpu_cores=told.n_gpu_cores,
        ggml_name=ggml.name if ggml else None,
        link=told.link,
        note=note,
        memory_limit_bytes=_limit_bytes(found, host) if shares_host else None,
        fp16_flops_s=_sliced(found, known, total, known.fp16_flops_s) if known else None,
        vector_flops_s=_sliced(found, known, total, known.vector_flops_s) if known else None,
        board_power_w=_power_w(card, known),
        peer_bytes_s=known.peer_bytes_s() if known else None,
        power_default_w=told.power_default_w,
        link_now=told.link_now,
        numa_node=told.numa_node,
        visible_bytes=told.visible_bytes,
        driver=told.driver,
        toolkit=told.toolkit,
        serving=_serving(found, registry),
        ggml_address=ggml.device_id if ggml else None,
    )
    return Placed(device, own_pool, shares_host, known)


def _use(
    card: Card | None, ggml: GgmlDevice | None, registry: Registry | None
) -> tuple[Backend, str | None]:
    """The backend that computes on it, and the device's note."""
    note = card.note if card else None
    if ggml is None:
        return "none", _joined(note, advice.why_unused(card, registry)) if card else None
    if registry is None:
        return ggml.backend, note
    obstacle = advice.why_unrunnable(card, ggml, registry) or _why_unwise(ggml, registry)
    if obstacle:
        return "none", obstacle
    return ggml.backend, _joined(note, advice.why_less(card, ggml)) or None if card else None


def _sliced(found: Pair, known: DeviceRow, total_bytes: int, whole: float | None) -> float | None:
    """The share of `whole` that a slice (MIG) has: it has the same share of memory, bandwidth and
    processors."""
    if whole is None or found.card is None or not found.card.is_slice or not known.memory_gib:
        return whole
    return whole * min(1.0, total_bytes / (known.memory_gib * GIB))


def _serving(found: Pair, registry: Registry | None) -> Serving | None:
    if found.card is not None and found.ggml is None:
        return advice.serving(found.card, registry)
    if found.ggml is not None:
        return Serving(found.ggml.registry, True, None)
    return None


def _power_w(card: Card | None, known: DeviceRow | None) -> float | None:
    if card and card.power_limit_w and 0 < card.power_limit_w < MAX_DEVICE_W:
        return card.power_limit_w
    return known.board_power_w if known else None


def _why_unwise(device: GgmlDevice, registry: Registry) -> str | None:
    """For devices that llama.cpp ignores by itself, and those that are slower than the CPU."""
    if _is_software(device):
        return "it is the CPU, in a GPU's clothes"
    if device.description.startswith("V3D"):
        return "a Raspberry Pi's GPU is slower than its CPU here"
    if device.type == "igpu" and any(d.type == "gpu" for d in registry.accelerators):
        return "integrated; llama.cpp leaves it alone beside a card with memory of its own"
    return None


def _memory(found: Pair, host: MemoryPool, catalog: Catalog) -> tuple[MemoryPool | None, bool]:
    """Its own pool, and whether it shares the host's. The vendor's figures are preferred to ggml's,
    which are read with a context of ours on the card."""
    card, ggml = found.card, found.ggml
    total, free = (_size(card.total_bytes), _size(card.free_bytes)) if card else (None, None)
    if card and card.is_unified:
        return None, True
    if total is None and ggml and _size(ggml.total_bytes):
        if ggml.type == "igpu" or _is_software(ggml) or _is_apple(ggml):
            return None, True
        total, free = ggml.total_bytes, _size(ggml.free_bytes)
    if total is None:
        return None, False
    free = None if free is None else min(free, total)  # drivers round the two apart
    bandwidth = _bandwidth_bytes_s(found, total, catalog)
    if bandwidth is None and card and card.is_carved_out:
        bandwidth = host.bandwidth_bytes_s
    return MemoryPool(_id(found), "dedicated", total, free, bandwidth), False


def _bandwidth_bytes_s(found: Pair, total: int, catalog: Catalog) -> float | None:
    """The driver's figure for this very board, unless it is so far from the published one that its
    unit must be another."""
    told = found.card.bandwidth_bytes_s if found.card else None
    row = catalog.row(_name(found), total)
    known = _sliced(found, row, total, row.bandwidth_bytes_s) if row else None
    if told and known and not 0.75 <= told / known <= 1.25:
        return known
    return told or known


def _size(n_bytes: int | None) -> int | None:
    """None for what can't be a size: drivers answer -1, or all bits set."""
    return n_bytes if n_bytes is not None and 0 <= n_bytes <= _MAX_BYTES else None


def _limit_bytes(found: Pair, host: MemoryPool) -> int | None:
    told = (
        found.card.limit_bytes if found.card else None,
        found.ggml.total_bytes if found.ggml else None,
    )
    limit = min(filter(None, map(_size, told)), default=None)
    return limit if limit is not None and limit < host.total_bytes else None


def _id(found: Pair) -> str:
    card = found.card
    if card and card.address:
        return card.address if not card.part else f"{card.address}/{card.part}"
    if found.ggml is None:
        return f"{card.vendor}{'' if card.index is None else card.index}" if card else "unknown"
    return normal_address(found.ggml.device_id) or found.ggml.name


def _name(found: Pair) -> str:
    """The vendor's, unless that is a mere number and llama.cpp has a name."""
    card, ggml = found.card, found.ggml
    if card and (ggml is None or not _is_nameless(card)):
        return card.name
    return ggml.description if ggml else "unknown"


def _is_nameless(card: Card) -> bool:
    return not card.has_driver or card.name.startswith(("AMD GPU", "Intel GPU"))


def _vendor_of(ggml: GgmlDevice | None) -> str:
    words = ggml.description.lower() if ggml else ""
    for vendor in ("nvidia", "amd", "intel", "apple", "qualcomm"):
        if vendor in words:
            return vendor
    return {"CUDA": "nvidia", "ROCm": "amd", "MUSA": "moorethreads", "CANN": "huawei"}.get(
        ggml.registry if ggml else "", "unknown"
    )


def _is_apple(ggml: GgmlDevice) -> bool:
    return ggml.backend == "metal" and "apple" in ggml.description.lower()


def peer_links(cards: Sequence[Card], devices: Sequence[Device]) -> tuple[PeerLink, ...]:
    """Between devices that are in the list; each way once."""
    known = {device.id for device in devices}
    return tuple(
        PeerLink(card.address, peer.address, peer.kind, peer.bytes_s)
        for card in cards
        for peer in card.peers
        if card.address in known and peer.address in known
    )


def _joined(*parts: str | None) -> str:
    return "; ".join(part for part in parts if part)


def unify(host: MemoryPool, placed: Sequence[Placed]) -> MemoryPool:
    """The host's pool: "unified" where a GPU shares it, with that GPU's published bandwidth."""
    sharing = [found.known for found in placed if found.shares_host]
    if not sharing:
        return host
    known = (row.bandwidth_bytes_s for row in sharing if row)
    bandwidth = next((figure for figure in known if figure), host.bandwidth_bytes_s)
    return replace(host, kind="unified", bandwidth_bytes_s=bandwidth)
