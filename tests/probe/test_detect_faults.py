"""What breaks, hangs or lies while a machine is read: it costs its own fields."""

import threading
import time

import pytest
from probe_fakes import ALL, CAPTURES, FakeSources, captured

from edgellm.probe import detect as detecting
from edgellm.probe.detect import detect
from edgellm.probe.sources import NoAnswer, Output, SystemSources, capture_name
from edgellm.units import MIB


class Broken:
    """A captured machine of which one source is replaced."""

    def __init__(self, name, source, answer):
        self._machine, self._source, self._answer = captured(name), source, answer
        self.system = self._machine.system

    def run(self, argv, timeout_s):
        if capture_name(argv) == self._source:
            return self._answer() if callable(self._answer) else self._answer
        return self._machine.run(argv, timeout_s)

    def read_text(self, path):
        if path == self._source:
            return self._answer() if callable(self._answer) else self._answer
        return self._machine.read_text(path)

    def list(self, pattern):
        return self._machine.list(pattern)

    def real_path(self, path):
        return self._machine.real_path(path)


FAULTS = {
    "denied": NoAnswer("denied", "Permission denied"),
    "garbage": Output("\x00\x7f{{ not json"),
    "half": Output('{"cards": [{"index": 0, "na'),
    "crash": Output("", "terminate called", -6),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_nvml_leaves_the_card_that_llama_cpp_sees(fault):
    whole = detect(captured("rtx4090"))
    hardware = detect(Broken("rtx4090", "nvml_child", FAULTS[fault]))
    [card] = hardware.accelerators

    assert card.id == "0000:01:00.0"
    assert hardware.pool(card.pool_id).total_bytes == 24111 * MIB, "as ggml counts it"
    assert card.architecture is None
    assert hardware.cpu == whole.cpu
    assert [said.source for said in hardware.faults] == ["nvml_child"]


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != "half"])
def test_a_broken_registry_leaves_cards_that_are_not_used_and_says_why(fault):
    hardware = detect(Broken("rtx4090", "registry_child", FAULTS[fault]))

    assert hardware.accelerators == ()
    assert hardware.devices[0].name == "NVIDIA GeForce RTX 4090"
    assert "could not be read" in hardware.devices[0].note
    assert [said.source for said in hardware.faults] == ["registry_child"]


@pytest.mark.parametrize(
    "path", ["/proc/meminfo", "/proc/cpuinfo", "/sys/bus/pci/devices/0000:01:00.0/class"]
)
@pytest.mark.parametrize("answer", [NoAnswer("denied", "Permission denied"), "\x7fgarbage\n\n:::"])
def test_a_broken_file_costs_its_own_fields(path, answer):
    hardware = detect(Broken("rtx4090", path, answer))

    assert hardware.accelerators[0].backend == "cuda"
    assert path in {said.source for said in hardware.faults}


def test_a_file_that_hangs_costs_its_own_field():
    path = "/sys/class/drm/card1/device/mem_info_vram_used"
    began_s = time.monotonic()
    hardware = detect(Broken("rx7800xt", path, lambda: time.sleep(60)))

    assert time.monotonic() - began_s < 50.0
    [card] = hardware.accelerators
    assert hardware.pool(card.pool_id).total_bytes == 17163091968
    assert hardware.pool(card.pool_id).free_bytes is None
    assert [(said.source, said.message) for said in hardware.faults] == [
        (path, "no answer within 1 s")
    ]


def test_a_busy_machine_gets_the_time_to_tell_its_memory():
    """Its file is read by a thread, which may have to wait for a core."""
    told = captured("rx7800xt").read_text("/proc/meminfo")

    def late():
        time.sleep(1.3)
        return told

    hardware = detect(Broken("rx7800xt", "/proc/meminfo", late))

    assert hardware.host.total_bytes == detect(captured("rx7800xt")).host.total_bytes > 0
    assert hardware.faults == ()


class Sleeping:
    """Every command is a real `sleep`, with a time-out of its own."""

    system = "Linux"

    def run(self, argv, timeout_s):
        return SystemSources().run(("sleep", "60"), 0.1)

    def read_text(self, path):
        return SystemSources().read_text(path)

    def list(self, pattern):
        return ("/dev/nvidia0",) if pattern == "/dev/nvidia*" else ()

    def real_path(self, path):
        return path


def test_commands_that_hang_cost_their_fields_and_little_time():
    began_s = time.monotonic()
    hardware = detect(Sleeping())

    assert time.monotonic() - began_s < 50.0
    assert hardware.host.total_bytes > 0
    assert {said.source for said in hardware.faults} >= {
        "nvml_child",
        "registry_child",
        "bandwidth_child",
    }


def asked_and_not_answered_before(event):
    """What is waited for comes at once, unless it would only come afterwards."""
    assert event.wait(30), "it waits for this answer"


