from dataclasses import replace

import pytest
from doctor_place import HEALTHY
from probe_fakes import captured
from selector_machines import machine

from edgellm.cli.doctoring.hardware_checks import CHECKS
from edgellm.meter.sample import Sample
from edgellm.probe.detect import detect
from edgellm.probe.hardware import Device, Dimms, MemoryPool, Serving, SourceFault
from edgellm.units import GIB

GPU = Device("0000:01:00.0", "amd", "RX 7900 XTX", "rocm", "0000:01:00.0", link="PCIe 4.0 x16")
VRAM = MemoryPool("0000:01:00.0", "dedicated", 24 * GIB, 23 * GIB)


def findings(hardware, **more):
    place = replace(HEALTHY, hardware=hardware, **more)
    return {finding.name: finding for finding in (check(place) for check in CHECKS)}


def with_gpu(**more):
    plain = HEALTHY.hardware
    return replace(
        plain, devices=(replace(GPU, **more), *plain.devices), pools=(VRAM, *plain.pools)
    )


def with_cpu(**more):
    return replace(HEALTHY.hardware, cpu=replace(HEALTHY.hardware.cpu, **more))


def test_a_healthy_card_has_no_findings():
    found = findings(with_gpu(link_now="PCIe 1.0 x16", visible_bytes=24 * GIB))

    assert {finding.verdict for finding in found.values()} == {"ok", "unknown"}
    assert found["pcie link"].verdict == "ok", "a resting link is slow"


def test_a_card_that_may_draw_what_its_maker_set_is_told_so():
    found = findings(with_gpu(board_power_w=300.0, power_default_w=300.0))

    assert (found["power"].verdict, found["power"].message) == (
        "ok",
        "every card may draw what its maker set",
    )


@pytest.mark.parametrize(
    ("name", "verdict", "words", "hardware"),
    [
        ("pcie link", "warning", "4 of its 16 lanes", with_gpu(link_now="PCIe 4.0 x4")),
        ("pcie link", "problem", "1 of its 16 lanes", with_gpu(link_now="PCIe 4.0 x1")),
        ("pcie link", "warning", "Resizable BAR", with_gpu(visible_bytes=GIB // 4)),
        (
            "power",
            "warning",
            "limited to 250 of 355 W",
            with_gpu(board_power_w=250.0, power_default_w=355.0),
        ),
        (
            "driver",
            "problem",
            "built for CUDA 13, RX 7900 XTX's driver 550 runs up to 12.4",
            replace(
                with_gpu(driver="550", toolkit="CUDA 12.4"),
                ggml_libraries=("libcublas.so.13", "libcudart.so.13.0.96"),
            ),
        ),
        (
            "driver",
            "problem",
            "Driver/library version mismatch",
            replace(
                HEALTHY.hardware, faults=(SourceFault("nvml", "Driver/library version mismatch"),)
            ),
        ),
        (
            "driver",
            "problem",
            "ggml_cuda_init: failed",
            replace(
                with_gpu(backend="none", serving=Serving("CUDA", True, None)),
                ggml_complaints=("ggml_cuda_init: failed to initialize",),
            ),
        ),
        ("memory channels", "warning", "half speed", with_cpu(dimms=Dimms("DDR5", 1, 4, 1, 5e9))),
        ("cgroup", "warning", "1.5 cores", with_cpu(quota_cores=1.5)),
        ("power", "warning", "MODE_15W", replace(HEALTHY.hardware, power_mode="MODE_15W")),
        ("power", "warning", "under-voltage", replace(HEALTHY.hardware, alarms=("under-voltage",))),
    ],
)
def test_what_is_wrong_with_a_machine_is_found_and_comes_with_a_fix(name, verdict, words, hardware):
    finding = findings(hardware)[name]

    assert finding.verdict == verdict
    assert words in finding.message
    assert finding.fix


@pytest.mark.parametrize(
    ("name", "hardware"),
    [
        ("driver", replace(with_gpu(toolkit="CUDA 13.0"), ggml_libraries=("libcudart.so.12.4",))),
        ("memory channels", with_cpu(dimms=Dimms("DDR5", 1, 1, 1, 5e9))),
        ("memory channels", with_cpu(dimms=Dimms("DDR5", 2, 4, None, 5e9))),
        ("power", replace(HEALTHY.hardware, power_mode="MAXN_SUPER")),
        ("driver", replace(HEALTHY.hardware, ggml_complaints=("no CUDA-capable device",))),
        ("power", with_gpu(board_power_w=350.0, power_default_w=355.0)),
        ("cgroup", with_cpu(quota_cores=8.0)),
    ],
)
def test_what_only_looks_wrong_is_left_alone(name, hardware):
    assert findings(hardware)[name].verdict in ("ok", "unknown")


def test_an_apu_that_may_map_half_is_told_the_kernels_parameter():
    plain = machine(ram=64)
    apu = Device(
        "0000:c1:00.0", "amd", "Radeon 8060S", "vulkan", "host", memory_limit_bytes=32 * GIB
    )
    finding = findings(replace(plain, devices=(apu, *plain.devices)))["gpu memory"]

    assert finding.verdict == "warning"
    assert f"ttm.pages_limit={58 * 262144}" in finding.fix


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (Sample(GPU.id, 0.0, temperature_c=95.0), "RX 7900 XTX is at 95 °C"),
        (Sample(GPU.id, 0.0, temperature_c=70.0, throttle=("thermal",)), "throttled: too hot"),
        (Sample(GPU.id, 0.0, throttle=("power_brake",)), "its supply brakes it"),
    ],
)
def test_heat_of_this_moment(sample, words):
    finding = findings(with_gpu(), samples=(sample,))["heat"]

    assert finding.verdict == "warning"
    assert words in finding.message


def test_a_power_cap_at_full_load_is_no_heat():
    cool = Sample(GPU.id, 0.0, temperature_c=70.0, throttle=("power_cap",))

    assert findings(with_gpu(), samples=(cool,))["heat"].message == "70 °C at most"


def test_a_counter_that_is_roots_alone_is_handed_to_the_user_by_name():
    finding = findings(HEALTHY.hardware, cpu_energy="denied", user="ada")["cpu energy"]

    assert finding.verdict == "warning"
    assert "0440 root ada" in finding.fix


@pytest.mark.parametrize(
    ("name", "verdict", "words"),
    [
        ("cpu-build-with-accelerators", "problem", "GGML_CUDA=on"),
        ("ascend-310p", "problem", "GGML_CANN=on"),
        ("mlu370-x8", "warning", "its maker's own runtime"),
        ("thead-ppu", "warning", "its maker's own runtime"),
        ("8xh100", "ok", None),
        ("rtx4090", "warning", "load amdgpu"),
        ("snapdragon-x-elite", "ok", None),
        ("arc-b580", "ok", None),
    ],
)
def test_an_accelerator_that_idles_is_judged_by_what_can_be_done(name, verdict, words):
    finding = findings(detect(captured(name)))["accelerators"]

    assert finding.verdict == verdict
    assert words is None or words in finding.fix


def test_the_processors_graphics_are_no_loss_beside_a_card():
    finding = findings(detect(captured("two-uneven-nvidia")))["accelerators"]

    assert (finding.verdict, finding.message) == ("problem", "not used: NVIDIA GeForce GTX 1070")
    assert "VULKAN" not in finding.fix


def test_cards_of_one_name_are_counted():
    found = detect(captured("8xh100"))
    assert findings(found)["accelerators"].message == "8 × NVIDIA H100 80GB HBM3"
