"""AMD cards and APUs, from amdgpu's and KFD's files in sysfs.

A card that sleeps is left asleep: reading its sensors or its memory would wake it, so only its
address and its name are known. An APU whose GTT (host memory that the GPU may map) is larger
than its carve-out is unified. One with a large carve-out is treated as a card with memory of its
own, as fast as the host's: KFD's memory clock doesn't tell, since DDR5 makes 2 transfers in one of
its cycles and LPDDR5X 8 (AMDResearch/intellikit#189).
"""

from collections.abc import Iterator
from dataclasses import replace

from edgellm.probe import pci
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.vendors import gfx
from edgellm.probe.vendors.cards import Card, Peer
from edgellm.units import GIB
from edgellm.values import frozen

_XGMI = 11  # HSA_IOLINK_TYPE_XGMI
_NAMES = "/usr/share/libdrm/amdgpu.ids"  # lines like "747E,	C8,	AMD Radeon RX 7800 XT"


def read(evidence: Evidence) -> tuple[Card, ...]:
    nodes = {node.address: node for node in _kfd_nodes(evidence)}
    driver = evidence.text("/sys/module/amdgpu/version")  # only a driver from outside the kernel
    cards = []
    for folder in evidence.list("/sys/class/drm/card[0-9]*"):
        device = f"{folder}/device"
        if "-" in folder or evidence.number(f"{device}/vendor") != 0x1002:
            continue
        address = pci.normal_address(evidence.real_path(device).rpartition("/")[2])
        node = nodes.get(address)
        card = _card(evidence, device, address, node)
        cards.append(replace(card, driver=driver, peers=_peers(node, tuple(nodes.values()))))
    return tuple(cards)


def _peers(node: "_KfdNode | None", nodes: tuple["_KfdNode", ...]) -> tuple[Peer, ...]:
    """The XGMI links (Infinity Fabric) to nodes of a higher number, so that each is listed once."""
    if node is None:
        return ()
    ends = {other.number: other.address for other in nodes if other.number > node.number}
    return tuple(
        Peer(address, "xgmi", rate * 1e6 if rate else None)
        for number, rate in node.links
        if (address := ends.get(number)) is not None
    )


@frozen
class _KfdNode:
    """A card in KFD's topology: its target, its memory's bus and clock, its XGMI links."""

    number: int
    address: str | None
    gfx: str
    bus_bits: int | None
    memory_clock_mhz: int | None
    links: tuple[tuple[int, int], ...] = ()  # to which node, MB/s


def _card(evidence: Evidence, device: str, address: str | None, node: _KfdNode | None) -> Card:
    target = node.gfx if node else None
    name = _name(evidence, device, target)
    link = pci.link(evidence, device, "amd")
    if evidence.text(f"{device}/power/runtime_status") == "suspended":
        return Card(
            "amd", name, address, architecture=target, link=link, note="asleep, and left so"
        )
    total = evidence.number(f"{device}/mem_info_vram_total")
    used = evidence.number(f"{device}/mem_info_vram_used")
    gtt = evidence.number(f"{device}/mem_info_gtt_total")
    if total is not None and gtt is not None and _is_unified(evidence, device, total, gtt):
        return Card(
            "amd", name, address, is_unified=True, limit_bytes=total + gtt, architecture=target
        )
    free = None if total is None or used is None else max(0, total - used)
    limit, default = _power_caps_w(evidence, device)
    is_apu = gfx.is_apu(target) or _has_apus_rail(evidence, device)
    return Card(
        "amd",
        name,
        address,
        total_bytes=total,
        free_bytes=free,
        is_carved_out=is_apu,
        bandwidth_bytes_s=None if is_apu else _bandwidth_bytes_s(node),
        architecture=target,
        link=link,
        power_limit_w=limit,
        power_default_w=default,
        visible_bytes=evidence.number(f"{device}/mem_info_vis_vram_total"),
    )


def _power_caps_w(evidence: Evidence, device: str) -> tuple[float | None, float | None]:
    """The power limit as set, and its default, in watts."""
    chip = next(iter(evidence.list(f"{device}/hwmon/hwmon*")), f"{device}/hwmon")
    caps = (evidence.number(f"{chip}/power1_cap{end}") for end in ("", "_default"))
    limit, default = (None if microwatts is None else microwatts / 1e6 for microwatts in caps)
    return limit, default


def _is_unified(evidence: Evidence, device: str, vram: int, gtt: int) -> bool:
    """By Ollama's rule for integrated GPUs, and by the voltage rail that only APUs have."""
    if evidence.list(f"{device}/board_info") or evidence.list(f"{device}/mem_info_vram_vendor"):
        return False
    looks_like_one = vram <= 4 * GIB and gtt >= 8 * GIB and gtt >= 4 * vram
    return (gtt > vram and _has_apus_rail(evidence, device)) or looks_like_one


def _has_apus_rail(evidence: Evidence, device: str) -> bool:
    rails = evidence.list(f"{device}/hwmon/hwmon*/in1_label")
    return any(evidence.text(rail) == "vddnb" for rail in rails)


def _name(evidence: Evidence, device: str, target: str | None) -> str:
    device_id = evidence.number(f"{device}/device") or 0
    revision = evidence.number(f"{device}/revision") or 0
    for line in (evidence.text(_NAMES) or "").splitlines():
        fields = [field.strip() for field in line.split(",", 2)]
        if len(fields) == 3 and fields[:2] == [f"{device_id:04X}", f"{revision:02X}"]:
            return fields[2]
    return evidence.text(f"{device}/product_name") or f"AMD GPU {target or f'1002:{device_id:04x}'}"


def _kfd_nodes(evidence: Evidence) -> Iterator[_KfdNode]:
    for folder in evidence.list("/sys/class/kfd/kfd/topology/nodes/*"):
        said = _properties(evidence.text(f"{folder}/properties"))
        target = said.get("gfx_target_version", 0)  # 110501; 0 is a CPU's node
        if not target:
            continue
        place = said.get("location_id", 0)  # bus << 8 | slot << 3 | function
        address = f"{said.get('domain', 0):x}:{place >> 8:x}:{place >> 3 & 31:x}.{place & 7}"
        bank = _properties(evidence.text(f"{folder}/mem_banks/0/properties"))
        links = (
            _properties(evidence.text(f"{link}/properties"))
            for link in evidence.list(f"{folder}/io_links/*")
        )
        yield _KfdNode(
            int(folder.rpartition("/")[2]),
            pci.normal_address(address),
            gfx.gfx_name(target),
            bank.get("width"),
            bank.get("mem_clk_max"),
            tuple(
                (link.get("node_to", -1), link.get("max_bandwidth", 0))
                for link in links
                if link.get("type") == _XGMI
            ),
        )


def _properties(text: str | None) -> dict[str, int]:
    pairs = (line.split() for line in (text or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _bandwidth_bytes_s(node: _KfdNode | None) -> float | None:
    """Transfers a clock: GDDR6 16 (RDNA), HBM 2 (gfx9), GDDR5 4; 1250 × 16 × 384 / 8 = 960 GB/s."""
    if node is None or not node.bus_bits or not node.memory_clock_mhz:
        return None
    major = node.gfx.removeprefix("gfx")[:-2]
    transfers = {"8": 4, "9": 2, "10": 16, "11": 16, "12": 16}.get(major)
    return transfers and node.memory_clock_mhz * 1e6 * transfers * node.bus_bits / 8
