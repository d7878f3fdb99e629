import json
import shutil
import time

import pytest
from probe_fakes import CAPTURES, FakeSources, captured

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.detect import detect, examine
from edgellm.probe.hardware import MemoryPool
from edgellm.probe.sources import Output, Silence, SysrootSources, SystemSources, capture_name
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


def test_every_capture_says_where_its_values_are_from():
    for name in ALL:
        lines = (CAPTURES / name / "source").read_text().splitlines()
        assert lines, name
        for line in lines:
            label, _, said = line.partition(" ")
            assert label in ("captured", "documented", "synthetic"), f"{name}: {line}"
            assert said.strip(), f"{name}: {line}"


def used(name):
    """Of each accelerator that llama.cpp uses there: its id, its own name and llama.cpp's."""
    return [(d.id, d.name, d.ggml_name) for d in detect(captured(name)).accelerators]


def idle(name):
    """Of each that it does not: name, own memory in MiB, and the backend that would serve it."""
    hardware = detect(captured(name))
    devices = [device for device in hardware.devices if device.backend == "none"]
    return [
        (
            device.name,
            hardware.pool(device.pool_id).total_bytes // MIB if device.pool_id != "host" else None,
            device.serving and device.serving.backend,
        )
        for device in devices
    ]


def test_eight_cards_on_a_switch_reach_each_other_by_nvlink():
    hardware = detect(captured("8xh100"))

    assert len(hardware.accelerators) == 8
    assert len(hardware.peers) == 28
    assert {link.kind for link in hardware.peers} == {"nvlink"}
    assert hardware.peers[0].bytes_s == pytest.approx(478e9, rel=0.01)
    assert [device.numa_node for device in hardware.accelerators] == [0] * 4 + [1] * 4
    assert hardware.accelerators[0].toolkit == "CUDA 12.4"
    assert hardware.ggml_libraries == ("libcudart.so.12.4.127",)


def test_of_a_card_cut_up_the_first_instance_is_used_with_its_own_memory():
    hardware = detect(captured("h100-mig"))
    [gpu] = hardware.accelerators

    assert hardware.pool(gpu.pool_id).total_bytes == 40448 * MIB
    assert hardware.pool(gpu.pool_id).bandwidth_bytes_s == pytest.approx(3350e9 / 2, rel=0.03)
    assert gpu.fp16_flops_s == pytest.approx(989e12 / 2, rel=0.03)
    assert gpu.vector_flops_s == pytest.approx(33.5e12 / 2, rel=0.03)
    assert "3g.40gb" in gpu.note


def test_a_jetson_shares_the_memory_and_tells_its_power_mode():
    orin, thor = detect(captured("jetson-agx-orin")), detect(captured("jetson-agx-thor"))

    assert [d.architecture for d in orin.accelerators] == ["sm_87"]
    assert (orin.power_mode, thor.power_mode) == ("MODE_30W", "MAXN")
    assert {pool.kind for pool in (*orin.pools, *thor.pools)} == {"unified"}


def test_a_jetson_that_has_nvml_too_has_one_gpu(tmp_path):
    """JetPack 6: NVML names it, at an address that is no address, and knows no memory."""
    machine = tmp_path / "orin"
    shutil.copytree(CAPTURES / "jetson-agx-orin", machine, symlinks=True)
    card = {
        "index": 0, "name": "Orin (nvgpu)", "pci_bus_id": "00000000:00:00.0",
        "compute_capability": [8, 7], "mig": False,
    }  # fmt: skip
    said = {"driver": "540.4.0", "cuda_version": 12060, "cards": [card], "ways": []}
    (machine / "commands" / "nvml_child.out").write_text(json.dumps(said))

    hardware = detect(SysrootSources(machine))

    (gpu,) = hardware.accelerators
    assert (gpu.architecture, gpu.ggml_name, gpu.pool_id) == ("sm_87", "CUDA0", hardware.host.id)
    assert [pool.kind for pool in hardware.pools] == ["unified"]
    assert gpu.driver == "540.4.0"


def test_an_arc_card_beside_a_processor_of_two_kinds_of_cores():
    hardware = detect(captured("arc-b580"))
    [gpu] = hardware.accelerators

    assert (gpu.name, gpu.link, gpu.driver) == (
        "Intel(R) Arc(tm) B580 Graphics (BMG G21)",
        "PCIe 4.0 x8",
        "xe",
    )
    assert hardware.pool(gpu.pool_id).total_bytes == 12216 * MIB
    assert gpu.visible_bytes == 16 * GIB
    assert (hardware.cpu.n_physical_cores, hardware.cpu.n_fast_cores) == (14, 6)
    assert hardware.cpu.dimms.peak_bytes_s == 2 * 5600e6 * 8


def test_npus_are_llama_cpps_by_their_name_and_number():
    assert used("ascend-910b") == [
        ("0000:c1:00.0", "Ascend910B3", "CANN0"),
        ("0000:01:00.0", "Ascend910B3", "CANN1"),
        ("0000:c2:00.0", "Ascend910B3", "CANN2"),
    ]
    assert idle("ascend-310p") == [
        ("Ascend310P3", 44278, "CANN"),
        ("Ascend310P3", 43693, "CANN"),
        ("Ascend310P3", 44278, "CANN"),
    ]


