"""The child program against Moore Threads' library as it is compiled here: the loader, the pipe
and the time-out are all the real ones."""

from dataclasses import replace
from pathlib import Path

import pytest
from compiled_driver import compiled, needs_compiler
from probe_fakes import FakeSources

from edgellm.meter.readers.tool import ToolSensor
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Device
from edgellm.probe.sources import SystemSources
from edgellm.probe.vendors import moorethreads
from edgellm.units import GIB, MIB

OUTPUT = Path(__file__).with_name("outputs") / "mthreads-gmi-1.14.0.txt"

pytestmark = needs_compiler("libmtml.so")


class Machine(SystemSources):
    """This one, with the driver's device."""

    def list(self, pattern):
        return ("/dev/mtgpu.0",) if pattern == "/dev/mtgpu*" else super().list(pattern)


class Hasty(Machine):
    def run(self, argv, timeout_s):
        return super().run(argv, 0.5)


@pytest.fixture(scope="module")
def driver_folder(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("driver"), "fake_mtml.c", "libmtml.so.2")


@pytest.fixture
def machine(driver_folder, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver_folder))
    return Evidence(Machine())


def test_the_library_tells_power_which_the_tools_table_has_not(machine):
    s80, s4000 = moorethreads.readings(machine)

    assert (s80.name, s80.address, s80.index) == ("MTT S80", "0000:04:00.0", 0)
    assert (s80.total_bytes, s80.used_bytes) == (16 * GIB, 2 * MIB)
    assert (s80.power_w, s80.temperature_c, s80.busy_ratio) == (96.5, 49, 0.37)
    assert (s4000.name, s4000.address) == ("MTT S4000", "0000:c1:00.0")
    assert (s4000.power_w, s80.clock_hz) == (None, None), "not supported, and not in this library"
    assert s4000.used_bytes == 0, "a zero that was told"
    assert machine.faults == ()


def test_the_meter_has_it_from_there(driver_folder, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver_folder))
    device = Device("0000:04:00.0", "moorethreads", "MTT S80", "musa", "host")
    devices = [device, replace(device, id="0000:c1:00.0")]
    sensor = ToolSensor("mtml", moorethreads.readings, Machine(), devices)
    assert [(s.device_id, s.power_w) for s in sensor.read()] == [
        ("0000:04:00.0", 96.5),
        ("0000:c1:00.0", None),
    ]


@pytest.mark.parametrize(
    ("mode", "said"), [("fail", "mtmlLibraryInit: error 1"), ("abort", "ended with code")]
)
def test_a_library_that_fails_is_a_fault(machine, monkeypatch, mode, said):
    monkeypatch.setenv("FAKE_MTML", mode)
    assert moorethreads.readings(machine) == ()
    assert said in machine.faults[0].message


def test_a_library_that_hangs_is_given_up(driver_folder, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver_folder))
    monkeypatch.setenv("FAKE_MTML", "hang")
    machine = Evidence(Hasty())
    assert moorethreads.readings(machine) == ()
    assert "no answer within 0.5 s" in machine.faults[0].message


def test_no_library_leaves_it_to_the_tool():
    sources = FakeSources(
        files={"/dev/mtgpu.0": ""},
        commands={"mtml_child": '{"cards": [], "error": null}', "mthreads-gmi": OUTPUT.read_text()},
    )
    [s80] = moorethreads.readings(Evidence(sources))
    assert (s80.name, s80.power_w) == ("MTT S80", None)


def test_without_the_driver_no_child_is_started():
    assert moorethreads.readings(Evidence(FakeSources())) == ()
