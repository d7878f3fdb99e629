import pytest
from scripts_fakes import FakeSources

from edgellm.probe.sources import Output
from scripts.setup.machine import Amd, Nvidia, look, parse_nvidia

# Banners as drivers print them; the second spelling began with driver 610.
OLD_BANNER = "| NVIDIA-SMI 550.40.07    Driver Version: 550.40.07      CUDA Version: 12.4     |"
NEW_BANNER = "| NVIDIA-SMI 610.43.02    KMD Version: 610.43.02     CUDA UMD Version: 13.3     |"
QUERY = ("nvidia-smi", "--query-gpu=compute_cap,name", "--format=csv,noheader")
IN_WSL = "/usr/lib/wsl/lib/nvidia-smi"


@pytest.mark.parametrize(("banner", "cuda"), [(OLD_BANNER, (12, 4)), (NEW_BANNER, (13, 3))])
def test_both_spellings_of_the_drivers_cuda_version_are_read(banner, cuda):
    assert parse_nvidia(banner, "").driver_cuda == cuda


def test_the_lowest_compute_capability_comes_first():
    table = "8.6, NVIDIA GeForce RTX 3090\n6.1, NVIDIA GeForce GTX 1070\n12.0, NVIDIA RTX 5090\n"
    nvidia = parse_nvidia(OLD_BANNER, table)
    assert nvidia.lowest == (6, 1)
    assert nvidia.capabilities == ((6, 1), (8, 6), (12, 0))


def test_an_old_driver_tells_no_capability():
    refusal = 'Field "compute_cap" is not a valid field to query.\n'
    assert parse_nvidia(OLD_BANNER, refusal).capabilities == ()


def test_cards_are_found_by_nvidia_smi(tmp_path):
    programs = {("nvidia-smi",): OLD_BANNER, QUERY: "8.6, NVIDIA GeForce RTX 3090\n"}
    machine = look(FakeSources(tmp_path, programs=programs), "x86_64")
    assert machine.nvidia == Nvidia(("NVIDIA GeForce RTX 3090",), (12, 4), ((8, 6),))
    assert machine.accelerator == (
        "NVIDIA GeForce RTX 3090 (compute capability 8.6, driver for CUDA 12.4)"
    )


def test_wsl_keeps_nvidia_smi_off_the_path(tmp_path):
    programs = {(IN_WSL,): OLD_BANNER, (IN_WSL, *QUERY[1:]): "8.9, NVIDIA GeForce RTX 4070\n"}
    machine = look(FakeSources(tmp_path, programs=programs), "x86_64")
    assert machine.nvidia
    assert machine.nvidia.lowest == (8, 9)


def test_a_driver_that_does_not_answer_is_no_accelerator(tmp_path):
    broken = Output("NVIDIA-SMI has failed because it couldn't communicate", code=9)
    machine = look(FakeSources(tmp_path, programs={"nvidia-smi": broken}), "x86_64")
    assert machine.nvidia is None
    assert machine.accelerator is None


def test_amd_cards_and_their_rocm_are_found_in_files(tmp_path):
    files = {
        "/sys/class/drm/card0/device/vendor": "0x1002\n",
        "/sys/class/kfd/kfd/topology/nodes/0/properties": "gfx_target_version 0\n",
        "/sys/class/kfd/kfd/topology/nodes/1/properties": "simd_count 1\ngfx_target_version 110001",
        "/opt/rocm/.info/version": "7.2.0-43",
        "/usr/lib/x86_64-linux-gnu/libvulkan.so.1": "",
        "/proc/cpuinfo": "processor: 0\nflags\t\t: fpu avx2 fma\n",
    }
    machine = look(FakeSources(tmp_path, files=files), "x86_64")
    assert machine.amd == Amd(("gfx1101",), (7, 2))
    assert machine.gpu_vendors == ("AMD",)
    assert machine.has_vulkan_loader
    assert machine.cpu_flags == {"fpu", "avx2", "fma"}


def test_arm_calls_its_instruction_sets_features(tmp_path):
    files = {"/proc/cpuinfo": "processor: 0\nFeatures\t: fp asimd asimddp i8mm\n"}
    machine = look(FakeSources(tmp_path, files=files), "aarch64", libc="glibc 2.36")
    assert machine.cpu_flags == {"fp", "asimd", "asimddp", "i8mm"}
    assert machine.libc == "glibc 2.36"


def test_the_screen_chip_of_a_server_is_no_accelerator(tmp_path):
    aspeed = {"/sys/class/drm/card0/device/vendor": "0x1a03\n"}
    assert look(FakeSources(tmp_path, files=aspeed), "x86_64").accelerator is None