def test_a_card_in_a_slot_of_four_lanes():
    [gpu] = detect(captured("mtt-s80")).accelerators

    assert (gpu.ggml_name, gpu.link, gpu.link_now) == ("MUSA0", "PCIe 5.0 x16", "PCIe 4.0 x4")


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("biren-br104", [("BR104P", 32256, None)] * 2),
        ("hygon-k100", [("DCU xxxx", 65520, "ROCm")]),
        ("mlu370-x8", [("MLU370-X8", 23374, None)] * 2),
        ("iluvatar-bi-v100", [("Iluvatar BI-V100", 32768, None)] * 2),
        ("metax-c550", [("MetaX C550", 65536, None)]),
        ("thead-ppu", [("PPU-ZW810E", 97920, None)] * 2),
    ],
)
def test_cards_that_llama_cpp_does_not_use_are_listed_with_their_memory(name, devices):
    hardware = detect(captured(name))

    assert idle(name) == devices
    assert hardware.accelerators == ()
    assert all("the CPU is used" in d.note or "get one" in d.note for d in hardware.devices[:-1])


def test_an_adreno_shares_the_memory_and_the_npu_beside_it_is_left_alone():
    hardware = detect(captured("snapdragon-x-elite"))

    assert [device.ggml_name for device in hardware.accelerators] == ["GPUOpenCL"]
    assert [pool.kind for pool in hardware.pools] == ["unified"]
    assert idle("snapdragon-x-elite") == [("Hexagon NPU", None, None)]


def test_two_cards_by_infinity_fabric():
    hardware = detect(captured("2xmi300x"))

    assert [(link.kind, link.bytes_s) for link in hardware.peers] == [("xgmi", 64e9)]
    assert [device.architecture for device in hardware.accelerators] == ["gfx942"] * 2


def test_two_sockets_of_twelve_channels():
    cpu = detect(captured("epyc-two-sockets")).cpu

    assert [node.distances for node in cpu.numa] == [(10, 32), (32, 10)]
    assert (cpu.dimms.n_channels, cpu.dimms.peak_bytes_s) == (24, 24 * 4800e6 * 8)


def test_a_pi_that_was_too_hot_says_so():
    assert detect(captured("raspberry-pi-5")).alarms == (
        "its clock is capped",
        "at its soft temperature limit since it was started",
    )


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

    assert time.monotonic() - began_s < 10.0
    assert hardware.host.total_bytes > 0
    assert {said.source for said in hardware.faults} >= {
        "nvml_child",
        "registry_child",
        "bandwidth_child",
    }


class Slow(FakeSources):
    """Each of these programs takes half a second, and one never answers."""

    def run(self, argv, timeout_s):
        answer = super().run(argv, timeout_s)
        if isinstance(answer, Output):
            time.sleep(0.5)
        elif capture_name(argv) == "cnmon":
            time.sleep(1.0)
            return Silence("timeout", "cnmon gave no answer within 1 s")
        return answer


def test_readers_wait_side_by_side_and_one_that_hangs_costs_its_own_cards():
    tools = {
        "mx-smi": (CAPTURES.parent / "outputs" / "mx-smi-2.2.8.txt").read_text(),
        "ixsmi": (CAPTURES.parent / "outputs" / "ixsmi-4.0.0.txt").read_text(),
        "mthreads-gmi": (CAPTURES.parent / "outputs" / "mthreads-gmi-1.14.0.txt").read_text(),
        "npu-smi info": (CAPTURES.parent / "outputs" / "npu-smi-22.0.3.1.txt").read_text(),
    }
    began_s = time.monotonic()
    waits = []
    hardware = detect(Slow(commands=tools), waiting=waits.append)

    assert time.monotonic() - began_s < 2.0, "one after another they would take 3.0 s"
    assert waits == [], "nobody took so long that it had to be said"
    vendors = [device.vendor for device in hardware.devices]
    assert vendors == ["huawei"] * 4 + ["moorethreads", "iluvatar", "metax", "cpu"]
    assert "cnmon" in {said.source for said in hardware.faults}


def test_llama_cpp_is_not_kept_waiting_by_a_vendor_who_hangs():
    """One answers after 2.5 s and the other takes 1 s: one after the other that would be 3.5 s."""

    class Hanging(FakeSources):
        def run(self, argv, timeout_s):
            if capture_name(argv) == "cnmon":
                time.sleep(2.5)
                return Silence("timeout", "cnmon gave no answer within 2.5 s")
            if capture_name(argv) == "registry_child":
                time.sleep(1.0)
            return super().run(argv, timeout_s)

    began_s, told = time.monotonic(), []

    def waiting(waits):
        told.append((time.monotonic() - began_s, waits))

    hardware = detect(Hanging(commands={"registry_child": {"devices": []}}), waiting=waiting)

    assert time.monotonic() - began_s < 3.2
    [(told_s, [(name, left_s)])] = told
    assert (1.4 < told_s < 2.2, name) == (True, "cambricon"), "whoever waits is told for whom"
    assert 0 < left_s < 6
    assert [said.source for said in hardware.faults if "within" in said.message] == ["cnmon"]


def test_whoever_waits_for_llama_cpp_is_told_so():
    class Slow(FakeSources):
        def run(self, argv, timeout_s):
            if capture_name(argv) == "registry_child":
                time.sleep(2.5)
            return super().run(argv, timeout_s)

    began_s, told = time.monotonic(), []

    def waiting(waits):
        told.append((time.monotonic() - began_s, waits))

    hardware = detect(
        Slow(commands={"registry_child": {"devices": [], "registries": ["CPU"]}}), waiting=waiting
    )

    [(told_s, [(name, left_s)])] = told
    assert (1.4 < told_s < 2.4, name) == (True, "llama.cpp")
    assert 12 < left_s < 15
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
    "absent": lambda text: Silence("absent", "No such file or directory"),
    "denied": lambda text: Silence("denied", "Permission denied"),
    "timed out": lambda text: Silence("timeout", "no answer within 1 s"),
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
