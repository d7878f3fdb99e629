"""The NVML child program against a driver's library that is compiled here: pynvml, the loader,
the pipe and the time-out are all the real ones."""

import time

import pytest
from compiled_driver import compiled, needs_compiler

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.sources import SystemSources
from edgellm.probe.vendors import nvidia
from edgellm.units import MIB

pytestmark = needs_compiler("libnvidia-ml.so.1")


@pytest.fixture(scope="module")
def driver_folder(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("driver"), "fake_nvml.c", "libnvidia-ml.so.1")


@pytest.fixture
def machine(driver_folder, monkeypatch, tmp_path):
    """The programs are this machine's; of its files there is the trace of a driver."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver_folder))
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    return Evidence(SystemSources(tmp_path))


def test_two_boards_answer_and_the_drivers_chatter_does_no_harm(machine):
    card, gb10 = nvidia.read(machine)

    assert (card.name, card.address) == ("NVIDIA GeForce RTX 4090", "0000:01:00.0")
    assert (card.total_bytes, card.free_bytes) == (24564 * MIB, 23880 * MIB)
    assert card.bandwidth_bytes_s == pytest.approx(1008e9, rel=0.001)
    assert (gb10.name, gb10.address) == ("NVIDIA GB10", "000f:01:00.0")
    assert (card.power_limit_w, gb10.power_limit_w) == (400.0, None)
    assert gb10.is_unified
    assert gb10.architecture == "sm_121"


def test_what_is_denied_is_a_fault_and_what_the_driver_lacks_is_not(machine):
    nvidia.read(machine)

    assert [(said.source, said.message) for said in machine.faults] == [
        ("nvml card 0", "link: Insufficient Permissions"),
        ("nvml card 1", "link: Insufficient Permissions"),
    ]


def test_a_driver_that_aborts_takes_only_the_child_with_it(machine, monkeypatch):
    monkeypatch.setenv("FAKE_NVML", "abort")

    assert nvidia.read(machine) == ()
    assert "ended with code -6" in machine.faults[0].message


def test_a_driver_that_hangs_is_given_up(machine, monkeypatch):
    monkeypatch.setenv("FAKE_NVML", "hang")
    began_s = time.monotonic()

    assert machine.run(nvidia.COMMAND, 0.5) is None
    assert time.monotonic() - began_s < 10.0
    assert machine.faults[0].message == "nvml_child gave no answer within 0.5 s"
