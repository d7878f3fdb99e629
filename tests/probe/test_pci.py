import pytest
from probe_fakes import FakeSources

from edgellm.probe import pci
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.host.numbers import parse_list


@pytest.mark.parametrize(
    ("spelling", "address"),
    [
        ("0000:01:00.0", "0000:01:00.0"),
        ("00000000:01:00.0", "0000:01:00.0"),  # NVML
        ("00000000:C1:00.0", "0000:c1:00.0"),
        ("0000000F:01:00.0", "000f:01:00.0"),  # GB10
        ("01:00.0", "0000:01:00.0"),
        ("1:0.0", "0000:01:00.0"),
        ("0000:0A:1f.7", "0000:0a:1f.7"),
        ("10000:e1:00.0", "10000:e1:00.0"),  # Intel VMD
        (" 0000:01:00.0\n", "0000:01:00.0"),
        ("0000:01:00.0-v1", "0000:01:00.0"),  # the second of ggml's virtual devices
        ("0000:00:00.0", None),  # Jetson
        ("", None),
        (None, None),
        ("GPU-5e1a", None),
        ("0000:01:00.9", None),
    ],
)
def test_every_spelling_of_an_address_becomes_one(spelling, address):
    assert pci.normal_address(spelling) == address


def device(address, vendor, number, kind):
    folder = f"/sys/bus/pci/devices/{address}"
    return {f"{folder}/vendor": vendor, f"{folder}/device": number, f"{folder}/class": kind}


@pytest.mark.parametrize(
    ("vendor", "number", "kind", "name"),
    [
        ("0x10de", "0x2684", "0x030000", "NVIDIA device 2684"),
        ("0x19e5", "0xd802", "0x120000", "Ascend 910B"),
        ("0x1ed5", "0x0200", "0x030000", "Moore Threads device 0200"),
        ("0x1d94", "0x6210", "0x0b4000", "Hygon device 6210"),
        ("0xabcd", "0x0001", "0x120000", "abcd device 0001"),  # whoever that is
        ("0x19e5", "0x1711", "0x030000", None),  # a management controller's screen
        ("0x1a03", "0x2000", "0x030000", None),  # ASPEED, the same
        ("0x8086", "0x4940", "0x0b4000", None),  # QuickAssist
        ("0x8086", "0x1533", "0x020000", None),  # a network card
    ],
)
def test_an_accelerator_is_told_by_its_class_and_its_maker(vendor, number, kind, name):
    found = pci.scan(Evidence(FakeSources(device("0000:01:00.0", vendor, number, kind))))

    assert [pci.name(device) for device in found] == ([name] if name else [])


def test_garbage_in_one_file_costs_that_device_and_is_noted():
    files = device("0000:01:00.0", "0x10de", "0x2684", "what?")
    files |= device("0000:02:00.0", "0x10de", "0x2204", "0x030000")
    evidence = Evidence(FakeSources(files))

    assert [found.address for found in pci.scan(evidence)] == ["0000:02:00.0"]
    assert evidence.faults[0].message == "'what?' is not a number"


@pytest.mark.parametrize(
    ("speed", "width", "link"),
    [
        ("16.0 GT/s PCIe", "16", "PCIe 4.0 x16"),
        ("32.0 GT/s PCIe", "8", "PCIe 5.0 x8"),
        ("Unknown", "16", None),
        ("8.0 GT/s PCIe", "255", None),
        ("8.0 GT/s PCIe", "0", None),
    ],
)
def test_a_link_is_the_fastest_that_the_device_can_do(speed, width, link):
    sources = FakeSources({"/d/max_link_speed": speed, "/d/max_link_width": width})

    assert pci.link(Evidence(sources), "/d", "nvidia") == link


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("0-3,8", {0, 1, 2, 3, 8}),
        ("5", {5}),
        ("", set()),
        ("x", None),
        ("1-", {1}),
        ("0-18446744073709551615", None),
        (None, None),
    ],
)
def test_the_kernels_lists_are_sets_of_numbers(text, members):
    assert parse_list(text) == members


def ports(*links):
    """A chain from the root port to the device: each a (speed, width), as its maximum."""
    files, path = {}, "/sys/devices/pci0000:00"
    for bus, (speed, width) in enumerate(links):
        path += f"/0000:{bus:02x}:01.0"
        files |= {f"{path}/max_link_speed": f"{speed} GT/s PCIe", f"{path}/max_link_width": width}
    sources = FakeSources(files)
    sources.real_path = lambda _: path
    return Evidence(sources)


def test_a_card_in_a_narrow_slot_is_as_wide_as_the_slot():
    assert pci.link(ports(("8.0", "4"), ("16.0", "16")), "/d", "nvidia") == "PCIe 3.0 x4"


def test_an_arc_card_is_read_above_its_own_bridge():
    chain = ports(("16.0", "16"), ("16.0", "8"), ("2.5", "1"), ("2.5", "1"))

    assert pci.link(chain, "/d", "intel") == "PCIe 4.0 x8"
    assert pci.link(chain, "/d", "amd") == "PCIe 1.0 x1", "others' endpoints are believed"


def test_the_slot_tells_its_numa_node_and_its_link_of_this_moment():
    folder = "/sys/bus/pci/devices/0000:01:00.0"
    files = device("0000:01:00.0", "0x10de", "0x2684", "0x030000") | {
        f"{folder}/numa_node": "1",
        f"{folder}/current_link_speed": "2.5 GT/s PCIe",
        f"{folder}/current_link_width": "8",
        f"{folder}/max_link_speed": "16.0 GT/s PCIe",
        f"{folder}/max_link_width": "16",
    }
    [found] = pci.scan(Evidence(FakeSources(files)))

    assert (found.link, found.link_now, found.numa_node) == ("PCIe 4.0 x16", "PCIe 1.0 x8", 1)


def test_a_numa_node_of_minus_one_is_unknown():
    files = device("0000:01:00.0", "0x10de", "0x2684", "0x030000")
    files |= {"/sys/bus/pci/devices/0000:01:00.0/numa_node": "-1"}

    assert pci.scan(Evidence(FakeSources(files)))[0].numa_node is None
