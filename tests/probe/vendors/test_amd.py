import pytest
from probe_fakes import FakeSources, captured

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.detect import detect
from edgellm.probe.sources import NoAnswer
from edgellm.probe.vendors import amd
from edgellm.units import GIB

DEVICE = "/sys/class/drm/card0/device"


def card(**files):
    given = {"vendor": "0x1002\n", "device": "0x744c\n", "revision": "0xc8\n", **files}
    sources = FakeSources({f"{DEVICE}/{name}": text for name, text in given.items()})
    evidence = Evidence(sources)
    [found] = amd.read(evidence)
    return found, evidence, sources


def test_a_card_tells_its_memory_name_gfx_target_and_bandwidth():
    [found] = amd.read(Evidence(captured("rx7800xt")))

    assert found.address == "0000:04:00.0"
    assert found.name == "AMD Radeon RX 7800 XT"
    assert found.architecture == "gfx1101"
    assert found.total_bytes == 17163091968
    assert found.free_bytes == 17163091968 - 310000000
    assert found.link == "PCIe 4.0 x16"
    assert found.bandwidth_bytes_s == pytest.approx(624e9, rel=0.01)


def test_an_apu_shares_the_hosts_memory_up_to_carve_out_plus_gtt():
    [found] = amd.read(Evidence(captured("strix-halo")))

    assert found.is_unified
    assert found.total_bytes is None
    assert found.limit_bytes == 4 * GIB + 96 * GIB
    assert found.architecture == "gfx1151"


def test_an_apu_with_a_large_carve_out_owns_it():
    found, _, _ = card(
        mem_info_vram_total=str(96 * GIB),
        mem_info_vram_used=str(GIB),
        mem_info_gtt_total=str(16 * GIB),
    )

    assert not found.is_unified
    assert (found.total_bytes, found.free_bytes) == (96 * GIB, 95 * GIB)


class Apu(FakeSources):
    """A Radeon 680M to which the firmware has given 16 of 32 GiB of DDR5-4800: KFD tells the bus
    and the clock of the host's memory, as it tells those of a card's own."""

    def __init__(self, target=100305, **files):
        node = "/sys/class/kfd/kfd/topology/nodes/1"
        given = {
            "vendor": "0x1002",
            "device": "0x1681",
            "mem_info_vram_total": str(16 * GIB),
            "mem_info_gtt_total": str(8 * GIB),
            **files,
        }
        super().__init__(
            {f"{DEVICE}/{name}": text for name, text in given.items()}
            | {
                "/proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\n",
                f"{node}/properties": f"gfx_target_version {target}\nlocation_id 768\ndomain 0\n",
                f"{node}/mem_banks/0/properties": "width 128\nmem_clk_max 2400\n",
            },
            {"bandwidth_child": {"n_threads": 8, "busy": False, "bytes_s": 58e9}},
        )

    def real_path(self, path):
        return "/sys/devices/pci0000:00/0000:03:00.0"


@pytest.mark.parametrize(
    "apu",
    [Apu(), Apu(target=90012), Apu(target=100307, **{"hwmon/hwmon2/in1_label": "vddnb"})],
    ids=["680M", "Vega", "one that nobody knows yet"],
)
def test_the_memory_of_an_apus_large_carve_out_is_as_fast_as_the_hosts(apu):
    [found] = amd.read(Evidence(apu))
    assert (found.is_unified, found.bandwidth_bytes_s) == (False, None)

    hardware = detect(apu)
    [gpu] = [device for device in hardware.devices if device.vendor == "amd"]
    pool = hardware.pool(gpu.pool_id)

    assert (pool.kind, pool.total_bytes) == ("dedicated", 16 * GIB)
    assert pool.bandwidth_bytes_s == hardware.host.bandwidth_bytes_s == 58e9


def test_a_sleeping_card_is_not_woken():
    sources = captured("sleeping-dgpu")
    evidence = Evidence(sources)
    [found] = amd.read(evidence)

    assert found.total_bytes is None
    assert found.note == "asleep, and left so"
    asked = [said.source for said in evidence.answers]
    assert not [path for path in asked if "mem_info" in path or "hwmon" in path]


@pytest.mark.parametrize(
    ("target", "gfx"),
    [
        (90010, "gfx90a"),
        (90402, "gfx942"),
        (100306, "gfx1036"),
        (110001, "gfx1101"),
        (110501, "gfx1151"),
        (120001, "gfx1201"),
    ],
)
def test_kfds_number_is_decimal_and_the_targets_name_is_not(target, gfx):
    node = "/sys/class/kfd/kfd/topology/nodes/1/properties"
    sources = FakeSources(
        {
            node: f"gfx_target_version {target}\nlocation_id 768\ndomain 0\n",
            "/sys/class/drm/card0/device/vendor": "0x1002",
        }
    )
    sources.real_path = lambda path: "/sys/devices/pci0000:00/0000:03:00.0"

    [found] = amd.read(Evidence(sources))

    assert found.architecture == gfx


def test_garbage_and_denial_cost_only_their_own_fields():
    found, evidence, _ = card(
        mem_info_vram_total=str(24 * GIB),
        mem_info_vram_used="???",
        mem_info_gtt_total=NoAnswer("denied", "Permission denied"),
    )

    assert found.total_bytes == 24 * GIB
    assert found.free_bytes is None
    assert {fault.source.rpartition("/")[2] for fault in evidence.faults} == {
        "mem_info_vram_used",
        "mem_info_gtt_total",
    }


def test_a_machine_without_cards_has_none():
    assert amd.read(Evidence(FakeSources())) == ()


def test_other_vendors_cards_and_connectors_are_not_ours():
    files = {
        "/sys/class/drm/card0/device/vendor": "0x8086",
        "/sys/class/drm/card1-DP-1/device/vendor": "0x1002",
    }

    assert amd.read(Evidence(FakeSources(files))) == ()


def test_cards_joined_by_infinity_fabric_tell_how_fast():
    nodes = "/sys/class/kfd/kfd/topology/nodes"
    files = {}
    for number in (1, 2):
        files |= {
            f"/sys/class/drm/card{number}/device/vendor": "0x1002",
            f"{nodes}/{number}/properties": (
                f"gfx_target_version 90402\nlocation_id {number << 8}\n"
            ),
            f"{nodes}/{number}/io_links/0/properties": "type 2\nnode_to 0\nmax_bandwidth 32000\n",
            f"{nodes}/{number}/io_links/1/properties": (
                f"type 11\nnode_to {3 - number}\nmax_bandwidth 64000\n"
            ),
        }
    sources = FakeSources(files)
    sources.real_path = lambda path: f"/sys/devices/0000:0{path[len('/sys/class/drm/card')]}:00.0"

    one, other = amd.read(Evidence(sources))

    assert [(peer.address, peer.kind, peer.bytes_s) for peer in one.peers] == [
        ("0000:02:00.0", "xgmi", 64e9)
    ]
    assert other.peers == ()


def test_how_much_of_a_card_the_cpu_reaches_is_told():
    found, _, _ = card(mem_info_vram_total=str(24 * GIB), mem_info_vis_vram_total=str(GIB // 4))

    assert found.visible_bytes == GIB // 4
