import json
import shutil

import pytest
from probe_fakes import ALL, CAPTURES, captured

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.detect import detect, examine
from edgellm.probe.hardware import MemoryPool
from edgellm.probe.sources import SysrootSources
from edgellm.units import GIB, MIB


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
    said = {"driver": "540.4.0", "cuda_version": 12060, "cards": [card], "common_ancestors": []}
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


def test_what_was_asked_can_be_shown_afterwards():
    evidence = Evidence(captured("rtx4090"))
    examine(evidence)

    asked = {said.source for said in evidence.answers}
    assert {"/proc/meminfo", "/proc/cpuinfo", "nvml_child", "registry_child"} <= asked


@pytest.mark.model
def test_this_machine_is_read():
    hardware = detect(measure_bandwidth=False)

    assert hardware.host.total_bytes > 0
    assert hardware.cpu.n_physical_cores >= 1
    assert "CPU" in hardware.ggml_registries
