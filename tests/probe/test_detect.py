import time

import pytest
from probe_fakes import CAPTURES, FakeSources, captured

from edgellm.probe.detect import detect, examine
from edgellm.probe.evidence import Evidence
from edgellm.probe.hardware import MemoryPool
from edgellm.probe.sources import Output, Silence, SystemSources, capture_name
from edgellm.units import GIB, MIB

ALL = sorted(place.name for place in CAPTURES.iterdir() if place.is_dir())


@pytest.mark.parametrize("name", ALL)
def test_every_captured_machine_is_read_without_a_fault(name):
    hardware = detect(captured(name))

    assert hardware.faults == ()
    assert hardware.devices[-1].id == "cpu"
    assert hardware.host.id == "host"
    assert hardware.host.total_bytes > 0


@pytest.mark.parametrize("name", ALL)
def test_no_memory_is_in_two_pools_and_no_id_is_used_twice(name):
    hardware = detect(captured(name))

    assert len({pool.id for pool in hardware.pools}) == len(hardware.pools)
    assert len({device.id for device in hardware.devices}) == len(hardware.devices)
    owners = [device.pool_id for device in hardware.devices if device.pool_id != "host"]
    assert sorted(owners) == sorted(pool.id for pool in hardware.pools if pool.id != "host")


@pytest.mark.parametrize("name", ALL)
def test_free_memory_is_never_more_than_there_is(name):
    for pool in detect(captured(name)).pools:
        assert pool.free_bytes is None or 0 <= pool.free_bytes <= pool.total_bytes


def test_a_card_of_its_own_memory():
    hardware = detect(captured("rtx4090"))
    [card] = hardware.accelerators

    assert (card.id, card.backend, card.ggml_name) == ("0000:01:00.0", "cuda", "CUDA0")
    assert hardware.pool(card.pool_id) == MemoryPool(
        "0000:01:00.0", "dedicated", 24564 * MIB, 23880 * MIB, 10501e6 * 2 * 384 / 8
    )
    assert hardware.host.bandwidth_bytes_s == 61.4e9
    assert hardware.ggml_registries == ("CUDA", "CPU")


def test_two_uneven_cards_keep_their_own_memory_whatever_order_each_source_has():
    hardware = detect(captured("two-uneven-nvidia"))
    by_name = {device.name: device for device in hardware.devices}
    big, small = by_name["NVIDIA GeForce RTX 4090"], by_name["NVIDIA GeForce GTX 1070"]

    assert (big.ggml_name, hardware.pool(big.pool_id).total_bytes) == ("CUDA0", 24564 * MIB)
    assert (small.ggml_name, hardware.pool(small.pool_id).total_bytes) == ("CUDA1", 8192 * MIB)
    assert small.backend == "none"
    assert "compute capability" in small.note
    assert hardware.accelerators == (big,)


def test_gb10_shares_the_hosts_memory():
    hardware = detect(captured("gb10"))
    [gpu] = hardware.accelerators

    assert gpu.architecture == "sm_121"
    assert gpu.link is None, "the PCIe 1.0 x1 that it reports is not how it is attached"
    assert [pool.id for pool in hardware.pools] == ["host"]
    assert hardware.host.kind == "unified"
    assert hardware.host.total_bytes == 127600748 * 1024
    assert hardware.host.bandwidth_bytes_s == 273e9


def test_an_amd_card_seen_by_two_backends_is_one_device():
    hardware = detect(captured("rx7800xt"))
    [card] = hardware.accelerators

    assert (card.backend, card.name) == ("rocm", "AMD Radeon RX 7800 XT")
    assert len(hardware.pools) == 2


def test_strix_halo_has_one_pool_and_a_limit():
    hardware = detect(captured("strix-halo"))
    [gpu] = hardware.accelerators

    assert gpu.pool_id == hardware.host.id
    assert gpu.memory_limit_bytes == 100 * GIB
    assert hardware.host.kind == "unified"


