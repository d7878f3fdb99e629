import json

import pytest
from probe_fakes import FakeSources

from edgellm.probe.asked.cached_answers import CachedSources
from edgellm.probe.host import host
from edgellm.probe.sources import NoAnswer, Output, capture_name, child

NVML = child("edgellm.probe.nvml_child")
REGISTRY = child("edgellm.probe.registry_child")
BANDWIDTH = (*child("edgellm.probe.bandwidth_child"), "2", "64")

NO_CARDS = {"cards": [], "error": None}
ONE_CARD = {"cards": [{"index": 0}], "error": None}
CPU = {"name": "CPU", "type": "cpu", "registry": "CPU", "device_id": None}
CUDA = {"name": "CUDA0", "type": "gpu", "registry": "CUDA", "device_id": "0000:01:00.0"}
VULKAN = {"name": "Vulkan0", "type": "gpu", "registry": "Vulkan", "device_id": "0000:01:00.0"}


class Machine(FakeSources):
    """Counts what is started."""

    def __init__(self, **commands):
        super().__init__({"/proc/sys/kernel/random/boot_id": "b1"}, commands)
        self.started = []

    def run(self, argv, timeout_s):
        self.started.append(argv[3])
        return super().run(argv, timeout_s)


@pytest.fixture
def ask(tmp_path):
    """Each call is another program's: only the file is between them."""

    def ask(machine, argv, *, build="b1", now_s=0.0):
        sources = CachedSources(machine, build, tmp_path, clock=lambda: now_s)
        return sources.run(argv, 1.0)

    return ask


def devices(*rows):
    return {"devices": rows}


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (NVML, NO_CARDS),
        (REGISTRY, devices(CPU)),
        (REGISTRY, devices(CUDA, CPU)),
        (BANDWIDTH, {"busy": False, "n_measured": 1}),
        (BANDWIDTH, {"busy": True, "n_measured": 3}),
    ],
)
def test_what_cannot_have_changed_is_not_asked_again(ask, argv, answer):
    machine = Machine(**{argv[3].rpartition(".")[2]: answer})
    first, second = ask(machine, argv), ask(machine, argv, now_s=200.0)

    assert first == second == Output(json.dumps(answer))
    assert len(machine.started) == 1


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (NVML, ONE_CARD),
        (NVML, {"cards": [], "error": "driver/library version mismatch"}),
        (REGISTRY, devices(VULKAN, CPU)),
        (REGISTRY, devices({**CUDA, "device_id": None}, CPU)),
        (BANDWIDTH, {"busy": True, "n_measured": 2}),
        (REGISTRY, "no JSON"),
        (REGISTRY, {"other": 1}),
        (NVML, Output(json.dumps(NO_CARDS), errors="a warning")),
        (NVML, Output(json.dumps(NO_CARDS), code=1)),
        (NVML, NoAnswer("timeout", "no answer")),
    ],
)
def test_what_may_have_changed_is_asked_every_time(ask, argv, answer):
    machine = Machine(**{argv[3].rpartition(".")[2]: answer})
    ask(machine, argv)
    ask(machine, argv)

    assert len(machine.started) == 2


def test_cards_are_looked_at_again_after_five_minutes(ask):
    machine = Machine(registry_child=devices(CUDA, CPU))
    ask(machine, REGISTRY)
    ask(machine, REGISTRY, now_s=301.0)

    assert len(machine.started) == 2


def test_a_clock_that_went_back_recalls_nothing(ask):
    machine = Machine(registry_child=devices(CUDA, CPU))
    ask(machine, REGISTRY, now_s=1000.0)
    ask(machine, REGISTRY, now_s=10.0)

    assert len(machine.started) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/random/boot_id",
        "/proc/driver/nvidia/version",
        "/sys/module/amdgpu/version",
        "/dev/kfd",
        "/dev/nvidia0",
        "/dev/dri/renderD128",
    ],
)
def test_another_boot_driver_or_card_is_another_question(ask, path):
    machine = Machine(registry_child=devices(CPU))
    ask(machine, REGISTRY)
    machine.files[path] = "another"
    ask(machine, REGISTRY)

    assert len(machine.started) == 2


def test_a_mac_that_has_started_again_is_asked_again(ask):
    machine = Machine(registry_child=devices(CPU))
    machine.system, machine.files = "Darwin", {}
    for boot in ("9D1C", "9D1C", "AAAA"):
        machine.commands[capture_name(host.SYSCTL)] = f"kern.bootsessionuuid: {boot}\n"
        ask(machine, REGISTRY)

    assert machine.started.count(REGISTRY[3]) == 2


def test_where_nobody_says_which_boot_it_is_nothing_is_recalled(ask):
    machine = Machine(nvml_child=NO_CARDS)
    machine.files = {}
    ask(machine, NVML)
    ask(machine, NVML)

    assert len(machine.started) == 2


def test_two_programs_that_keep_at_once_keep_what_the_other_heard(ask, tmp_path):
    machine = Machine(nvml_child=NO_CARDS, registry_child=devices(CPU))
    one, other = (CachedSources(machine, "b1", tmp_path, clock=lambda: 0.0) for _ in range(2))
    one.run(NVML, 1.0)
    other.run(REGISTRY, 1.0)
    ask(machine, NVML)
    ask(machine, REGISTRY)

    assert len(machine.started) == 2


def test_another_build_or_choice_of_cards_is_another_question(ask, monkeypatch):
    machine = Machine(registry_child=devices(CPU))
    ask(machine, REGISTRY)
    ask(machine, REGISTRY, build="b2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    ask(machine, REGISTRY, build="b2")

    assert len(machine.started) == 3


def test_other_programs_are_always_asked(ask):
    machine = Machine()
    machine.commands["vm_stat"] = "free"
    sources_argv = ("a", "b", "c", "vm_stat")

    assert ask(machine, sources_argv) == ask(machine, sources_argv)
    assert len(machine.started) == 2


def test_a_file_of_nonsense_and_a_folder_that_cannot_be_written_cost_nothing(tmp_path):
    (tmp_path / "probe.json").write_text("{")
    machine = Machine(nvml_child=NO_CARDS)

    assert isinstance(CachedSources(machine, "b", tmp_path).run(NVML, 1.0), Output)
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert isinstance(CachedSources(machine, "b", blocked).run(NVML, 1.0), Output)
