import pytest
from probe_fakes import FakeSources

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.host import dimms
from edgellm.probe.sources import NoAnswer


def module(n, **words):
    told = {"SIZE": "17179869184", "TYPE": "DDR5", "CONFIGURED_SPEED_MTS": "5600", **words}
    return "".join(f"E:MEMORY_DEVICE_{n}_{key}={value}\n" for key, value in told.items())


def read(text):
    return dimms.read(Evidence(FakeSources({dimms.UDEV: text})))


def test_channels_and_speed_give_the_peak():
    found = read(
        "E:MEMORY_ARRAY_NUM_DEVICES=4\n"
        + module(0, BANK_LOCATOR="P0 CHANNEL A", LOCATOR="DIMM 1", DATA_WIDTH="64")
        + module(1, BANK_LOCATOR="P0 CHANNEL B", LOCATOR="DIMM 1", DATA_WIDTH="64")
    )

    assert (found.kind, found.n_modules, found.n_slots, found.n_channels) == ("DDR5", 2, 4, 2)
    assert found.peak_bytes_s == 2 * 5600e6 * 8


def test_two_modules_of_one_channel_are_one_channel():
    """The slots that nothing is in are told too (a recording; MEMORY_DEVICE_0 and _2)."""
    found = read(
        "E:MEMORY_DEVICE_0_PRESENT=0\nE:MEMORY_DEVICE_0_BANK_LOCATOR=P0 CHANNEL A\n"
        "E:MEMORY_DEVICE_0_SPEED_MTS=3000\n"
        + module(1, BANK_LOCATOR="P0 CHANNEL A", LOCATOR="DIMM 1")
        + module(3, BANK_LOCATOR="P0 CHANNEL A", LOCATOR="DIMM 2")
    )

    assert (found.n_modules, found.n_slots, found.n_channels) == (2, 3, 1)


@pytest.mark.parametrize(
    ("one", "other", "n_channels"),
    [
        ("Controller0-ChannelA-DIMM0", "Controller1-ChannelA-DIMM0", 2),
        ("DIMM_A1", "DIMM_B1", 2),
        ("DIMM_A1", "DIMM_A2", 1),
        ("P0_DIMMA1", "P0_DIMMB1", 2),
        ("P0_DIMMA1", "P1_DIMMA1", 2),
        ("ChannelA-DIMM0", "ChannelB-DIMM0", 2),
        ("DIMM 0", "DIMM 1", None),  # two channels or one: nobody knows
    ],
)
def test_a_channels_name_stands_in_its_slots(one, other, n_channels):
    assert read(module(0, LOCATOR=one) + module(1, LOCATOR=other)).n_channels == n_channels


def test_all_run_at_the_slowest_ones_pace_and_unknown_speed_is_no_peak():
    mixed = read(
        module(0, LOCATOR="DIMM_A1", CONFIGURED_SPEED_MTS="4800") + module(1, LOCATOR="DIMM_B1")
    )
    unknown = read(module(0, LOCATOR="DIMM_A1", CONFIGURED_SPEED_MTS="Unknown"))

    assert mixed.transfers_s == 4800e6
    assert unknown.peak_bytes_s is None


DMIDECODE = """\
# dmidecode 3.3
Handle 0x0041, DMI type 17, 92 bytes
Memory Device
\tData Width: 64 bits
\tSize: 16 GB
\tLocator: DIMM_A1
\tType: DDR4
\tSpeed: 3600 MT/s
\tConfigured Memory Speed: 3200 MT/s

Handle 0x0042, DMI type 17, 92 bytes
Memory Device
\tSize: No Module Installed
\tLocator: DIMM_B1
"""


def test_root_is_told_by_dmidecode_where_udev_is_silent():
    found = dimms.read(Evidence(FakeSources(commands={"dmidecode -t 17": DMIDECODE})))

    assert (found.kind, found.n_modules, found.n_slots, found.n_channels) == ("DDR4", 1, 2, 1)
    assert found.peak_bytes_s == 25.6e9


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "/sys/firmware/dmi/tables/smbios_entry_point: Permission denied",
        "\x7f\x00",
        "Memory Device",
    ],
)
def test_what_tells_of_no_module_is_unknown(answer):
    assert dimms.read(Evidence(FakeSources(commands={"dmidecode -t 17": answer}))) is None
    assert read(answer) is None


def test_a_denied_database_is_a_fault_and_no_exception():
    evidence = Evidence(FakeSources({dimms.UDEV: NoAnswer("denied", "Permission denied")}))

    assert dimms.read(evidence) is None
    assert evidence.faults[0].source == dimms.UDEV


def test_serial_numbers_are_not_remembered():
    secret = "E:ID_SERIAL=X1234\nE:MEMORY_DEVICE_0_SERIAL_NUMBER=X1234\n"
    udev = Evidence(FakeSources({dimms.UDEV: module(0, LOCATOR="DIMM_A1") + secret}))
    tool = DMIDECODE + "\tSerial Number: X1234\n"
    root = Evidence(FakeSources(commands={"dmidecode -t 17": tool}))

    assert dimms.read(udev).n_modules == dimms.read(root).n_modules == 1
    for evidence in (udev, root):
        assert "X1234" not in str(evidence.answers)
