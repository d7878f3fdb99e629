"""A power limit is read and set as its driver wants it; who may not is told how."""

import pytest
from probe_fakes import FakeSources

from edgellm.errors import EdgellmError
from edgellm.meter.energy.power_limit import AmdLimit, NvidiaLimit, PowerRange, limits_of
from edgellm.probe.hardware import Device
from edgellm.probe.sources import Output, SystemSources

H100 = "0000:0b:00.0"
QUERY = (
    f"nvidia-smi --id={H100} --query-gpu=power.min_limit,power.max_limit,power.default_limit,"
    "power.limit --format=csv,noheader,nounits"
)
SET = f"nvidia-smi --id={H100} --power-limit=500.25"
CARD = "/sys/class/drm/card1"
CHIP = f"{CARD}/device/hwmon/hwmon4"


def nvidia(**answers):
    return NvidiaLimit(H100, FakeSources(commands=answers))


def test_nvidias_range_is_what_nvidia_smi_tells():
    limit = nvidia(**{QUERY: "200.00, 700.00, 700.00, 650.00\n"})

    assert limit.read() == PowerRange(least_w=200, most_w=700, default_w=700, set_w=650)


@pytest.mark.parametrize("text", ["[N/A], [N/A], [N/A], [N/A]\n", "", "1.0, 2.0\n"])
def test_a_card_without_limits_says_so(text):
    with pytest.raises(EdgellmError, match="no power limit that can be set"):
        nvidia(**{QUERY: text}).read()


def test_setting_succeeds_when_nvidia_smi_does():
    nvidia(**{SET: "Power limit for GPU 00000000:0B:00.0 was set to 500.00 W\n"}).set(500.254)


def test_who_may_not_set_it_is_told_who_may():
    said = "Failed to set power management limit for GPU 00000000:0B:00.0: Insufficient Permissions"
    limit = nvidia(**{SET: Output(f"{said}\nTerminating early due to previous errors.\n", "", 4)})

    with pytest.raises(EdgellmError, match="Insufficient Permissions") as refused:
        limit.set(500.25)
    assert "sudo" in refused.value.hint


def test_no_nvidia_smi_is_an_error_and_no_crash():
    with pytest.raises(EdgellmError, match="nvidia-smi"):
        nvidia().read()


@pytest.fixture
def amd(tmp_path):
    address = "0000:03:00.0"
    folder = tmp_path / f"sys/devices/pci0000:00/{address}"
    (folder / "hwmon/hwmon4").mkdir(parents=True)
    drm = tmp_path / "sys/class/drm/card1"
    drm.mkdir(parents=True)
    (drm / "device").symlink_to(folder)
    for name, watts in (("", 303), ("_min", 0), ("_max", 339), ("_default", 303)):
        (folder / f"hwmon/hwmon4/power1_cap{name}").write_text(f"{watts * 10**6}\n")
    return AmdLimit(address, SystemSources(tmp_path), tmp_path)


def test_amds_range_is_in_files_of_microwatts(amd):
    assert amd.read() == PowerRange(least_w=0, most_w=339, default_w=303, set_w=303)


def test_amds_limit_is_written_and_read_back(amd):
    amd.set(250)
    assert amd.read().set_w == 250
    assert amd.command(250) == f"echo 250000000 | sudo tee {CHIP}/power1_cap"


def test_an_amd_card_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(EdgellmError, match="no power limit"):
        AmdLimit("0000:03:00.0", SystemSources(tmp_path), tmp_path).read()


def test_a_vendor_without_a_known_way_is_refused_by_name():
    with pytest.raises(EdgellmError, match="Arc B580"):
        limits_of(
            [Device("0000:03:00.0", "intel", "Arc B580", "vulkan", "0000:03:00.0")], FakeSources()
        )
