import pytest
from probe_fakes import FakeSources

from edgellm.meter.readers import bus

FOLDER = "/sys/bus/pci/devices/0000:01:00.0"


def test_a_link_counts_its_lanes_and_its_errors():
    files = {
        f"{FOLDER}/current_link_width": "8",
        f"{FOLDER}/aer_dev_correctable": "RxErr 3\nBadTLP 1\nTOTAL_ERR_COR 4\n",
        f"{FOLDER}/aer_dev_fatal": "TOTAL_ERR_FATAL 1\n",
    }

    assert bus.link(FakeSources(files), "0000:01:00.0") == bus.Link(8, 5)
    assert bus.link(FakeSources(), "0000:01:00.0") == bus.Link(None, None)
    assert bus.link(FakeSources(files), "cpu") == bus.Link(None, None)


@pytest.mark.parametrize("width", ["0", "63", "255", "Unknown"])
def test_what_is_no_number_of_lanes_is_none(width):
    """63 is a card that has dropped, 255 a virtual machine that doesn't know."""
    sources = FakeSources({f"{FOLDER}/current_link_width": width})
    assert bus.link(sources, "0000:01:00.0") == bus.Link()


def test_a_chip_that_shares_its_boards_address_has_the_boards_link():
    sources = FakeSources({f"{FOLDER}/current_link_width": "16"})
    assert bus.link(sources, "0000:01:00.0/1") == bus.Link(16)


@pytest.mark.parametrize(
    ("files", "is_there"),
    [
        ({"current_link_width": "16"}, True),
        ({"vendor": "0x19e5"}, True),  # a bus without links
        ({"current_link_width": "63", "power/runtime_status": "active"}, False),
        ({"current_link_width": "63", "power/runtime_status": "suspended"}, True),
        ({}, False),
    ],
)
def test_who_answers_on_the_bus_or_sleeps_is_there(files, is_there):
    sources = FakeSources({f"{FOLDER}/{name}": text for name, text in files.items()})
    assert bus.is_there(sources, "0000:01:00.0") is is_there