def test_a_mac_has_one_pool_and_metals_working_set():
    hardware = detect(captured("apple-m3-max"))
    [gpu] = hardware.accelerators

    assert (gpu.backend, gpu.ggml_name, gpu.vendor) == ("metal", "MTL0", "apple")
    assert gpu.memory_limit_bytes == 51539607552
    assert hardware.system == "Darwin"
    assert [pool.kind for pool in hardware.pools] == ["unified"]


def test_wsl_is_told_and_its_card_is_used():
    hardware = detect(captured("wsl2"))

    assert hardware.in_wsl
    assert hardware.accelerators[0].backend == "cuda"


def test_a_plain_machine_is_its_cpu():
    hardware = detect(captured("cpu-vm"))

    assert [device.id for device in hardware.devices] == ["cpu"]
    assert hardware.in_container is False
    assert hardware.cgroup_limit_bytes is None


def test_a_raspberry_pi_is_its_cpu():
    hardware = detect(captured("raspberry-pi-5"))

    assert hardware.accelerators == ()
    assert hardware.cpu.isa == ("neon", "fp16", "dotprod")
    assert hardware.host.total_bytes == 8254000 * 1024


def test_accelerators_that_this_build_cannot_use_are_listed_with_the_reason():
    hardware = detect(captured("cpu-build-with-accelerators"))
    notes = {device.vendor: device.note for device in hardware.devices if device.note}

    assert hardware.accelerators == ()
    assert "GGML_CUDA=on" in notes["nvidia"]
    assert "GGML_CANN=on" in notes["huawei"]
    assert "GGML_MUSA=on" in notes["moorethreads"]
    assert "no backend" in notes["cambricon"]
    assert "no backend" in notes["1ee0"]


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
    "denied": Silence("denied", "Permission denied"),
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
@pytest.mark.parametrize("answer", [Silence("denied", "Permission denied"), "\x7fgarbage\n\n:::"])
def test_a_broken_file_costs_its_own_fields(path, answer):
    hardware = detect(Broken("rtx4090", path, answer))

    assert hardware.accelerators[0].backend == "cuda"
    assert path in {said.source for said in hardware.faults}


def test_a_file_that_hangs_costs_its_own_field():
    path = "/sys/class/drm/card1/device/mem_info_vram_used"
    began_s = time.monotonic()
    hardware = detect(Broken("rx7800xt", path, lambda: time.sleep(60)))

    assert time.monotonic() - began_s < 10.0
    [card] = hardware.accelerators
    assert hardware.pool(card.pool_id).total_bytes == 17163091968
    assert hardware.pool(card.pool_id).free_bytes is None
    assert [(said.source, said.message) for said in hardware.faults] == [
        (path, "no answer within 1 s")
    ]


class Sleeping:
    """Every command is a real `sleep`, with a time-out of its own."""

    system = "Linux"

    def run(self, argv, timeout_s):
        return SystemSources().run(("sleep", "60"), 0.1)

    def read_text(self, path):
        return SystemSources().read_text(path)

    def list(self, pattern):
        return ()

    def real_path(self, path):
        return path


def test_commands_that_hang_cost_their_fields_and_little_time():
    began_s = time.monotonic()
    hardware = detect(Sleeping())

    assert time.monotonic() - began_s < 10.0
    assert hardware.host.total_bytes > 0
    assert {said.source for said in hardware.faults} >= {
        "nvml_child",
        "registry_child",
        "bandwidth_child",
    }


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


def test_what_was_asked_can_be_shown_afterwards():
    evidence = Evidence(captured("rtx4090"))
    examine(evidence)

    asked = {said.source for said in evidence.testimonies}
    assert {"/proc/meminfo", "/proc/cpuinfo", "nvml_child", "registry_child"} <= asked


@pytest.mark.model
def test_this_machine_is_read_within_its_time():
    began_s = time.monotonic()
    hardware = detect(measure_bandwidth=False)

    assert time.monotonic() - began_s < 10.0, "1.5 s on a quiet machine"
    assert hardware.host.total_bytes > 0
    assert hardware.cpu.n_physical_cores >= 1
    assert "CPU" in hardware.ggml_registries
