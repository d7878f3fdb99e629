import pytest
from probe_fakes import CAPTURES

from edgellm.cli.flags.described import Described, sources
from edgellm.errors import StorageError
from edgellm.probe.detect import detect


@pytest.mark.parametrize("place", sorted(one for one in CAPTURES.iterdir() if one.is_dir()))
def test_every_captured_machine_is_one_that_probe_can_show(place):
    hardware = detect(sources(place), measure_bandwidth=False)
    assert hardware.cpu.name
    assert hardware.host.total_bytes > 0


def test_a_folder_of_anything_else_is_none(tmp_path):
    with pytest.raises(StorageError, match="no captured machine"):
        sources(tmp_path)


def test_a_described_machine_can_be_put_behind_another_command():
    cards = Described(device=["RTX 4090", "RTX 3060"], ram="64GiB@60")

    assert cards.words == " --device 'RTX 4090' --device 'RTX 3060' --ram 64GiB@60"
    assert Described(on=["rpi5"]).words == " --on rpi5"
    assert Described().words == ""
