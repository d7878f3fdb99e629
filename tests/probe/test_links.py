import pytest

from edgellm.probe.links import link_bytes_s


@pytest.mark.parametrize(
    ("link", "gb_s"),
    [
        ("PCIe 4.0 x16", 31.5),
        ("PCIe 3.0 x16", 15.76),
        ("PCIe 5.0 x8", 31.5),
        ("PCIe 2.0 x1", 0.5),
        ("pcie 1 x4", 1.0),
    ],
)
def test_a_link_moves_its_lanes_together(link, gb_s):
    assert link_bytes_s(link) == pytest.approx(gb_s * 1e9, rel=0.01)


@pytest.mark.parametrize("link", [None, "", "NVLink-C2C", "PCIe 9.0 x16", "PCIe x16"])
def test_what_is_no_known_pcie_link_has_no_rate(link):
    assert link_bytes_s(link) is None