def test_readers_wait_side_by_side_and_one_that_hangs_costs_its_own_cards(monkeypatch):
    outputs = CAPTURES.parent / "outputs"
    tools = {
        "mx-smi": (outputs / "mx-smi-2.2.8.txt").read_text(),
        "ixsmi": (outputs / "ixsmi-4.0.0.txt").read_text(),
        "mthreads-gmi": (outputs / "mthreads-gmi-1.14.0.txt").read_text(),
        "npu-smi info": (outputs / "npu-smi-22.0.3.1.txt").read_text(),
    }
    together = threading.Barrier(len(tools) + 1, timeout=30)
    first = {*tools, "cnmon"}

    class Meeting(FakeSources):
        """None of these programs answers before all of them were started."""

        def run(self, argv, timeout_s):
            name = capture_name(argv)
            if name in first:
                first.remove(name)
                together.wait()
            if name == "cnmon":
                return NoAnswer("timeout", "cnmon gave no answer within 1 s")
            return super().run(argv, timeout_s)

    monkeypatch.setattr(detecting, "_BEFORE_GGML_S", 30.0)
    waits = []
    hardware = detect(Meeting(commands=tools), waiting=waits.append)

    assert not together.broken, "one was asked after another had answered"
    assert waits == [], "nobody took so long that it had to be said"
    vendors = [device.vendor for device in hardware.devices]
    assert vendors == ["huawei"] * 4 + ["moorethreads", "iluvatar", "metax", "cpu"]
    assert "cnmon" in {said.source for said in hardware.faults}


def test_llama_cpp_is_not_kept_waiting_by_a_vendor_who_hangs(monkeypatch):
    asked_ggml, told, waits = threading.Event(), threading.Event(), []

    class Hanging(FakeSources):
        def run(self, argv, timeout_s):
            if capture_name(argv) == "cnmon":
                asked_and_not_answered_before(asked_ggml)
                asked_and_not_answered_before(told)
                return NoAnswer("timeout", "cnmon gave no answer within 2.5 s")
            if capture_name(argv) == "registry_child":
                asked_ggml.set()
            return super().run(argv, timeout_s)

    def waiting(several):
        waits.append(dict(several))
        told.set()

    monkeypatch.setattr(detecting, "_BEFORE_GGML_S", 0.2)
    hardware = detect(Hanging(commands={"registry_child": {"devices": []}}), waiting=waiting)

    assert 0 < waits[0]["cambricon"] < 6, "whoever waits is told for whom"
    assert [said.source for said in hardware.faults if "within" in said.message] == ["cnmon"]


def test_whoever_waits_for_llama_cpp_is_told_so(monkeypatch):
    told, waits = threading.Event(), []

    class Slow(FakeSources):
        def run(self, argv, timeout_s):
            if capture_name(argv) == "registry_child":
                asked_and_not_answered_before(told)
            return super().run(argv, timeout_s)

    def waiting(several):
        waits.append(dict(several))
        if "llama.cpp" in waits[-1]:
            told.set()

    monkeypatch.setattr(detecting, "_SOON_S", 0.2)
    hardware = detect(
        Slow(commands={"registry_child": {"devices": [], "registries": ["CPU"]}}), waiting=waiting
    )

    assert 0 < waits[-1]["llama.cpp"] < 15
    assert hardware.ggml_registries == ("CPU",)


def test_a_reader_with_a_bug_is_a_fault_not_an_exception():
    class Raising(FakeSources):
        def list(self, pattern):
            raise RuntimeError("no such luck")

    hardware = detect(Raising({"/proc/meminfo": "MemTotal: 1024 kB\n"}))

    assert hardware.devices[-1].id == "cpu"
    assert any("no such luck" in said.message for said in hardware.faults)


def test_a_machine_that_says_nothing_at_all_is_still_described():
    hardware = detect(FakeSources())

    assert [device.id for device in hardware.devices] == ["cpu"]
    assert hardware.host.free_bytes is None


class Spoilt(Broken):
    """A captured machine all of whose commands, or all of whose files, go wrong in one way."""

    def __init__(self, name, spoil, what):
        super().__init__(name, None, None)
        self._spoil, self._what = spoil, what

    def run(self, argv, timeout_s):
        answer = self._machine.run(argv, timeout_s)
        if self._what != "commands" or not isinstance(answer, Output):
            return answer
        spoilt = self._spoil(answer.text)
        return Output(spoilt) if isinstance(spoilt, str) else spoilt

    def read_text(self, path):
        answer = self._machine.read_text(path)
        is_spoilt = self._what == "files" and isinstance(answer, str)
        return self._spoil(answer) if is_spoilt else answer


SPOIL = {
    "absent": lambda text: NoAnswer("absent", "No such file or directory"),
    "denied": lambda text: NoAnswer("denied", "Permission denied"),
    "timed out": lambda text: NoAnswer("timeout", "no answer within 1 s"),
    "garbage": lambda text: "\x00\x1b]0;|||\x07{{[[,,,,\n0000:01:00.0 | | |\n-1\n",
    "half": lambda text: text[: len(text) // 2],
    "translated": lambda text: text.translate({ord(c): "é" for c in "eE"}),
}


@pytest.mark.parametrize("what", ["commands", "files"])
@pytest.mark.parametrize("how", SPOIL)
def test_whatever_goes_wrong_a_machine_is_described_and_nothing_is_made_up(how, what):
    for name in ALL:
        whole = detect(captured(name))
        sizes = {0, *(pool.total_bytes for pool in whole.pools)}  # 0: nobody tells
        hardware = detect(Spoilt(name, SPOIL[how], what))

        assert hardware.devices[-1].id == "cpu", name
        assert len({device.id for device in hardware.devices}) == len(hardware.devices), name
        if what == "commands" and how != "half":
            assert {pool.total_bytes for pool in hardware.pools} <= sizes, name
        if how in ("denied", "timed out") and hardware != whole:
            assert hardware.faults, name
