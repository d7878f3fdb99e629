import pytest
from probe_fakes import CAPTURES

from edgellm.cli.flags.described import sources
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
