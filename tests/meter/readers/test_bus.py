from probe_fakes import FakeSources

from edgellm.meter.readers import bus


def test_a_link_counts_its_lanes_and_its_errors():
    folder = "/sys/bus/pci/devices/0000:01:00.0"
    files = {
        f"{folder}/current_link_width": "8",
        f"{folder}/aer_dev_correctable": "RxErr 3\nBadTLP 1\nTOTAL_ERR_COR 4\n",
        f"{folder}/aer_dev_fatal": "TOTAL_ERR_FATAL 1\n",
    }

    assert bus.link(FakeSources(files), "0000:01:00.0") == bus.Link(8, 5)
    assert bus.link(FakeSources(), "0000:01:00.0") == bus.Link(None, None)
    assert bus.link(FakeSources(files), "cpu") == bus.Link(None, None)
